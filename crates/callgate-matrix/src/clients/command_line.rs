//! The `nats` command line: a run of `nats pub` for each message.

use callgate_testkit::{Process, tools, wait::PATIENCE};

use super::{Login, Observed};
use crate::{
    environment::Environment,
    observers::{OPEN, SHUT},
};

pub(super) async fn attempt(environment: &mut Environment, logins: &[Login]) -> Vec<Observed> {
    let mut all = Vec::new();
    for login in logins {
        all.push(one(environment, login).await);
    }
    all
}

async fn one(environment: &mut Environment, login: &Login) -> Observed {
    let seen = environment.service.decisions().len();
    let number = environment.number();
    // A run ends at the first thing that the server refuses: so one for each message.
    publish(environment, login, &format!("{SHUT}.{number}")).await;
    let error = publish(environment, login, &format!("{OPEN}.{number}")).await;
    let decisions = environment.decisions_after(seen, 2).await;
    let [first, second] = decisions.as_slice() else { panic!("asked twice: {decisions:?}") };
    assert_eq!(first, second, "the same login is decided alike");
    let arrived = match error.is_none() {
        true => Some(environment.observers.arrived(number).await),
        false => None,
    };
    let error = error.unwrap_or_default();
    Observed { arrived, info: None, error, decision: Some(second.clone()) }
}

/// Publishes one message; returns the program's output on failure.
async fn publish(environment: &Environment, login: &Login, subject: &str) -> Option<String> {
    let mut nats = Process::builder("nats", tools::installed("go-tools/nats"))
        .args(presented(environment, login))
        .args(["pub", subject, ""])
        // Otherwise it would read the developer's contexts.
        .env("HOME", environment.server.folder())
        .env("XDG_CONFIG_HOME", environment.server.folder())
        .start();
    let status = nats.wait_for_exit(PATIENCE + PATIENCE).await;
    (!status.success()).then(|| nats.stderr())
}

/// In operator mode the sentinel is the credentials file, and the login stands in the address:
/// that is how this program sends both.
fn presented(environment: &Environment, login: &Login) -> Vec<String> {
    let server = &environment.server;
    let flag = |name: &str, value: &Option<String>| {
        let value = value.clone()?;
        Some([format!("--{name}"), value])
    };
    let Some(sentinel) = &environment.site.sentinel else {
        let flags = [("user", &login.user), ("password", &login.password), ("token", &login.token)];
        let flags = flags.into_iter().filter_map(|(name, value)| flag(name, value)).flatten();
        return ["--server".to_owned(), server.url()].into_iter().chain(flags).collect();
    };
    let file = server.folder().join("sentinel.creds");
    std::fs::write(&file, &sentinel.credentials).expect("a file can be written");
    let user = login.user.as_deref().unwrap_or_default();
    let password = login.password.as_deref().unwrap_or_default();
    let url = format!("nats://{user}:{password}@127.0.0.1:{}", server.port());
    vec!["--server".to_owned(), url, "--creds".to_owned(), file.display().to_string()]
}
