//! Clients in other languages: a script gets a list of logins and returns the outcome of each.

use std::{path::Path, time::Duration};

use callgate_testkit::{Process, tools};
use serde::{Deserialize, Serialize};

use super::{Info, Login, Observed};
use crate::{
    environment::Environment,
    observers::{OPEN, SHUT},
    transport::Transport,
};

/// Which script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Script {
    /// nats-py and Eclipse Paho.
    Python,
    /// The JavaScript client.
    JavaScript,
}

/// One login, as a script reads it.
#[derive(Debug, Serialize)]
pub struct Task {
    /// `tcp`, `websocket` or `mqtt`.
    pub way: &'static str,
    /// `nats://…`, `ws://…`, or host and port of MQTT.
    pub url: String,
    /// What to present.
    pub login: Login,
    /// The credentials file of the sentinel, where there is one to present.
    pub sentinel: Option<String>,
    /// Cookies.
    pub cookies: Vec<(&'static str, String)>,
    /// Subjects to send to, in order.
    pub publish: Vec<String>,
}

/// A script's result for one login.
#[derive(Debug, Clone, Deserialize, PartialEq, Eq)]
pub struct Outcome {
    /// Whether the client was admitted.
    pub connected: bool,
    /// The error that the client received.
    #[serde(default)]
    pub error: String,
    /// The server's user info, from clients that can request it.
    #[serde(default)]
    pub info: Option<Info>,
}

pub(super) async fn attempt(
    environment: &mut Environment,
    transport: Transport,
    logins: &[Login],
) -> Vec<Observed> {
    let seen = environment.service.decisions().len();
    let numbers: Vec<usize> = logins.iter().map(|_| environment.number()).collect();
    let tasks: Vec<Task> = logins
        .iter()
        .zip(&numbers)
        .map(|(login, number)| task(environment, transport, login.clone(), *number))
        .collect();
    let script = match transport {
        Transport::WebSocketJavaScript => Script::JavaScript,
        _ => Script::Python,
    };
    let outcomes = run(script, &tasks).await;
    assert_eq!(outcomes.len(), logins.len(), "{outcomes:?}");
    let decisions = environment.service.decisions().split_off(seen);
    // Either Callgate received a request for every client, or for none.
    assert!(decisions.is_empty() || decisions.len() == logins.len(), "{decisions:?} {outcomes:?}");
    let mut all = Vec::new();
    for (index, (outcome, number)) in outcomes.iter().zip(numbers).enumerate() {
        let arrived = match outcome.connected {
            true => Some(environment.observers.arrived(number).await),
            false => None,
        };
        let decision = decisions.get(index).cloned();
        let (info, error) = (outcome.info.clone(), outcome.error.clone());
        all.push(Observed { arrived, info, error, decision });
    }
    all
}

fn task(environment: &Environment, transport: Transport, login: Login, number: usize) -> Task {
    let server = &environment.server;
    let (way, url) = match transport {
        Transport::TcpPython => ("tcp", server.url()),
        Transport::Mqtt => ("mqtt", format!("127.0.0.1:{}", server.mqtt_port())),
        _ => ("websocket", server.websocket_url()),
    };
    let sentinel = environment.site.sentinel.as_ref();
    let file = sentinel.map(|sentinel| sentinel.credentials.clone());
    let named = |cookies: [(&'static str, &Option<String>); 3]| -> Vec<(&'static str, String)> {
        cookies.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))).collect()
    };
    let cookies =
        named([("user", &login.user), ("pass", &login.password), ("token", &login.token)]);
    let publish = [SHUT, OPEN].map(|subject| format!("{subject}.{number}")).to_vec();
    match transport {
        Transport::UserCookie | Transport::TokenCookie => {
            Task { way, url, login: Login::default(), sentinel: file, cookies, publish }
        }
        Transport::JwtCookie => {
            // The sentinel comes in the cookie.
            let jwt = sentinel.map(|sentinel| sentinel.jwt.clone()).unwrap_or_default();
            let cookies = vec![("jwt", jwt)];
            Task { way, url, login, sentinel: None, cookies, publish }
        }
        Transport::Mqtt => Task { way, url, login, sentinel: None, cookies: vec![], publish },
        _ => Task { way, url, login, sentinel: file, cookies: vec![], publish },
    }
}

/// Runs a script.
///
/// # Panics
/// If it does not end well in a minute.
pub async fn run(script: Script, tasks: &[Task]) -> Vec<Outcome> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients");
    let tasks = serde_json::to_string(tasks).expect("JSON");
    let (program, file) = match script {
        Script::Python => (tools::python(), "attempts.py"),
        Script::JavaScript => (tools::node(), "attempts.mjs"),
    };
    let mut client = Process::builder(file, program)
        .arg(folder.join(file))
        .arg(tasks)
        .env("NODE_MODULES", tools::folder().join("node/node_modules"))
        .start();
    let status = client.wait_for_exit(Duration::from_secs(60)).await;
    assert!(status.success(), "{file}: {status}\n{}", client.stderr());
    serde_json::from_str(&client.stdout())
        .unwrap_or_else(|error| panic!("{file} says {:?}: {error}", client.stdout()))
}
