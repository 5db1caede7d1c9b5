//! What locks refuse, and what removes them.

use callgate_testkit::{eventually, wait::LONG};
use serde_json::json;

use super::world::{ONE, THREE, World};
use crate::support::{Mode, everywhere};

#[tokio::test]
async fn lock_refuses_on_every_replica_until_it_is_removed() {
    for (mode, line, servers, state) in [
        (Mode::Configuration, "2.15", 1, ONE),
        (Mode::Configuration, "2.10", 3, THREE),
        (Mode::Configuration, "2.12", 3, THREE),
        (Mode::Operator, "2.15", 3, THREE),
    ] {
        let world = World::on(mode, line, servers, state).await;
        let (one, two, three) = (world.gate().await, world.gate().await, world.gate().await);
        let all = [&one, &two, &three];
        world.lock("L1", json!({ "user": "alice", "authenticator": "staff" }), &all).await;
        // Which replica decides is chance; each of them refuses.
        for _ in 0..9 {
            let decision = world.decision(&all, "alice", "alice").await;
            assert_eq!((&decision["reason"], &decision["lock"]), (&json!("locked"), &json!("L1")));
            assert_eq!(world.reason(&all, "bob", "bob").await, "admitted");
        }
        let marks = all.map(|gate| gate.mark());
        world.unlock("L1").await;
        for (gate, mark) in all.iter().zip(marks) {
            gate.record(mark, &["lock removed", "L1", "admin"]).await;
        }
        assert_eq!(world.reason(&all, "alice", "alice").await, "admitted");
    }
}

#[tokio::test]
async fn lock_reveals_itself_only_to_who_has_the_credential() {
    let world = World::start(1, ONE).await;
    let gate = world.gate().await;
    world.lock("L1", json!({ "user": "alice" }), &[&gate]).await;
    assert_eq!(world.reason(&[&gate], "alice", "wrong").await, "bad_password");
    assert_eq!(world.reason(&[&gate], "alice", "alice").await, "locked");
    // A network and a kind of connection act before the password is hashed.
    world.lock("L2", json!({ "source": "127.0.0.0/8", "kind": "nats" }), &[&gate]).await;
    let decision = world.decision(&[&gate], "bob", "wrong").await;
    assert_eq!((&decision["reason"], &decision["lock"]), (&json!("locked"), &json!("L2")));
}

#[tokio::test]
async fn each_target_refuses_only_what_it_names() {
    let world = World::start(1, ONE).await;
    let gate = world.gate().await;
    for (id, target, alice, carol) in [
        ("T1", json!({ "user": "al*" }), "admitted", "admitted"),
        ("T2", json!({ "user": "alice" }), "locked", "admitted"),
        ("T3", json!({ "account": "OTHER" }), "admitted", "locked"),
        ("T4", json!({ "authenticator": "other" }), "admitted", "admitted"),
        ("T5", json!({ "authenticator": "staff" }), "locked", "locked"),
        ("T6", json!({ "source": "127.0.0.1" }), "locked", "locked"),
        ("T7", json!({ "source": "10.0.0.0/8" }), "admitted", "admitted"),
        ("T8", json!({ "kind": "mqtt" }), "admitted", "admitted"),
        ("T9", json!({ "everyone": true, "account": "APP" }), "locked", "admitted"),
        ("T10", json!({ "issued_before": "2000-01-01T00:00:00Z" }), "locked", "locked"),
        ("T11", json!({ "group": "g" }), "admitted", "admitted"),
    ] {
        world.lock(id, target.clone(), &[&gate]).await;
        assert_eq!(world.reason(&[&gate], "alice", "alice").await, alice, "{target}");
        assert_eq!(world.reason(&[&gate], "carol", "carol").await, carol, "{target}");
        let mark = gate.mark();
        world.unlock(id).await;
        gate.record(mark, &["lock removed", id]).await;
    }
}

#[tokio::test]
async fn purged_bucket_removes_no_lock() {
    for (mode, line) in
        [(Mode::Configuration, "2.10"), (Mode::Operator, "2.12"), (Mode::Configuration, "2.15")]
    {
        purged_bucket(&World::on(mode, line, 1, ONE).await).await;
    }
}

