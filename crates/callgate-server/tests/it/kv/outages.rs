//! Lost watches: the connection, the bucket, the quorum.

use std::fs;

use callgate_testkit::{
    eventually,
    wait::{LONG, PATIENCE},
};
use serde_json::json;

use super::world::{NEEDED, OWNED, World, put};
use crate::support::{Credential, connect_to};

#[tokio::test]
async fn missing_bucket_keeps_a_replica_unready() {
    let world = World::start(OWNED).await;
    let gate = world.gate_waiting().await;
    eventually("the bucket to be what is missing", PATIENCE, async || {
        let why = gate.not_ready().await;
        why.contains("people: the users in the bucket `users`").then_some(())
    })
    .await;
    gate.record(0, &["cannot watch the bucket", "the bucket `users` does not exist"]).await;
    let bucket = world.create().await;
    put(&bucket, "alice").await;
    gate.ready().await;
    world.reaches(&gate, "alice", "admitted").await;
}

#[tokio::test]
async fn deleted_bucket_keeps_the_entries_until_it_is_listed_again() {
    let world = World::start(OWNED).await;
    let bucket = world.create().await;
    put(&bucket, "alice").await;
    put(&bucket, "bob").await;
    let gate = world.gate().await;
    let mark = gate.mark();
    world.admin.delete_key_value("users").await.unwrap();
    gate.record(mark, &["cannot watch the bucket"]).await;
    assert_eq!(world.reason(&gate, &Credential::password("alice", "alice")).await, "admitted");
    let bucket = world.create().await;
    put(&bucket, "bob").await;
    let listed = gate.record(mark, &["bucket listed again"]).await;
    assert!(listed["loaded"].as_u64().is_some(), "{listed}");
    world.reaches(&gate, "alice", "unknown_user").await;
    world.reaches(&gate, "bob", "admitted").await;
}

#[tokio::test]
async fn emptied_bucket_removes_every_user() {
    let world = World::start(OWNED).await;
    let bucket = world.create().await;
    put(&bucket, "alice").await;
    put(&bucket, "bob").await;
    let gate = world.gate().await;
    world.reaches(&gate, "alice", "admitted").await;
    // A purge of the stream leaves no markers.
    bucket.stream.purge().await.unwrap();
    world.reaches(&gate, "alice", "unknown_user").await;
    world.reaches(&gate, "bob", "unknown_user").await;
    put(&bucket, "bob").await;
    world.reaches(&gate, "bob", "admitted").await;
}

#[tokio::test]
async fn kv_entries_deleted_during_an_outage_are_gone() {
    let mut world = World::with(3, OWNED, "", &NEEDED).await;
    let bucket = world.create().await;
    put(&bucket, "alice").await;
    put(&bucket, "bob").await;
    // Callgate knows one server, and the administrator another one.
    let (all, last) = (world.servers.urls(), world.servers.servers[2].url());
    let config = world.folder.path().join("callgate.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace(&all, &last)).unwrap();
    let gate = world.gate().await;
    world.reaches(&gate, "alice", "admitted").await;
    world.servers.servers[2].freeze().await;
    eventually("a deletion by the other servers", LONG, async || bucket.delete("alice").await.ok())
        .await;
    world.servers.servers[2].thaw();
    world.reaches(&gate, "alice", "unknown_user").await;
    world.reaches(&gate, "bob", "admitted").await;
}

#[tokio::test]
async fn lost_quorum_keeps_the_entries() {
    let mut world = World::with(3, OWNED, "", &NEEDED).await;
    let bucket = world.create().await;
    put(&bucket, "alice").await;
    put(&bucket, "bob").await;
    let gate = world.gate().await;
    world.reaches(&gate, "alice", "admitted").await;
    for server in &mut world.servers.servers[1..] {
        server.freeze().await;
    }
    // Callgate may be connected to a server that does not answer.
    let credential = Credential::password("bob", "bob");
    let url = world.servers.servers[0].url();
    let mark = gate.mark();
    let bob = eventually("an admission during the outage", LONG, async || {
        let session = connect_to(&url, &credential).await.ok()?;
        session.is_admitted("bob").await.then_some(session)
    })
    .await;
    gate.record(mark, &["\"outcome\":\"admitted\"", "\"user\":\"bob\""]).await;
    assert!(bucket.put("carol", "{}".into()).await.is_err(), "there is a quorum");
    drop(bob);
    for server in &mut world.servers.servers[1..] {
        server.thaw();
    }
    eventually("a deletion with a quorum", LONG, async || bucket.delete("alice").await.ok()).await;
    world.reaches(&gate, "alice", "unknown_user").await;
    world.reaches(&gate, "bob", "admitted").await;
}

#[tokio::test]
async fn restarted_server_costs_no_change() {
    let mut world = World::start(OWNED).await;
    let bucket = world.create().await;
    put(&bucket, "alice").await;
    put(&bucket, "bob").await;
    let gate = world.gate().await;
    world.servers.servers[0].restart().await;
    gate.ready().await;
    eventually("a deletion", LONG, async || bucket.delete("alice").await.ok()).await;
    world.reaches(&gate, "alice", "unknown_user").await;
    world.reaches(&gate, "bob", "admitted").await;
}

#[tokio::test]
async fn stale_entries_refuse_after_max_stale() {
    let world = World::start(&format!("{OWNED}\nmax_stale = \"2s\"")).await;
    let bucket = world.create().await;
    put(&bucket, "alice").await;
    let gate = world.gate().await;
    world.reaches(&gate, "alice", "admitted").await;
    world.admin.delete_key_value("users").await.unwrap();
    world.reaches(&gate, "alice", "backend_unavailable").await;
    let decision = world.decision(&gate, &Credential::password("unknown", "x")).await;
    assert_eq!(decision["reason"], json!("backend_unavailable"));
    let bucket = world.create().await;
    put(&bucket, "alice").await;
    eventually("alice is back", PATIENCE * 3, async || {
        let credential = Credential::password("alice", "alice");
        (world.reason(&gate, &credential).await == "admitted").then_some(())
    })
    .await;
}
