//! The bucket, its quorum or the other replicas are gone.

use callgate_testkit::{Service, eventually, wait::LONG};
use serde_json::json;

use super::world::{ONE, THREE, World};
use crate::support::Mode;

/// Waits until `/readyz` says that the replica waits for this.
async fn waits_for(gate: &Service, what: &str) {
    eventually(what, LONG, async || gate.not_ready().await.contains(what).then_some(())).await;
}

#[tokio::test]
async fn replica_waits_for_the_locks() {
    let world = World::start(1, &format!("{ONE}\ncreate = false")).await;
    let gate = world.gate_waiting().await;
    waits_for(&gate, "state: the locks in the bucket `callgate`").await;
    gate.record(0, &["cannot use the bucket", "does not exist"]).await;
    let config =
        async_nats::jetstream::kv::Config { bucket: "callgate".to_owned(), ..Default::default() };
    world.admin.create_key_value(config).await.unwrap();
    gate.ready().await;
    world.lock("L1", json!({ "user": "alice" }), &[&gate]).await;
    world.reaches(&gate, "alice", "locked").await;
}

#[tokio::test]
async fn locks_that_are_not_required_do_not_hold_up_the_start() {
    let world = World::start(1, &format!("{ONE}\ncreate = false\nrequired = false")).await;
    let gate = world.gate().await;
    let logged = gate.record(0, &["the locks are unknown"]).await;
    assert_eq!(logged["level"], "ERROR", "{logged}");
    assert_eq!(world.reason(&[&gate], "alice", "alice").await, "admitted");
}

#[tokio::test]
async fn too_few_servers_are_named_and_keep_a_replica_unready() {
    let world = World::start(1, "").await;
    let gate = world.gate_waiting().await;
    let logged = gate.record(0, &["cannot use the bucket"]).await;
    let error = logged["error"].as_str().unwrap();
    assert!(error.contains("needs 3 servers") && error.contains("1 server"), "{error}");
    waits_for(&gate, "state").await;
}

#[tokio::test]
async fn stale_copy_that_answers_reads_does_not_count_as_fresh() {
    for (mode, line) in
        [(Mode::Configuration, "2.10"), (Mode::Configuration, "2.12"), (Mode::Operator, "2.15")]
    {
        let state = format!("{THREE}\nmode = \"strict\"");
        stale_copy_is_not_fresh(&mut World::on(mode, line, 3, &state).await).await;
    }
}

async fn stale_copy_is_not_fresh(world: &mut World) {
    let strict = world.gate().await;
    world.lock("L1", json!({ "user": "alice" }), &[&strict]).await;
    world.reaches(&strict, "bob", "admitted").await;
    for server in &mut world.servers.servers[1..] {
        server.freeze().await;
    }
    world.reaches(&strict, "bob", "state_unavailable").await;
    strict.metric_reaches("callgate_state_age_seconds", 5.0).await;
    for server in &mut world.servers.servers[1..] {
        server.thaw();
    }
    world.reaches(&strict, "bob", "admitted").await;
    world.reaches(&strict, "alice", "locked").await;
}

#[tokio::test]
async fn best_effort_continues_with_the_last_locks_without_quorum() {
    let mut world = World::start(3, THREE).await;
    let gate = world.gate().await;
    world.lock("L1", json!({ "user": "alice" }), &[&gate]).await;
    let mark = gate.mark();
    for server in &mut world.servers.servers[1..] {
        server.freeze().await;
    }
    gate.record(mark, &["the shared state is not fresh", "last known locks stay in force"]).await;
    world.reaches(&gate, "bob", "admitted").await;
    world.reaches(&gate, "alice", "locked").await;
    let mark = gate.mark();
    for server in &mut world.servers.servers[1..] {
        server.thaw();
    }
    gate.record(mark, &["the shared state is fresh again"]).await;
}

#[tokio::test]
async fn starting_replica_takes_the_locks_of_a_peer() {
    let world = World::start(1, ONE).await;
    let old = world.gate().await;
    world.lock("L1", json!({ "user": "alice" }), &[&old]).await;
    // No bucket, and no replica may create another one.
    let config = world.folder.path().join("callgate.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace(ONE, &format!("{ONE}\ncreate = false"))).unwrap();
    let fresh = world.gate().await;
    drop(old);
    world.admin.delete_key_value("callgate").await.unwrap();
    let newest = world.gate().await;
    newest.record(0, &["locks received from another replica"]).await;
    for _ in 0..4 {
        assert_eq!(world.reason(&[&fresh, &newest], "alice", "alice").await, "locked");
    }
}

#[tokio::test]
async fn restarted_replica_reads_the_locks_again() {
    let world = World::start(1, ONE).await;
    let mut gate = world.gate().await;
    world.lock("L1", json!({ "user": "alice" }), &[&gate]).await;
    gate.terminate().await;
    let gate = world.gate().await;
    assert_eq!(world.reason(&[&gate], "alice", "alice").await, "locked");
    // A replica that stops removes its key.
    let bucket = world.bucket().await;
    let keys = async || {
        use futures_util::StreamExt;
        let keys = bucket.keys().await.unwrap().filter_map(async |key| key.ok());
        let keys: Vec<String> = keys.collect().await;
        keys.into_iter().filter(|key| key.starts_with("replica.")).count()
    };
    eventually("one replica in the bucket", LONG, async || (keys().await == 1).then_some(())).await;
}
