//! nats-server stops, freezes, or restarts with other keys.

use std::time::Instant;

use futures_util::FutureExt;

use crate::{
    fault::{Fault, NotRun},
    report::Observations,
    scene::Scene,
    trial::{Trial, seconds},
};

const FAMILY: &str = "nats-server";

/// The server ends, and is started again later.
pub const STOPPED: Fault = Fault {
    family: FAMILY,
    name: "stopped, then started",
    how: "SIGTERM; the restarted nats-server has new keys",
    story: || stopped().boxed_local(),
};

/// The server stops answering, and its connections stay open.
pub const FROZEN: Fault = Fault {
    family: FAMILY,
    name: "frozen, then resumed",
    how: "SIGSTOP and SIGCONT",
    story: || frozen(false).boxed_local(),
};

/// The same, until the service disconnects.
pub const FROZEN_LONG: Fault = Fault {
    family: FAMILY,
    name: "frozen until Callgate disconnects, then resumed",
    how: "SIGSTOP and SIGCONT",
    story: || frozen(true).boxed_local(),
};

/// Killed and immediately restarted: another server id, another curve key.
pub const NEW_KEYS: Fault = Fault {
    family: FAMILY,
    name: "crashed and immediately restarted with new keys",
    how: "SIGKILL; the server id and the curve key change",
    story: || new_keys().boxed_local(),
};

/// One of three servers is killed and stays away.
pub const ONE_OF_THREE: Fault = Fault {
    family: FAMILY,
    name: "the cluster member that Callgate is connected to is killed",
    how: "SIGKILL; clients connect to the other two",
    story: || one_of_three(false).boxed_local(),
};

/// One of three servers freezes forever.
pub const ONE_OF_THREE_FROZEN: Fault = Fault {
    family: FAMILY,
    name: "the cluster member that Callgate is connected to is frozen",
    how: "SIGSTOP, with `ping_interval: 2s, ping_max: 1` in nats-server; clients connect to the other two",
    story: || one_of_three(true).boxed_local(),
};

/// All of them.
pub const ALL: [Fault; 6] =
    [STOPPED, FROZEN, FROZEN_LONG, NEW_KEYS, ONE_OF_THREE, ONE_OF_THREE_FROZEN];

async fn stopped() -> Result<Observations, NotRun> {
    let mut scene = Scene::start().await;
    let mut trial = Trial::begins(scene.service().view(), scene.clients()).await;
    scene.server().stop().await;
    trial.says("lost connection to NATS").await;
    trial.is_not_ready().await;
    trial.more_clients_try().await;
    trial.ends().await;
    scene.server().restart().await;
    trial.recovers().await;
    Ok(trial.seen().await)
}

async fn frozen(until_disconnected: bool) -> Result<Observations, NotRun> {
    let mut scene = Scene::start().await;
    let mut trial = Trial::begins(scene.service().view(), scene.clients()).await;
    scene.server().freeze().await;
    if until_disconnected {
        trial.is_not_ready().await;
    } else {
        trial.clients_try().await;
    }
    trial.ends().await;
    scene.server().thaw();
    trial.recovers().await;
    Ok(trial.seen().await)
}

async fn new_keys() -> Result<Observations, NotRun> {
    let mut scene = Scene::start().await;
    let before = scene.service().view().records(0);
    let mut trial = Trial::begins(scene.service().view(), scene.clients()).await;
    scene.server().kill();
    scene.server().restart().await;
    trial.lasts();
    trial.recovers().await;
    // This is another server now: it created its keys when it started.
    let ids = |records: &[serde_json::Value]| {
        let mut ids: Vec<_> =
            records.iter().filter_map(|r| r["server_id"].as_str().map(str::to_owned)).collect();
        ids.dedup();
        ids
    };
    let asked = ids(&scene.service().view().records(0));
    assert_eq!(asked.len(), 2, "two server ids have asked: {asked:?} {}", before.len());
    Ok(trial.seen().await)
}

async fn one_of_three(frozen: bool) -> Result<Observations, NotRun> {
    let pings = "ping_interval: \"2s\"\nping_max: 1\n";
    let mut scene = Scene::builder().servers(3).server_config(pings).start().await;
    let home = home(&scene).await;
    let mut clients = scene.clients();
    // A client that tries a lost server first loses time there, which depends on the client.
    clients.urls.remove(home);
    let mut trial = Trial::begins(scene.service().view(), clients).await;
    let killed = Instant::now();
    match frozen {
        true => scene.servers[home].freeze().await,
        false => scene.servers[home].kill(),
    }
    trial.lasts();
    trial.says("lost connection to NATS").await;
    trial.says("connected to NATS").await;
    trial.note(format!(
        "Callgate is connected to another server after {}",
        seconds(killed.elapsed())
    ));
    trial.recovers().await;
    // The others go on sending requests to where the service was, until they give the frozen one up.
    trial.is_quiet().await;
    Ok(trial.seen().await)
}

/// The server that the service is connected to.
async fn home(scene: &Scene) -> usize {
    for number in 0..scene.servers.len() {
        if scene.members_at(number).await > 0 {
            return number;
        }
    }
    panic!("the service is connected to no server");
}
