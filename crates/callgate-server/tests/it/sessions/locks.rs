//! `callgate lock`, `unlock` and `locks`.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use callgate_testkit::{eventually, wait::PATIENCE};
use serde_json::Value;

use super::world::{Options, World};
use crate::support::{Credential, connect_to, has};

#[tokio::test]
async fn locked_user_is_out_until_unlocked() {
    let world = World::start().await;
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
    let world = World::start().await;
    let _staff = world.login("alice").await;
    let url = world.servers.servers[0].url();
    let guest = Credential::token("guest-alice");
    let _guest = connect_to(&url, &guest).await.unwrap();
    let sessions = world.sessions(2, &["--user", "alice"]).await;
    let id_of = |authenticator: &str| {
        let of = sessions.iter().find(|it| it["authenticator"] == authenticator);
        of.unwrap_or_else(|| panic!("{sessions:?}"))["client_id"].clone()
    };
    let locked = world.json(0, &["lock", "--user", "alice", "--authenticator", "staff"]);
    assert_eq!(locked["kicked"], 1, "{locked}");
    let left = world.sessions(1, &["--user", "alice"]).await;
    assert_eq!(left[0]["client_id"], id_of("guests"));
    assert!(connect_to(&url, &guest).await.is_ok());
    assert!(!world.admits(0, "alice").await);
}

/// A static user of nats-server is not Callgate's.
#[tokio::test]
async fn static_user_named_like_a_locked_one_is_kicked_at_most_once() {
    let world = World::start().await;
    let mut client = world.login_once(0, "static", "unmoved", "fixed").await;
    let listed = world.sessions(1, &["--user", "static"]).await;
    assert_eq!(
        (&listed[0]["attributed"], &listed[0]["authenticator"]),
        (&false.into(), &Value::Null)
    );
    has(
        &world.run(&["sessions", "--user", "static"]).stdout,
        &["static  ?", "1 session, 1 of them not attributed"],
    );
    // A kick is for sessions only.
    let kicked = world.json(0, &["kick", "--user", "static"]);
    assert_eq!((&kicked["kicked"], &kicked["not_attributed"]), (&0.into(), &1.into()));
    let locked = world.json(0, &["lock", "--user", "static"]);
    assert_eq!(locked["kicked"], 1, "{locked}");
    client.hears("disconnected").await;
    client.hears("connected").await;
    let mark = world.gates[0].mark();
    world.gates[0].says(mark, "left alone as a static user's").await;
    let back = world.sessions(1, &["--user", "static"]).await;
    let locks = world.json(0, &["locks"]);
    assert_eq!(locks["locks"][0]["left_alone"][0]["user"], "static", "{locks}");
    // At least one more comparison leaves it where it is.
    let compared = world.gates[0].log().matches("kicked connections that a lock matches").count();
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(
        world.sessions(1, &["--user", "static"]).await[0]["client_id"],
        back[0]["client_id"]
    );
    assert_eq!(
        world.gates[0].log().matches("kicked connections that a lock matches").count(),
        compared
    );
}

/// Logins at random moments around a lock: none survives it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lock_between_proof_and_answer_still_refuses_or_kicks() {
    let world = World::with(Options { replicas: 2, ..Options::default() }).await;
    let url = world.servers.servers[0].url();
    for round in 0..5 {
        let stop = Arc::new(AtomicBool::new(false));
        let logins: Vec<_> = (0..8)
            .map(|_| {
                let (url, stop) = (url.clone(), Arc::clone(&stop));
                tokio::spawn(async move {
                    let mut clients = Vec::new();
                    while !stop.load(Ordering::Relaxed) && clients.len() < 40 {
                        let options =
                            async_nats::ConnectOptions::with_token("fast-alice".to_owned());
                        let options = options.max_reconnects(1).retry_on_initial_connect();
                        clients.extend(options.connect(&url).await);
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                    clients
                })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(50 + 37 * round)).await;
        let locked = world.run_aside(&["lock", "--user", "fast", "--yes", "--json"]).await;
        assert_eq!(locked.code, 0, "{locked:?}");
        tokio::time::sleep(Duration::from_millis(500)).await;
        stop.store(true, Ordering::Relaxed);
        let mut clients = Vec::new();
        for login in logins {
            clients.push(login.await.unwrap());
        }
        eventually("no session of the locked user", Duration::from_secs(5), async || {
            let listed = world.run_aside(&["sessions", "--user", "fast", "--json"]).await;
            let listed: Value = serde_json::from_str(&listed.stdout).unwrap();
            listed["sessions"].as_array().unwrap().is_empty().then_some(())
        })
        .await;
        drop(clients);
        assert_eq!(world.run_aside(&["unlock", "--all"]).await.code, 0);
    }
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
    let locked = world.json(0, &["lock", "--account", "APP", "--yes"]);
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
    let locked = world.json(0, &["lock", "--user", "alice"]);
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

#[tokio::test]
async fn lock_survives_a_restart_and_finds_sessions_of_before() {
    let mut world = World::start().await;
    let mut alice = world.login("alice").await;
    world.sessions(1, &["--user", "alice"]).await;
    world.gates[0].terminate().await;
    world.restart(0).await;
    let listed = world.sessions(1, &["--user", "alice"]).await;
    assert_eq!(listed[0]["attributed"], false, "{listed:?}");
    let locked = world.json(0, &["lock", "--user", "alice", "--authenticator", "staff"]);
    assert_eq!(locked["kicked"], 1, "{locked}");
    alice.hears("disconnected").await;
    world.gates[0].terminate().await;
    world.restart(0).await;
    assert!(!world.admits(0, "alice").await);
    eventually("alice is out", PATIENCE, async || {
        let listed = world.json(0, &["sessions", "--user", "alice"]);
        listed["sessions"].as_array().unwrap().is_empty().then_some(())
    })
    .await;
}
