//! `callgate lock`, `unlock` and `locks`.

use std::time::Duration;

use callgate_testkit::{Session, eventually, wait::LONG};
use serde_json::Value;

use super::world::{HASHED, World};
use crate::support::{Credential, has};

#[tokio::test]
async fn locked_user_is_out_until_unlocked() {
    locked_user_is_out(&World::start().await).await;
}

pub(super) async fn locked_user_is_out(world: &World) {
    let mut alice = world.login("alice").await;
    let _bob = world.login("bob").await;
    world.sessions(1, &["--user", "alice"]).await;
    let text = world.run(&[
        "lock",
        "--user",
        "alice",
        "--authenticator",
        "staff",
        "--reason",
        "laptop stolen",
        "--ttl",
        "8h",
        "--yes",
    ]);
    assert_eq!(text.code, 0, "{text:?}");
    let lines: Vec<_> = text.stdout.lines().collect();
    let [stored, in_force, kicked] = lines[..] else { panic!("{text:?}") };
    has(stored, &["lock ", "  user `alice`, authenticator `staff`, until 20"]);
    has(in_force, &["in force on 1 of 1 replica after 0."]);
    assert_eq!(kicked, "kicked 1 session; 1 of 1 server answered");
    alice.hears("disconnected").await;
    let mark = world.gates[0].mark();
    assert!(!world.admits(0, "alice").await);
    let refused = world.gates[0].record(mark, &["\"reason\":\"locked\""]).await;
    assert_eq!(refused["user"], "alice");
    assert!(world.admits(0, "bob").await);

    let locks = world.json(0, &["locks"]);
    let lock = &locks["locks"][0];
    let id = lock["id"].as_str().unwrap();
    assert_eq!(refused["lock"], id);
    assert!(stored.contains(id));
    assert_eq!(lock["target"], serde_json::json!({ "user": "alice", "authenticator": "staff" }));
    assert_eq!((&lock["reason"], &lock["unreadable"]), (&"laptop stolen".into(), &Value::Null));
    assert!(lock["refused"].as_u64().unwrap() >= 1, "{lock}");
    has(&world.run(&["locks"]).stdout, &[id, "user `alice`, authenticator `staff`", "1 lock"]);

    assert_eq!(world.run(&["unlock", "01KB6T3H3E"]).code, 1);
    let unlocked = world.run(&["unlock", id]);
    assert_eq!((unlocked.code, unlocked.stdout.as_str()), (0, &*format!("unlocked {id}\n")));
    has(&unlocked.stderr, &["nats.go, nats.js, nats.java, NATS .NET"]);
    assert!(world.admits(0, "alice").await);
}

#[tokio::test]
async fn same_name_in_another_authenticator_stays_connected() {
    same_name_stays_connected(&World::start().await).await;
}

pub(super) async fn same_name_stays_connected(world: &World) {
    let _staff = world.login("alice").await;
    let guest = Credential::token("guest-alice");
    let _guest = world.connect(0, &guest).await.unwrap();
    let sessions = world.sessions(2, &["--user", "alice"]).await;
    let id_of = |authenticator: &str| {
        let of = sessions.iter().find(|it| it["authenticator"] == authenticator);
        of.unwrap_or_else(|| panic!("{sessions:?}"))["client_id"].clone()
    };
    let locked = world.lock(&["--user", "alice", "--authenticator", "staff"]);
    assert_eq!(locked["kicked"], 1, "{locked}");
    let left = world.sessions(1, &["--user", "alice"]).await;
    assert_eq!(left[0]["client_id"], id_of("guests"));
    assert!(world.connect(0, &guest).await.is_ok());
    assert!(!world.admits(0, "alice").await);
}

/// A static user of nats-server is not Callgate's.
#[tokio::test]
async fn static_user_named_like_a_locked_one_is_kicked_at_most_once() {
    let world = World::start().await;
    let client = static_user_is_kicked_once(&world).await;
    let user = world.site.listed("static");
    let back = world.sessions(1, &["--user", user]).await;
    // At least one more comparison leaves it where it is.
    let kicks = || world.gates[0].log().matches("kicked connections that a lock matches").count();
    let before = kicks();
    tokio::time::sleep(Duration::from_secs(6)).await;
    let after = world.sessions(1, &["--user", user]).await;
    assert_eq!(after[0]["client_id"], back[0]["client_id"]);
    assert_eq!(kicks(), before);
    drop(client);
}

pub(super) async fn static_user_is_kicked_once(world: &World) -> Session {
    let user = world.site.listed("static");
    let mut client = world.fixed("static").await;
    let listed = world.sessions(1, &["--user", user]).await;
    assert_eq!(
        (&listed[0]["attributed"], &listed[0]["authenticator"]),
        (&false.into(), &Value::Null)
    );
    has(
        &world.run(&["sessions", "--user", user]).stdout,
        &[&format!("{user}  ?"), "1 session, 1 of them not attributed"],
    );
    // A kick is for sessions only.
    let kicked = world.kick(&["--user", user]);
    assert_eq!((&kicked["kicked"], &kicked["not_attributed"]), (&0.into(), &1.into()));
    let mark = world.gates[0].mark();
    let locked = world.lock(&["--user", user]);
    assert_eq!(locked["kicked"], 1, "{locked}");
    client.hears("disconnected").await;
    client.hears("connected").await;
    world.gates[0].says(mark, "left alone as a static user's").await;
    world.sessions(1, &["--user", user]).await;
    let locks = world.json(0, &["locks"]);
    assert_eq!(locks["locks"][0]["left_alone"][0]["user"], user, "{locks}");
    client
}

