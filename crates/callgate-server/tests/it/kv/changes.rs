//! What entries do, and how fast changes of them take effect.

use std::time::Duration;

use callgate_testkit::{Nkey, eventually, wait::PATIENCE};
use serde_json::json;

use super::world::{KV, OWNED, World, put, put_entry};
use crate::support::{Credential, connect_to, has};

/// A ceiling that permits part of what entries ask for.
const CEILING: &str = "[authenticators.ceiling]\naccounts = [\"APP\"]\nroles = [\"reader\"]\npublish = [\"app.>\"]\nsubscribe = [\"app.>\"]
[roles.reader]\nsubscribe = [\"reader.>\"]\n[roles.admin]\nsubscribe = [\">\"]
[[accounts]]\nname = \"APP\"\n[[accounts]]\nname = \"OTHER\"";

#[tokio::test]
async fn every_credential_of_an_entry_works() {
    let world = World::start(OWNED).await;
    let bucket = world.create().await;
    let key = Nkey::user();
    put(&bucket, "alice@x.org").await;
    put_entry(&bucket, "robot", json!({ "token": "canary-token", "account": "APP" })).await;
    put_entry(&bucket, "sensor", json!({ "nkey": key.public(), "account": "APP" })).await;
    let gate = world.gate().await;
    for (credential, user) in [
        (Credential::password("alice@x.org", "alice@x.org"), "alice@x.org"),
        (Credential::token("canary-token"), "robot"),
    ] {
        let decision = world.decision(&gate, &credential).await;
        assert_eq!((&decision["reason"], &decision["user"]), (&json!("admitted"), &json!(user)));
    }
    let unknown = Credential::password("unknown", "alice@x.org");
    assert_eq!(world.reason(&gate, &unknown).await, "unknown_user");
    let wrong = Credential::password("alice@x.org", "wrong");
    assert_eq!(world.reason(&gate, &wrong).await, "bad_password");
    gate.metric_reaches(
        r#"callgate_directory_entries{authenticator="people",state="loaded"}"#,
        3.0,
    )
    .await;
}

#[tokio::test]
async fn changes_take_effect_on_two_replicas_within_a_second() {
    let world = World::start(OWNED).await;
    let bucket = world.create().await;
    let (one, two) = (world.gate().await, world.gate().await);
    let marks = [one.mark(), two.mark()];
    let start = tokio::time::Instant::now();
    put(&bucket, "alice").await;
    for (gate, mark) in [(&one, marks[0]), (&two, marks[1])] {
        gate.record(mark, &["changed entry is in force", "alice"]).await;
    }
    // Waiting includes reading the log files.
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    let marks = [one.mark(), two.mark()];
    bucket.delete("alice").await.unwrap();
    for (gate, mark) in [(&one, marks[0]), (&two, marks[1])] {
        gate.record(mark, &["1 user was removed", "alice"]).await;
    }
    let credential = Credential::password("alice", "alice");
    assert!(connect_to(&world.servers.servers[0].url(), &credential).await.is_err());
    put(&bucket, "alice").await;
    eventually("alice is back", PATIENCE, async || {
        connect_to(&world.servers.servers[0].url(), &credential).await.ok()
    })
    .await;
    bucket.purge("alice").await.unwrap();
    eventually("alice is purged", PATIENCE, async || {
        connect_to(&world.servers.servers[0].url(), &credential).await.err()
    })
    .await;
}

#[tokio::test]
async fn kv_invalid_entry_does_not_keep_the_old_one() {
    let world = World::start(OWNED).await;
    let bucket = world.create().await;
    put(&bucket, "alice").await;
    put(&bucket, "bob").await;
    let gate = world.gate().await;
    world.reaches(&gate, "alice", "admitted").await;
    for invalid in [
        "not JSON".to_owned(),
        json!({ "pass": "alice", "account": "APP", "rolls": [] }).to_string(),
        json!({ "account": "APP" }).to_string(),
        json!({ "pass": "$argon2id$v=19$m=9999999999,t=1,p=1$AAAA$AAAA" }).to_string(),
        json!(["alice"]).to_string(),
        format!("{{\"pass\": \"alice\"{}}}", " ".repeat(64 * 1024)),
    ] {
        bucket.put("alice", invalid.clone().into()).await.unwrap();
        world.reaches(&gate, "alice", "user_disabled").await;
        assert_eq!(world.reason(&gate, &Credential::password("alice", "x")).await, "user_disabled");
        gate.metric_reaches(
            r#"callgate_directory_entries{authenticator="people",state="faulty"}"#,
            1.0,
        )
        .await;
        // Others are not affected.
        assert_eq!(world.reason(&gate, &Credential::password("bob", "bob")).await, "admitted");
        put(&bucket, "alice").await;
        world.reaches(&gate, "alice", "admitted").await;
    }
    bucket.put("no=2name", "{}".into()).await.unwrap();
    let line = gate.record(0, &["invalid key in the bucket"]).await;
    has(&line.to_string(), &["no=2name"]);
    gate.metric_reaches(
        r#"callgate_directory_entries{authenticator="people",state="faulty"}"#,
        1.0,
    )
    .await;
    bucket.delete("no=2name").await.unwrap();
    gate.metric_reaches(
        r#"callgate_directory_entries{authenticator="people",state="faulty"}"#,
        0.0,
    )
    .await;
    assert!(!gate.log().contains("9999999999"), "the log shows a hash");
}

#[tokio::test]
async fn token_of_two_entries_identifies_neither() {
    let world = World::start(OWNED).await;
    let bucket = world.create().await;
    let entry = json!({ "token": "shared", "account": "APP" });
    put_entry(&bucket, "one", entry.clone()).await;
    let gate = world.gate().await;
    let credential = Credential::token("shared");
    assert_eq!(world.decision(&gate, &credential).await["user"], "one");
    let mark = gate.mark();
    put_entry(&bucket, "two", entry).await;
    gate.record(mark, &["two entries have the same `token`"]).await;
    assert_eq!(world.reason(&gate, &credential).await, "bad_token");
    bucket.delete("one").await.unwrap();
    eventually("the token identifies the other", PATIENCE, async || {
        (world.decision(&gate, &credential).await["user"] == "two").then_some(())
    })
    .await;
}

#[tokio::test]
async fn kv_entries_cannot_exceed_the_ceiling() {
    let world = World::with(1, KV, CEILING, &super::world::NEEDED).await;
    let bucket = world.create().await;
    let permissions = json!({ "pub": ["app.alice", ">", "$SYS.>"], "sub": ["app.>", "other.>"] });
    put_entry(
        &bucket,
        "alice",
        json!({ "pass": "alice", "account": "APP", "permissions": permissions }),
    )
    .await;
    put_entry(&bucket, "bob", json!({ "pass": "bob", "account": "OTHER", "roles": ["reader"] }))
        .await;
    put_entry(&bucket, "carol", json!({ "pass": "carol", "account": "APP", "roles": ["admin"] }))
        .await;
    // Nothing but an account: unrestricted only in the operator's own file.
    put(&bucket, "dave").await;
    let template = json!({ "pub": ["app.{{ user }}.>"] });
    put_entry(
        &bucket,
        "erin",
        json!({ "pass": "erin", "account": "APP", "permissions": template }),
    )
    .await;
    put_entry(&bucket, "fred", json!({ "pass": "fred", "account": "SYS", "roles": ["reader"] }))
        .await;
    let gate = world.gate().await;
    let url = world.servers.servers[0].url();
    let credential = Credential::password("alice", "alice");
    let decision = world.decision(&gate, &credential).await;
    assert_eq!(decision["reason"], "admitted", "{decision}");
    has(decision["ceiling_dropped"].as_str().unwrap(), &["$SYS.>", "other.>"]);
    let mut alice = connect_to(&url, &credential).await.unwrap();
    alice.is_refused_to_publish("other").await;
    alice.is_refused_to_publish("app.bob").await;
    alice.is_refused_to_subscribe("other.x").await;
    alice.is_refused_to_subscribe(">").await;
    for (user, reason) in [
        ("bob", "account_not_allowed"),
        ("dave", "no_binding"),
        ("erin", "user_disabled"),
        ("fred", "account_not_allowed"),
    ] {
        assert_eq!(world.reason(&gate, &Credential::password(user, user)).await, reason, "{user}");
    }
    // The role beyond the ceiling is dropped: nothing is left.
    let carol = world.decision(&gate, &Credential::password("carol", "carol")).await;
    assert_eq!(carol["reason"], "no_binding", "{carol}");
}
