//! `callgate kick`.

use callgate_testkit::{eventually, wait::PATIENCE};

use super::world::World;
use crate::support::has;

#[tokio::test]
async fn kicked_client_comes_back_with_a_new_decision() {
    let world = World::start().await;
    let mut alice = world.login("alice").await;
    let _bob = world.login("bob").await;
    let before = world.sessions(1, &["--user", "alice"]).await;
    let dry = world.json(0, &["kick", "--user", "alice", "--dry-run"]);
    assert_eq!((&dry["kicked"], &dry["dry_run"]), (&0.into(), &true.into()), "{dry}");
    assert_eq!(dry["sessions"][0]["user"], "alice");
    let text = world.run(&["kick", "--user", "alice", "--reason", "new role"]);
    assert_eq!(text.code, 0, "{text:?}");
    has(&text.stdout, &["alice  staff", "kicked 1, already gone 0, failed 0"]);
    alice.hears("disconnected").await;
    eventually("alice is back", PATIENCE, async || {
        let now = world.json(0, &["sessions", "--user", "alice"]);
        let now = now["sessions"].as_array().unwrap().first()?.clone();
        (now["client_id"] != before[0]["client_id"] && now["attributed"] == true).then_some(())
    })
    .await;
    world.sessions(1, &["--user", "bob"]).await;
    let log = world.gates[0].log();
    let logged = log.lines().find(|line| line.contains("sessions kicked on order")).unwrap();
    has(logged, &["user `alice`", "new role", "\"actor\":\"", "\"kicked\":1"]);
}

#[tokio::test]
async fn many_sessions_are_kicked_only_with_yes() {
    let world = World::start().await;
    let mut clients = Vec::new();
    for number in 0..12 {
        clients.push(world.login(&format!("user{number}")).await);
    }
    world.sessions(12, &[]).await;
    for filter in [&["--everything"][..], &["--account", "APP"]] {
        let refused = world.run(&[&["kick"], filter].concat());
        assert_eq!(refused.code, 2, "{refused:?}");
        has(&refused.stderr, &["12 of 12 sessions match", "--yes"]);
        assert_eq!(world.sessions(12, &[]).await.len(), 12);
    }
    let kicked = world.json(0, &["kick", "--everything", "--yes", "--as", "the\nnight shift"]);
    assert_eq!(kicked["kicked"], 12, "{kicked}");
    let log = world.gates[0].log();
    assert!(log.contains("claims to be `the\\\\nnight shift`"), "{log}");
}

/// Break-glass, Callgate's own and the system account's connections.
#[tokio::test]
async fn break_glass_and_own_connections_are_never_listed_or_kicked() {
    let world = World::start().await;
    let _alice = world.login("alice").await;
    let glass = world.login_once(0, "break-glass", "glass", "glass").await;
    let admin = world.login_once(0, "admin", "admin", "admin").await;
    world.sessions(1, &["--user", "alice"]).await;
    for filter in [
        &["--user", "break-glass"][..],
        &["--user", "auth"],
        &["--account", "SYS"],
        &["--account", "AUTH"],
    ] {
        world.sessions(0, filter).await;
    }
    assert_eq!(world.json(0, &["kick", "--everything", "--yes"])["kicked"], 1);
    let locked = world.json(0, &["lock", "--everyone", "--yes"]);
    let users: Vec<_> =
        locked["sessions"].as_array().unwrap().iter().map(|it| &it["user"]).collect();
    assert!(users.iter().all(|user| *user == "alice"), "{locked}");
    world.gates[0].ready().await;
    for client in [&glass, &admin] {
        client.client.flush().await.unwrap();
        assert_eq!(client.client.connection_state(), async_nats::connection::State::Connected);
    }
    let client_ids = [&glass, &admin].map(|it| it.client.server_info().client_id);
    assert!(client_ids.iter().all(|id| *id > 0));
    assert!(!world.admits(0, "alice").await);
    assert_eq!(world.run(&["unlock", "--all"]).code, 0);
    assert!(world.admits(0, "alice").await);
}
