//! Servers that do not answer.

use callgate_testkit::{eventually, wait::LONG};

use super::world::{Options, World};
use crate::support::{Mode, has};

/// Each line and each mode, though not all six pairs: a cluster that heals takes its time.
const EVERYWHERE: [(Mode, &str); 3] =
    [(Mode::Operator, "2.10"), (Mode::Configuration, "2.12"), (Mode::Configuration, "2.15")];

/// No replica is connected to the last server.
async fn world(mode: Mode, line: &'static str) -> World {
    let options = Options { servers: 3, replicas: 2, servers_of_gates: 2, ..Options::default() };
    World::with(Options { mode, line: Some(line), ..options }).await
}

#[tokio::test]
async fn unresponsive_server_makes_list_incomplete_and_exit_code_1() {
    for (mode, line) in EVERYWHERE {
        list_is_incomplete(&mut world(mode, line).await).await;
    }
}

async fn list_is_incomplete(world: &mut World) {
    let _alice = world.login_at(0, "alice").await;
    world.sessions(1, &["--user", "alice"]).await;
    let frozen = 2;
    world.servers.servers[frozen].freeze().await;
    let listed = world.json(1, &["sessions", "--user", "alice"]);
    assert_eq!(
        (&listed["complete"], &listed["servers"]["answered"]),
        (&false.into(), &2.into()),
        "{listed}"
    );
    assert_eq!(listed["servers"]["missing"], serde_json::json!([format!("s{frozen}")]));
    has(
        &world.run(&["sessions"]).stdout,
        &["2 of 3 servers answered", &format!("no answer from s{frozen}")],
    );
    world.servers.servers[frozen].thaw();
}

/// A frozen server stands for one that is cut off: its client stays connected to it.
#[tokio::test]
async fn rejoining_server_loses_the_locked_session() {
    for (mode, line) in EVERYWHERE {
        rejoining_server_loses_it(&mut world(mode, line).await).await;
    }
}

async fn rejoining_server_loses_it(world: &mut World) {
    let cut = 2;
    let mut alice = world.login_at(cut, "alice").await;
    world.sessions(1, &["--user", "alice"]).await;
    world.servers.servers[cut].freeze().await;
    // The bucket may need another leader first.
    let locked = eventually("the lock is stored", LONG, async || {
        let ran = world.run(&["lock", "--user", "alice", "--yes", "--json"]);
        (ran.code == 1).then(|| serde_json::from_str::<serde_json::Value>(&ran.stdout).unwrap())
    })
    .await;
    assert_eq!(locked["kicked"], 0, "{locked}");
    assert_eq!(locked["servers"]["missing"], serde_json::json!([format!("s{cut}")]));
    world.servers.servers[cut].thaw();
    alice.hears("disconnected").await;
    eventually("alice is gone", LONG, async || {
        let listed = world.json(0, &["sessions", "--user", "alice"]);
        listed["sessions"].as_array().unwrap().is_empty().then_some(())
    })
    .await;
}

#[tokio::test]
async fn stopped_replica_is_named_as_not_confirmed() {
    let mut world = World::with(Options { replicas: 2, ..Options::default() }).await;
    world.gates[1].process.freeze().await;
    let locked = world.run(&["lock", "--user", "alice", "--yes"]);
    assert_eq!(locked.code, 1, "{locked:?}");
    has(&locked.stdout, &["in force on 1 of 2 replicas after 5.", "; not confirmed by "]);
    world.gates[1].process.signal("CONT");
    world.gates[1].metric_reaches("callgate_locks", 1.0).await;
}
