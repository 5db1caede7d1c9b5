//! Three replicas with clients that connect continuously: replaced one by one, killed, frozen.

pub mod measure;

use std::time::{Duration, Instant};

use callgate_testkit::{eventually, wait::LONG};
use futures_util::FutureExt;

use crate::{
    binary::hash_password,
    client::Attempt,
    fault::{Fault, NotRun},
    report::Observations,
    scene::{Scene, USERS},
    trial::{Trial, seconds},
};

const FAMILY: &str = "three replicas";
/// Concurrent clients.
const AT_ONCE: usize = 6;

/// Every replica is replaced by a new one.
pub const ROLLED: Fault = Fault {
    family: FAMILY,
    name: "replaced one by one",
    how: "SIGTERM and a new replica for each; six concurrent clients",
    story: || rolled().boxed_local(),
};

/// One replica is killed.
pub const KILLED: Fault = Fault {
    family: FAMILY,
    name: "one killed",
    how: "SIGKILL; six concurrent clients, each login costs an argon2id hash",
    story: || killed().boxed_local(),
};

/// One replica freezes until nats-server disconnects it, then resumes.
pub const FROZEN: Fault = Fault {
    family: FAMILY,
    name: "one frozen until nats-server disconnects it, then resumed",
    how: "SIGSTOP, with `ping_interval: 1s, ping_max: 1` in nats-server; then SIGCONT",
    story: || frozen().boxed_local(),
};

/// Every fault of this family.
pub const ALL: [Fault; 3] = [ROLLED, KILLED, FROZEN];

async fn trial(scene: &Scene) -> Trial {
    let mut clients = scene.clients();
    clients.at_once = AT_ONCE;
    // Observes the replica that is not affected.
    Trial::begins(scene.replicas[2].view(), clients).await
}

async fn rolled() -> Result<Observations, NotRun> {
    let mut scene = Scene::builder().replicas(3).start().await;
    let mut trial = trial(&scene).await;
    for number in 0..3 {
        let fresh = scene.one_more().await;
        fresh.ready().await;
        let mut old = std::mem::replace(&mut scene.replicas[number], fresh);
        old.terminate().await;
        trial.more_clients_try().await;
        trial.all_are_admitted();
    }
    trial.watch(scene.replicas[2].view());
    trial.lasts();
    trial.recovers().await;
    trial.all_are_admitted();
    Ok(trial.seen().await)
}

async fn killed() -> Result<Observations, NotRun> {
    // Slow enough that requests are always in flight.
    let hash = hash_password("alice");
    let users = format!("{{ \"alice\": {{ \"pass\": \"{hash}\", \"account\": \"APP\" }} }}");
    let config = format!("{USERS}\n[cache]\npasswords = \"0s\"\n");
    let scene = Scene::builder().replicas(3).authenticators(&config).file("users.json", &users);
    let mut scene = scene.start().await;
    let mut trial = trial(&scene).await;
    let begun = Instant::now();
    scene.replicas[0].process.kill();
    trial.lasts();
    trial.recovers().await;
    // As long as a server waits for an answer, so that every loss is visible.
    trial.probe.come_in(begun + Duration::from_secs(2), AT_ONCE).await;
    let attempts = trial.probe.right_between(begun, Instant::now());
    let lost = attempts.iter().filter(|attempt| !attempt.is_admitted()).count();
    // Every client waits for one answer: no more than these were in flight.
    assert!(lost <= AT_ONCE, "{lost} lost, but only {AT_ONCE} could be in flight");
    trial.note(format!(
        "{lost} of {AT_ONCE} concurrent logins were in flight at the killed replica"
    ));
    Ok(trial.seen().await)
}

async fn frozen() -> Result<Observations, NotRun> {
    let pings = "ping_interval: \"1s\"\nping_max: 1\n";
    let mut scene = Scene::builder().replicas(3).server_config(pings).start().await;
    let mut trial = trial(&scene).await;
    let begun = Instant::now();
    scene.replicas[0].process.freeze().await;
    eventually("the server to disconnect it", LONG, async || {
        (scene.members_at(0).await < 3).then_some(())
    })
    .await;
    let given_up = Instant::now();
    let after = seconds(given_up - begun);
    trial.note(format!("nats-server closes the stale connection after {after}"));
    trial.lasts();
    trial.recovers().await;
    // No later attempt was sent to it.
    trial.probe.come_in(given_up + Duration::from_secs(2), AT_ONCE).await;
    let attempts = trial.probe.right_between(begun, Instant::now());
    let late = |attempt: &&Attempt| attempt.began > given_up && !attempt.is_admitted();
    assert_eq!(attempts.iter().filter(late).count(), 0, "lost after the replica was disconnected");
    let lost = attempts.iter().filter(|attempt| !attempt.is_admitted()).count();
    trial.note(format!("until then {lost} of {} attempts failed", attempts.len()));
    let mark = scene.replicas[0].view().mark();
    scene.replicas[0].process.signal("CONT");
    scene.replicas[0].view().says(mark, "ready: answering authorization requests").await;
    trial.note("after SIGCONT it reconnects and takes its share of the requests");
    Ok(trial.seen().await)
}
