//! A decision goes wrong in the worst ways: it panics, or stops the event loop.

use std::time::Instant;

use callgate_testkit::{Service, service::Launch, wait::LONG};
use futures_util::FutureExt;

use crate::{
    binary::faulty_binary,
    client::{AttemptOutcome, Credential, attempt},
    fault::{Fault, NotRun},
    report::Observations,
    scene::{Scene, USERS},
    trial::{Trial, seconds},
};

const FAMILY: &str = "decisions";

/// An authenticator panics.
pub const PANICS: Fault = Fault {
    family: FAMILY,
    name: "an authenticator panics on each of its requests",
    how: "the standard service plus a custom authenticator, listed before the users",
    story: || panics().boxed_local(),
};

/// Authenticators stop every thread of the event loop.
pub const BLOCKS: Fault = Fault {
    family: FAMILY,
    name: "authenticators block every event loop thread of one replica",
    how: "the same authenticator, sleeping instead of awaiting; two replicas",
    story: || blocks().boxed_local(),
};

/// All of them.
pub const ALL: [Fault; 2] = [PANICS, BLOCKS];

fn with(kind: &str) -> String {
    // First in the chain: its panics must not fall through to the next authenticator.
    format!("[[authenticators]]\nname = \"faulty\"\n[authenticators.{kind}]\n{USERS}")
}

async fn panics() -> Result<Observations, NotRun> {
    // A backtrace would block the log for seconds: the service must not print one.
    let variables = vec![("RUST_BACKTRACE".to_owned(), "1".into())];
    let launch = Launch { variables, ..Launch::of(faulty_binary()) };
    // The next authenticator knows one of these tokens, and must never see it.
    let users = r#"{ "alice": { "pass": "alice", "account": "APP" },
                     "token": { "token": "panics-1", "account": "APP" } }"#;
    let scene = Scene::builder().authenticators(&with("panics")).launch(launch);
    let mut scene = scene.file("users.json", users).start().await;
    let mut clients = scene.clients();
    let urls = clients.urls.clone();
    clients.wrong.push(Credential::Token("panics-1".to_owned()));
    let mut trial = Trial::begins(scene.service().view(), clients).await;
    for _ in 0..10 {
        let attempt = attempt(&urls, &Credential::Token("panics-1".to_owned())).await;
        assert_eq!(attempt.outcome, AttemptOutcome::Refused, "a panic is an answer: {attempt:?}");
    }
    trial.says("backend_unavailable").await;
    trial.clients_try().await;
    trial.all_are_admitted();
    trial.lasts();
    trial.recovers().await;
    assert!(scene.service().process.exit_status().is_none(), "the service still runs");
    Ok(trial.seen().await)
}

async fn blocks() -> Result<Observations, NotRun> {
    let scene = Scene::start().await;
    let folder = scene.variant("blocks", |text| text.replace(USERS, &with("blocks")));
    let launch = Launch::of(faulty_binary());
    let mut blocked = Service::start(&folder, &launch).await;
    blocked.ready().await;
    let clients = scene.clients();
    let urls = clients.urls.clone();
    let mut trial = Trial::begins(scene.replicas[0].view(), clients).await;
    let fault = Instant::now();
    let mut tries = tokio::task::JoinSet::new();
    // Half of them reach the other replica, which does not have this authenticator.
    for number in 0..16 * std::thread::available_parallelism().map_or(4, usize::from) {
        let (urls, token) = (urls.clone(), Credential::Token(format!("blocks-{number}")));
        tries.spawn(async move { attempt(&urls, &token).await });
    }
    let status = blocked.process.wait_for_exit(LONG).await;
    assert_eq!(status.code(), Some(70), "the watchdog exits the process");
    trial.note(format!(
        "the watchdog ends the process {} after the first blocked request",
        seconds(fault.elapsed())
    ));
    let words = "event loop stalled for 2 s: exiting so that other replicas take over";
    assert!(blocked.view().log().contains(words), "{}", blocked.view().log());
    trial.note(format!("the log of that replica: ERROR: {words}"));
    while let Some(attempt) = tries.join_next().await {
        assert!(
            !attempt.expect("it does not panic").is_admitted(),
            "admitted by a blocked authenticator"
        );
    }
    trial.ends().await;
    trial.recovers().await;
    Ok(trial.seen().await)
}
