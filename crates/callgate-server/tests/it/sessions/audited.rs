//! Records of sessions and orders in the audit.

use callgate_testkit::{Session, eventually, wait::LONG};
use serde_json::{Value, json};

use super::world::{Options, World};
use crate::{
    audit::support::{record, records},
    support::{Credential, connect_to},
};

#[tokio::test]
async fn sessions_and_orders_are_in_the_audit() {
    let world = World::start().await;
    let audit = world.path(0, "audit.jsonl");
    let mut alice = world.login("alice").await;
    let listed = world.sessions(1, &["--user", "alice"]).await;
    let client_id = &listed[0]["client_id"];
    let start = record(&audit, json!({ "type": "session_start", "client_id": client_id })).await;
    assert_eq!((&start["user"], &start["account"]), (&json!("alice"), &json!("APP")), "{start}");

    world.json(
        0,
        &["kick", "--user", "alice", "--reason", "new role", "--as", "night shift", "--yes"],
    );
    alice.hears("disconnected").await;
    let kick = record(&audit, json!({ "type": "kick", "client_id": client_id })).await;
    assert_eq!((&kick["cause"], &kick["result"]), (&json!("kick"), &json!("kicked")), "{kick}");
    assert_eq!((&kick["reason"], &kick["via"]), (&json!("new role"), &json!("socket")), "{kick}");
    assert!(kick["actor"].as_str().unwrap().contains("claims to be `night shift`"), "{kick}");
    let end = record(&audit, json!({ "type": "session_end", "client_id": client_id })).await;
    assert_eq!(end["cause"], "kick", "{end}");

    let lock = ["lock", "--user", "alice", "--reason", "laptop stolen", "--ttl", "1h", "--yes"];
    let locked = world.json(0, &lock);
    let id = locked["id"].as_str().unwrap();
    let stored = record(&audit, json!({ "type": "lock", "lock": id })).await;
    assert_eq!(stored["target"], json!({ "user": "alice" }), "{stored}");
    assert_eq!(stored["reason"], "laptop stolen", "{stored}");
    assert!(stored["until"].is_string(), "{stored}");
    let refused = json!({ "type": "decision", "reason": "locked", "lock": id });
    assert!(!world.admits(0, "alice").await);
    record(&audit, refused).await;

    assert_eq!(world.run(&["unlock", id]).code, 0);
    record(&audit, json!({ "type": "unlock", "lock": id })).await;
    let bob = world.login("bob").await;
    world.sessions(1, &["--user", "bob"]).await;
    drop(bob);
    let end = record(&audit, json!({ "type": "session_end", "user": "bob" })).await;
    assert!(end["reason"].is_string() && end["in_bytes"].is_u64(), "{end}");
    assert!(end["cause"].is_null(), "{end}");
    // Locks and kicks are changes of an account for OCSF.
    for kind in ["kick", "lock", "unlock"] {
        let query =
            ["audit", "query", "audit.jsonl", "--type", kind, "--as", "ocsf", "--limit", "1"];
        let converted = world.run(&query);
        assert_eq!(converted.code, 0, "{converted:?}");
        assert_eq!(converted.json()["class_uid"], 3001, "{converted:?}");
    }
}

/// Logs in as alice until this replica has admitted one of the clients.
async fn admitted_by(world: &World, replica: usize) -> Vec<Session> {
    world.sessions(0, &[]).await;
    let audit = world.path(replica, "audit.jsonl");
    let before = records(&audit).len();
    let mut clients = Vec::new();
    eventually("a login at this replica", LONG, async || {
        clients.push(world.login("alice").await);
        let all = records(&audit);
        all[before..].iter().any(|record| record["type"] == "session_start").then_some(())
    })
    .await;
    clients
}

