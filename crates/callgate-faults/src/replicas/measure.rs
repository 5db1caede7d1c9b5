//! The cost of a frozen replica: with nats-server's settings, with a supervisor, in a cluster.
//!
//! NATS distributes requests to all members of a queue group, including one that does not read them, until
//! the server closes its connection. The numbers are reported and never asserted.

use std::time::{Duration, Instant};

use callgate_testkit::{
    Service, eventually,
    service::{Launch, View},
};
use futures_util::future::{FutureExt, LocalBoxFuture};

use crate::{
    client::Attempt,
    probe::{Clients, Probe},
    report::{Measurement, milliseconds},
    scene::Scene,
};

/// `ping_interval` and `ping_max` of nats-server.
#[derive(Debug, Clone, Copy)]
struct Pings(&'static str, u32);

/// A case ends after this time without a failure.
const QUIET: Duration = Duration::from_secs(6);
/// Longer than a server with default settings keeps a dead connection.
const PATIENCE: Duration = Duration::from_secs(600);

/// All cases, to be run in turn.
pub fn all() -> Vec<LocalBoxFuture<'static, Measurement>> {
    vec![
        killed(Pings("2m", 2)).boxed_local(),
        frozen(Pings("1s", 1)).boxed_local(),
        frozen(Pings("5s", 2)).boxed_local(),
        frozen(Pings("2m", 2)).boxed_local(),
        supervised(Pings("2m", 2)).boxed_local(),
        one_each(Pings("5s", 2)).boxed_local(),
    ]
}

impl Pings {
    fn config(self) -> String {
        format!("ping_interval: \"{}\"\nping_max: {}\n", self.0, self.1)
    }

    fn words(self) -> String {
        format!("{}, {}", self.0, self.1)
    }
}

async fn killed(pings: Pings) -> Measurement {
    let mut scene = Scene::builder().replicas(3).server_config(&pings.config()).start().await;
    let probe = start(scene.clients()).await;
    let begun = Instant::now();
    scene.replicas[0].process.kill();
    until_quiet(&probe, begun).await;
    told(probe, begun, "SIGKILL, one of three", pings, "the closed connection").await
}

async fn frozen(pings: Pings) -> Measurement {
    let mut scene = Scene::builder().replicas(3).server_config(&pings.config()).start().await;
    let probe = start(scene.clients()).await;
    let begun = Instant::now();
    scene.replicas[0].process.freeze().await;
    until_disconnected(&scene, 2).await;
    until_quiet(&probe, begun).await;
    told(probe, begun, "SIGSTOP, one of three", pings, "nats-server: stale connection").await
}

/// A supervisor polls `/livez` as the chart does: every two seconds, and kills after three failures.
async fn supervised(pings: Pings) -> Measurement {
    let mut scene = Scene::builder().replicas(3).server_config(&pings.config()).start().await;
    let probe = start(scene.clients()).await;
    let begun = Instant::now();
    scene.replicas[0].process.freeze().await;
    until_unhealthy(&scene.replicas[0].view()).await;
    scene.replicas[0].process.kill();
    let fresh = scene.one_more().await;
    fresh.ready().await;
    scene.replicas[0] = fresh;
    until_quiet(&probe, begun).await;
    let case = "SIGSTOP, one of three; a supervisor polls `/livez`";
    told(probe, begun, case, pings, "the supervisor, which restarts it after three failed probes")
        .await
}

/// A cluster of three servers with one replica each: a server prefers its own clients.
async fn one_each(pings: Pings) -> Measurement {
    let scene = Scene::builder().replicas(0).servers(3).server_config(&pings.config());
    let mut scene = scene.start().await;
    for number in 0..3 {
        let urls: Vec<String> = scene.servers.iter().map(|server| server.url()).collect();
        let (all, own) = (format!("servers = {urls:?}"), format!("servers = [{:?}]", urls[number]));
        let folder = scene.variant(&format!("at-{number}"), |text| text.replace(&all, &own));
        let service = Service::start(&folder, &Launch::default()).await;
        service.ready().await;
        scene.replicas.push(service);
    }
    let clients = Clients { urls: vec![scene.servers[0].url()], ..scene.clients() };
    let probe = start(clients).await;
    let begun = Instant::now();
    scene.replicas[0].process.freeze().await;
    until_disconnected(&scene, 0).await;
    until_quiet(&probe, begun).await;
    let case = "SIGSTOP of the only replica at one server of a cluster; clients of that server";
    told(probe, begun, case, pings, "nats-server: stale connection").await
}

async fn start(clients: Clients) -> Probe {
    let now = Instant::now();
    let probe = Probe::start(Clients { at_once: 4, ..clients });
    probe.come_in(now, 10).await;
    probe
}

/// Waits until the first server has at most this many replicas.
async fn until_disconnected(scene: &Scene, members: usize) {
    eventually("the server to disconnect a frozen replica", PATIENCE, async || {
        tokio::time::sleep(Duration::from_millis(100)).await;
        (scene.members_at(0).await <= members).then_some(())
    })
    .await;
}

/// Waits until no attempt has failed for a while.
async fn until_quiet(probe: &Probe, begun: Instant) {
    loop {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let now = Instant::now();
        let failed = last_failure(&probe.right_between(begun, now));
        if now.duration_since(failed.unwrap_or(begun)) > QUIET {
            return;
        }
    }
}

async fn until_unhealthy(view: &View) {
    let mut failures = 0;
    let mut turns = tokio::time::interval(Duration::from_secs(2));
    while failures < 3 {
        turns.tick().await;
        failures =
            if matches!(view.try_get("/livez").await, Some((200, _))) { 0 } else { failures + 1 };
    }
}

fn last_failure(attempts: &[Attempt]) -> Option<Instant> {
    attempts.iter().filter(|attempt| !attempt.is_admitted()).map(Attempt::ended).max()
}

async fn told(
    mut probe: Probe,
    begun: Instant,
    case: &str,
    pings: Pings,
    ended_by: &str,
) -> Measurement {
    probe.stop().await;
    probe.no_invalid_client_is_admitted();
    let attempts = probe.right_between(begun, Instant::now());
    let last = last_failure(&attempts).unwrap_or(begun);
    let until: Vec<_> = attempts.iter().filter(|attempt| attempt.began <= last).collect();
    Measurement {
        case: case.to_owned(),
        pings: pings.words(),
        tried: until.len(),
        failed: until.iter().filter(|attempt| !attempt.is_admitted()).count(),
        lasted_ms: milliseconds(last - begun),
        ended_by: ended_by.to_owned(),
    }
}