async fn purged_bucket(world: &World) {
    let (one, two) = (world.gate().await, world.gate().await);
    let all = [&one, &two];
    world.lock("L1", json!({ "user": "alice" }), &all).await;
    world.put("L2", json!({ "v": 2, "target": { "user": "bob" } })).await;
    let bucket = world.bucket().await;
    let has = async |key: &str| matches!(bucket.get(key).await, Ok(Some(_)));
    let filled_again = async |what: &str| {
        eventually(&format!("the bucket to be filled again after {what}"), LONG, async || {
            (has("lock.L1").await && has("lock.L2").await).then_some(())
        })
        .await;
        for _ in 0..4 {
            assert_eq!(world.reason(&all, "alice", "alice").await, "locked", "{what}");
        }
    };
    filled_again("the start").await;
    bucket.delete("lock.L1").await.unwrap();
    filled_again("a deletion without an actor").await;
    bucket.purge("lock.L1").await.unwrap();
    filled_again("a purge of the key").await;
    bucket.stream.purge().await.unwrap();
    filled_again("a purge of the stream").await;
    world.admin.delete_key_value("callgate").await.unwrap();
    filled_again("a deletion of the bucket").await;
    let mark = one.mark();
    world.unlock("L1").await;
    one.record(mark, &["lock removed", "L1"]).await;
    assert_eq!(world.reason(&all, "alice", "alice").await, "admitted");
}

#[tokio::test]
async fn lock_unreadable_by_this_version_is_never_ignored() {
    for (mode, line) in everywhere() {
        let state = format!("{ONE}\nmode = \"strict\"");
        unreadable_lock(&World::on(mode, line, 1, &state).await, "state_unavailable").await;
    }
    let state = format!("{ONE}\nmode = \"best_effort\"");
    unreadable_lock(&World::start(1, &state).await, "admitted").await;
}

/// What happens to logins, by reason, while there is an unreadable lock.
async fn unreadable_lock(world: &World, reason: &str) {
    let long = "x".repeat(9 * 1024);
    let gate = world.gate().await;
    for (id, value) in [
        ("U1", json!("garbage")),
        ("U2", json!({ "v": 2, "target": { "user": "alice" } })),
        ("U3", json!({ "v": 1, "target": { "user": "alice", "tenant": "x" } })),
        ("U4", json!({ "v": 1, "target": { "user": "alice" }, "reason": long })),
    ] {
        world.reaches(&gate, "alice", "admitted").await;
        let mark = gate.mark();
        world.put(id, value.clone()).await;
        let logged = gate.record(mark, &["a stored lock is unreadable", id]).await;
        assert_eq!(logged["level"], "ERROR", "{logged}");
        gate.metric_reaches("callgate_locks_unreadable", 1.0).await;
        world.reaches(&gate, "alice", reason).await;
        world.unlock(id).await;
        gate.record(mark, &["lock removed", id]).await;
    }
    world.reaches(&gate, "alice", "admitted").await;
}

#[tokio::test]
async fn wrong_clock_ends_no_lock_early() {
    for (mode, line) in everywhere() {
        wrong_clock(&World::on(mode, line, 1, ONE).await).await;
    }
}

async fn wrong_clock(world: &World) {
    let right = world.gate().await;
    let ahead = world.gate_with_clock("+600").await;
    let behind = world.gate_with_clock("-600").await;
    for gate in [&ahead, &behind] {
        gate.ready().await;
    }
    // It ends in five minutes, which for one replica have passed.
    let ends = callgate::clock::UnixTime::now().plus(std::time::Duration::from_secs(300));
    let lock = json!({ "v": 1, "target": { "user": "alice" }, "ends": ends.to_string() });
    world.put("L1", lock).await;
    for gate in [&right, &ahead, &behind] {
        gate.record(0, &["lock in force", "L1"]).await;
        gate.metric_reaches("callgate_locks", 1.0).await;
        // Measured once per second: the count stays.
        let age = gate.metric("callgate_state_age_seconds").await;
        eventually("another measurement", LONG, async || {
            (gate.metric("callgate_state_age_seconds").await != age).then_some(())
        })
        .await;
        assert!(gate.metric("callgate_locks").await >= 1.0);
    }
    // These two cannot read requests.
    drop((ahead, behind));
    world.reaches(&right, "alice", "locked").await;
    // One that ended more than the tolerance ago is over for those whose clocks are right.
    let ended =
        callgate::clock::UnixTime::from_seconds(callgate::clock::UnixTime::now().seconds() - 40);
    let lock = json!({ "v": 1, "target": { "user": "bob" }, "ends": ended.to_string() });
    world.put("L2", lock).await;
    right.record(0, &["lock in force", "L2"]).await;
    world.reaches(&right, "bob", "admitted").await;
}