#[tokio::test]
async fn lock_without_kick_leaves_sessions_alone() {
    let world = World::start().await;
    let alice = world.login("alice").await;
    let before = world.sessions(1, &["--user", "alice"]).await;
    let locked = world.json(0, &["lock", "--user", "alice", "--no-kick"]);
    assert_eq!((&locked["kicked"], &locked["spared"]), (&0.into(), &1.into()), "{locked}");
    assert!(!world.admits(0, "alice").await);
    // Also after a comparison.
    tokio::time::sleep(Duration::from_secs(6)).await;
    let after = world.sessions(1, &["--user", "alice"]).await;
    assert_eq!(after[0]["client_id"], before[0]["client_id"]);
    alice.client.flush().await.unwrap();
}

#[tokio::test]
async fn many_matching_sessions_are_locked_at_once_and_kicked_with_yes() {
    let world = World::start().await;
    let mut clients = Vec::new();
    for number in 0..12 {
        clients.push(world.login(&format!("user{number}")).await);
    }
    world.sessions(12, &[]).await;
    let dry = world.json(0, &["lock", "--account", "APP", "--dry-run"]);
    assert_eq!((dry["id"].clone(), dry["sessions"].as_array().unwrap().len()), (Value::Null, 12));
    let locked = world.run(&["lock", "--account", "APP"]);
    assert_eq!(locked.code, 1, "{locked:?}");
    has(&locked.stderr, &["12 of 12 sessions match", "--yes"]);
    assert!(!world.admits(0, "user1").await);
    world.sessions(12, &[]).await;
    let locked = world.lock(&["--account", "APP"]);
    assert_eq!(locked["kicked"], 12, "{locked}");
    world.sessions(0, &[]).await;
}

#[tokio::test]
async fn lock_is_in_force_on_every_replica_and_ends_sessions_on_every_server() {
    let world = World::cluster().await;
    let mut clients = Vec::new();
    for server in [0, 1, 2, 0, 1, 2] {
        clients.push(world.login_at(server, "alice").await);
    }
    world.sessions(6, &["--user", "alice"]).await;
    let locked = world.lock(&["--user", "alice"]);
    assert_eq!(locked["confirmed"].as_array().unwrap().len(), 3, "{locked}");
    assert_eq!((&locked["kicked"], &locked["failed"]), (&6.into(), &0.into()), "{locked}");
    assert_eq!(locked["servers"]["answered"], 3);
    for client in &mut clients {
        client.hears("disconnected").await;
    }
    for _ in 0..6 {
        assert!(!world.admits(1, "alice").await);
    }
    world.sessions(0, &["--user", "alice"]).await;
    for replica in 0..3 {
        let locks = world.run_at(replica, &["locks", "--json"]);
        has(&locks.stdout, &[locked["id"].as_str().unwrap()]);
    }
}

/// A session of alice that was admitted before the only replica was restarted: no decision is known.
async fn forgotten_session(world: &mut World) -> Session {
    let alice = world.login("alice").await;
    world.sessions(1, &["--user", "alice"]).await;
    world.gates[0].terminate().await;
    world.restart(0).await;
    let listed = world.sessions(1, &["--user", "alice"]).await;
    assert_eq!(listed[0]["attributed"], false, "{listed:?}");
    alice
}

#[tokio::test]
async fn lock_survives_a_restart_and_finds_sessions_of_before() {
    let mut world = World::start().await;
    let mut alice = forgotten_session(&mut world).await;
    let locked = world.lock(&["--user", "alice", "--authenticator", "staff"]);
    assert_eq!(locked["kicked"], 1, "{locked}");
    alice.hears("disconnected").await;
    world.gates[0].terminate().await;
    world.restart(0).await;
    assert!(!world.admits(0, "alice").await);
    eventually("alice is out", LONG, async || {
        let listed = world.json(0, &["sessions", "--user", "alice"]);
        listed["sessions"].as_array().unwrap().is_empty().then_some(())
    })
    .await;
}

/// A client with the right password that never gives up: its password is verified once.
#[tokio::test]
async fn locked_client_in_a_retry_loop_costs_others_no_password_hash() {
    retries_cost_no_hash(&World::start().await).await;
}

pub(super) async fn retries_cost_no_hash(world: &World) {
    let hashes = async || world.gates[0].metric("callgate_password_hashes_total").await;
    let before = hashes().await;
    assert!(!world.admits(0, "hashed").await, "the password is wrong");
    assert_eq!(hashes().await, before + 1.0);
    world.lock(&["--user", "hashed"]);
    let right = Credential::password("hashed", HASHED);
    for _ in 0..20 {
        let mark = world.gates[0].mark();
        assert!(world.connect(0, &right).await.is_err());
        world.gates[0].record(mark, &["\"reason\":\"locked\"", "hashed"]).await;
    }
    assert_eq!(hashes().await, before + 2.0);
    assert_eq!(world.run(&["unlock", "--all"]).code, 0);
    assert!(world.connect(0, &right).await.is_ok());
    assert_eq!(hashes().await, before + 2.0);
}

/// Groups and roles are known only from decisions: each connection without one is kicked once, and decided about
/// when it comes back.
#[tokio::test]
async fn lock_by_group_kicks_what_no_replica_has_admitted() {
    let mut world = World::start().await;
    let mut alice = forgotten_session(&mut world).await;
    let locked = world.lock(&["--group", "contractors"]);
    assert_eq!(locked["kicked"], 1, "{locked}");
    alice.hears("disconnected").await;
    eventually("alice is back with a decision", LONG, async || {
        let listed = world.json(0, &["sessions", "--authenticator", "staff"]);
        (listed["sessions"].as_array().unwrap().len() == 1).then_some(())
    })
    .await;
}
