//! `callgate kick`.

use std::sync::atomic::Ordering;

use callgate_testkit::{eventually, wait::LONG};

use super::world::World;
use crate::support::has;

#[tokio::test]
async fn kicked_client_comes_back_with_a_new_decision() {
    kicked_client_comes_back(&World::start().await).await;
}

pub(super) async fn kicked_client_comes_back(world: &World) {
    let mut alice = world.login("alice").await;
    let _bob = world.login("bob").await;
    let before = world.sessions(1, &["--user", "alice"]).await;
    let dry = world.json(0, &["kick", "--user", "alice", "--dry-run"]);
    assert_eq!((&dry["kicked"], &dry["dry_run"]), (&0.into(), &true.into()), "{dry}");
    assert_eq!(dry["sessions"][0]["user"], "alice");
    let text = world.run(&["kick", "--user", "alice", "--reason", "new role", "--yes"]);
    assert_eq!(text.code, 0, "{text:?}");
    has(&text.stdout, &["alice  staff", "kicked 1, already gone 0, failed 0"]);
    alice.hears("disconnected").await;
    eventually("alice is back", LONG, async || {
        let now = world.json(0, &["sessions", "--user", "alice"]);
        let now = now["sessions"].as_array().unwrap().first()?.clone();
        (now["client_id"] != before[0]["client_id"] && now["attributed"] == true).then_some(())
    })
    .await;
    world.sessions(1, &["--user", "bob"]).await;
    let log = world.gates[0].log();
    let logged = log.lines().rfind(|line| line.contains("sessions kicked on order")).unwrap();
    has(logged, &["user `alice`", "new role", "\"actor\":\"", "\"kicked\":1"]);
}

/// 2.10 and 2.12 ignore the user in a request that names a connection.
#[tokio::test]
async fn kick_by_cid_never_hits_another_user_if_filter_is_ignored() {
    id_of_another_user_is_not_kicked(&World::start().await).await;
}

pub(super) async fn id_of_another_user_is_not_kicked(world: &World) {
    let mut alice = world.login("alice").await;
    let _bob = world.login("bob").await;
    let listed = world.sessions(1, &["--user", "alice"]).await;
    let id = format!("{}/{}", listed[0]["server_id"].as_str().unwrap(), listed[0]["client_id"]);
    let kicked = world.kick(&["--user", "bob", "--id", &id]);
    assert_eq!(kicked["kicked"], 0, "{kicked}");
    let still = world.sessions(1, &["--user", "alice"]).await;
    assert_eq!(still[0]["client_id"], listed[0]["client_id"]);
    let kicked = world.kick(&["--user", "alice", "--id", &id]);
    assert_eq!(kicked["kicked"], 1, "{kicked}");
    alice.hears("disconnected").await;
}

/// More than a tenth of all sessions.
#[tokio::test]
async fn many_sessions_are_kicked_only_with_yes() {
    let world = World::start().await;
    let mut clients = Vec::new();
    for number in 0..12 {
        clients.push(world.login(&format!("user{number}")).await);
    }
    world.sessions(12, &[]).await;
    for (filter, matching) in
        [(&["--everything"][..], 12), (&["--account", "APP"], 12), (&["--source", "127.0.0.1"], 12)]
    {
        let refused = world.run(&[&["kick"], filter].concat());
        assert_eq!(refused.code, 2, "{refused:?}");
        has(&refused.stderr, &[&format!("{matching} of 12 sessions match"), "--yes"]);
        assert_eq!(world.sessions(12, &[]).await.len(), 12);
    }
    // One of twelve is not more than a tenth; two of thirteen are.
    assert_eq!(world.json(0, &["kick", "--user", "user1"])["kicked"], 1);
    world.sessions(12, &[]).await;
    clients.push(world.login("user1").await);
    world.sessions(2, &["--user", "user1"]).await;
    let refused = world.run(&["kick", "--user", "user1"]);
    assert_eq!(refused.code, 2, "{refused:?}");
    has(&refused.stderr, &["2 of 13 sessions match", "--yes"]);
    let kicked = world.json(0, &["kick", "--everything", "--yes", "--as", "the\nnight shift"]);
    assert_eq!(kicked["kicked"], 13, "{kicked}");
    let log = world.gates[0].log();
    assert!(log.contains("claims to be `the\\\\nnight shift`"), "{log}");
}

/// Break-glass, Callgate's own and the system account's connections.
#[tokio::test]
async fn break_glass_and_own_connections_are_never_listed_or_kicked() {
    own_connections_are_never_listed_or_kicked(&World::start().await).await;
}

pub(super) async fn own_connections_are_never_listed_or_kicked(world: &World) {
    let _alice = world.login("alice").await;
    let glass = world.fixed("break-glass").await;
    let admin = world.fixed("admin").await;
    world.sessions(1, &["--user", "alice"]).await;
    for user in ["break-glass", "auth", "admin", "system"] {
        world.sessions(0, &["--user", world.site.listed(user)]).await;
    }
    for account in ["SYS", "AUTH"] {
        world.sessions(0, &["--account", account]).await;
    }
    assert_eq!(world.kick(&["--everything"])["kicked"], 1);
    let locked = world.lock(&["--everyone"]);
    let users: Vec<_> =
        locked["sessions"].as_array().unwrap().iter().map(|it| &it["user"]).collect();
    assert!(users.iter().all(|user| *user == "alice"), "{locked}");
    world.gates[0].ready().await;
    for client in [&glass, &admin] {
        client.client.flush().await.unwrap();
        let connects = client.client.statistics().connects.load(Ordering::Relaxed);
        assert_eq!(connects, 1);
    }
    assert!(!world.admits(0, "alice").await);
    assert_eq!(world.run(&["unlock", "--all"]).code, 0);
    assert!(world.admits(0, "alice").await);
}