/// The records of the end of a connection, in the audits of both replicas.
async fn ends_of(world: &World, client_id: &Value) -> Vec<Value> {
    eventually("the end is recorded", LONG, async || {
        let is_end =
            |record: &Value| record["type"] == "session_end" && record["client_id"] == *client_id;
        let all = [0, 1].map(|replica| records(&world.path(replica, "audit.jsonl")));
        let ends: Vec<Value> = all.into_iter().flatten().filter(is_end).collect();
        (!ends.is_empty()).then_some(ends)
    })
    .await
}

#[tokio::test]
async fn session_end_has_the_cause_of_another_replica() {
    let world = World::with(Options { replicas: 2, ..Options::default() }).await;
    for (order, cause) in [
        (&["kick", "--user", "alice", "--yes"][..], "kick"),
        (&["kick", "--user", "alice", "--yes", "--direct"], "kick"),
        (&["lock", "--user", "alice", "--yes"], "lock"),
    ] {
        let clients = admitted_by(&world, 1).await;
        let listed = world.sessions(clients.len(), &["--user", "alice"]).await;
        world.json(0, order);
        for session in &listed {
            let ends = ends_of(&world, &session["client_id"]).await;
            assert_eq!(ends.len(), 1, "one replica records the end: {ends:?}");
            assert_eq!(ends[0]["cause"], cause, "{order:?}: {}", ends[0]);
        }
    }
}

#[tokio::test]
async fn direct_orders_are_recorded_beside_the_files_of_the_service() {
    let world = World::start().await;
    let reason = ["--reason", "laptop stolen", "--direct"];
    let locked = world.json(0, &[&["lock", "--user", "bob"], &reason[..]].concat());
    let id = locked["id"].as_str().unwrap();
    assert_eq!(world.run(&["unlock", id, "--direct"]).code, 0);
    // What changes nothing is not recorded.
    world.json(0, &["locks", "--direct"]);
    let path = world.path(0, "audit-direct.jsonl");
    let all = records(&path);
    let kinds: Vec<&str> = all.iter().map(|record| record["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["start", "lock", "stop", "start", "unlock", "stop"], "{all:?}");
    assert_eq!(all[1]["lock"], id);
    assert_eq!((&all[1]["via"], &all[1]["reason"]), (&json!("direct"), &json!("laptop stolen")));
    assert!(all[1]["actor"].is_string() && all[4]["via"] == "direct", "{all:?}");
    let verified = world.run(&["audit", "verify", "audit-direct.jsonl"]);
    assert_eq!(verified.code, 0, "{verified:?}");
}

#[tokio::test]
async fn direct_order_that_cannot_be_recorded_is_carried_out() {
    let world = World::start().await;
    std::fs::create_dir(world.path(0, "audit-direct.jsonl")).unwrap();
    let locked = world.run(&["lock", "--user", "bob", "--direct"]);
    assert_eq!(locked.code, 0, "{locked:?}");
    assert!(locked.stderr.contains("the order is not recorded in the audit"), "{locked:?}");
    assert!(!world.admits(0, "bob").await);
}

#[tokio::test]
async fn disconnect_without_a_connect_removes_nothing() {
    // These servers report the end of a connection that was never admitted.
    for version in ["2.10", "2.12"] {
        let options = Options { line: Some(version), ..Options::default() };
        let world = World::with(options).await;
        let _alice = world.login("alice").await;
        let before = world.sessions(1, &["--user", "alice"]).await;
        let audit = world.path(0, "audit.jsonl");
        record(&audit, json!({ "type": "session_start", "user": "alice" })).await;
        let url = world.servers.servers[0].url();
        let wrong = Credential::password("alice", "wrong");
        assert!(connect_to(&url, &wrong).await.is_err());
        world.gates[0].metric_reaches("callgate_server_auth_errors_total", 1.0).await;
        // A later session ends after the events of the refused login.
        drop(world.login("bob").await);
        record(&audit, json!({ "type": "session_end", "user": "bob" })).await;
        let ends = records(&audit).into_iter().filter(|record| record["type"] == "session_end");
        assert_eq!(ends.count(), 1, "{version}");
        assert_eq!(world.sessions(1, &["--user", "alice"]).await, before, "{version}");
    }
}
