//! Other services on the callout account, and checks of Callgate's own account.

use std::fs;

use async_nats::service::ServiceExt;
use callgate_testkit::eventually;
use callgate_testkit::wait::{LONG, PATIENCE};
use serde_json::{Value, json};

use crate::support::{Credential, Pair, Service, connect, has, serve};

fn users() -> Value {
    json!({ "alice": { "pass": "alice", "account": "APP" } })
}

/// Scans are repeated, so later arrivals are found, too.
#[tokio::test]
async fn service_in_another_queue_group_is_warned_about() {
    let pair = Pair::of(users()).await;
    let config = fs::read_to_string(pair.path("callgate.toml")).unwrap();
    pair.write("other.toml", config.replace("[issuer]", "queue = \"other\"\n[issuer]"));
    let mut other = serve(pair.folder.path(), &["--config", "other.toml"]).await;
    let warned = other.record(0, &["another service answers authorization requests"]).await;
    assert_eq!(warned["level"], "WARN");
    assert_eq!((&warned["service"], &warned["queue"]), (&json!("callgate"), &json!("callgate")));
    has(&warned.to_string(), &["nats.queue"]);
    // The service that was there before finds it, too.
    pair.gate.record(0, &["another service answers authorization requests", "other"]).await;
    // A Callgate replica in the same group is not reported; another service is.
    let mark = pair.gate.mark();
    let replica = serve(pair.folder.path(), &["--config", "callgate.toml"]).await;
    replica.ready().await;
    let watcher = connect(&pair.server.url(), "watcher", "watcher").await.unwrap();
    let legacy = watcher.client.service_builder().queue_group("callgate");
    let legacy = legacy.start("legacy", "0.0.1").await.unwrap();
    let _endpoint = legacy.endpoint("$SYS.REQ.USER.AUTH").await.unwrap();
    let reported =
        pair.gate.record(mark, &["answers authorization requests in our queue group"]).await;
    assert_eq!((&reported["level"], &reported["service"]), (&json!("INFO"), &json!("legacy")));
    assert!(!pair.gate.log()[mark..].contains("WARN"), "{}", pair.gate.log());
    other.terminate().await;
}

#[tokio::test]
async fn callout_user_that_could_forge_requests_is_warned_about() {
    let open = Pair::builder(users()).unlimited_callout_user().without_callout();
    let open = open.start().await;
    let warned = open.gate.record(0, &["may publish `$SYS.REQ.USER.AUTH`"]).await;
    assert_eq!(warned["level"], "WARN");
    has(&warned.to_string(), &["allow it only `_INBOX.>`, `$SYS._INBOX.>`"]);
    let limited = Pair::of(users()).await;
    assert!(!limited.gate.log().contains("may publish `$SYS.REQ.USER.AUTH`"));
}

/// The required permission, and two ways to withdraw it: a server reports the first on request, but the second
/// (permitted for another queue group only) just by an error.
const LEAVE: &str = r#"subscribe: ["$SYS.REQ.USER.AUTH", "#;
const REFUSALS: [&str; 2] = ["subscribe: [", r#"subscribe: ["$SYS.REQ.USER.AUTH other", "#];

#[tokio::test]
async fn readiness_follows_subscribe_permission() {
    for version in ["2.10", "2.15"] {
        let mut pair = Pair::builder(users()).version(version).start().await;
        for refusal in REFUSALS {
            pair.server.reload_changed(|text| text.replacen(LEAVE, refusal, 1)).await;
            has(&pair.gate.not_ready().await, &["subscri", "$SYS.REQ.USER.AUTH"]);
            // A service that starts now is not ready either.
            let mut fresh = serve(pair.folder.path(), &["--config", "callgate.toml"]).await;
            fresh.says(0, "not ready; retrying").await;
            has(&fresh.not_ready().await, &["subscri", "$SYS.REQ.USER.AUTH"]);
            assert!(!fresh.log().contains("ready: answering"), "{}", fresh.log());

            pair.server.reload_changed(|text| text.replacen(refusal, LEAVE, 1)).await;
            pair.gate.ready().await;
            fresh.ready().await;
            let marks = [pair.gate.mark(), fresh.mark()];
            eventually("a decision by each of them", LONG, async || {
                connect(&pair.server.url(), "alice", "alice").await.expect("an admission");
                let decided = |gate: &Service, mark| !gate.decisions(mark).is_empty();
                (decided(&pair.gate, marks[0]) && decided(&fresh, marks[1])).then_some(())
            })
            .await;
            fresh.terminate().await;
        }
    }
}

#[tokio::test]
async fn wrong_callout_account_prevents_readiness() {
    let pair = Pair::builder(users()).never_ready().start().await;
    pair.gate.ready().await;
    pair.rewrite_config(|text| text.replace("[issuer]", "[issuer]\ncallout_account = \"GATE\""));
    let mark = pair.gate.mark();
    let words = "logged in to account `AUTH`, but issuer.callout_account is `GATE`";
    pair.gate.says(mark, words).await;
    eventually("not ready", PATIENCE, async || {
        let (status, why) = pair.gate.get("/readyz").await;
        (status == 503 && why.contains("callout_account")).then_some(())
    })
    .await;

    let fresh = serve(pair.folder.path(), &["--config", "callgate.toml"]).await;
    fresh.says(0, words).await;
    let (status, why) = fresh.get("/readyz").await;
    assert_eq!(status, 503);
    has(&why, &[words, "correct one of them"]);
}

#[tokio::test]
async fn detected_callout_account_accepts_no_users() {
    let pair = Pair::of(json!({ "spy": { "pass": "spy", "account": "AUTH" } })).await;
    let (outcome, decision) = pair.attempt(&Credential::password("spy", "spy")).await;
    assert!(outcome.is_err());
    assert_eq!(decision["reason"], "account_not_allowed");
    has(
        decision["detail"].as_str().unwrap(),
        &["account `AUTH`", "clients must not be placed in the callout account"],
    );
}

#[tokio::test]
async fn micro_service_reveals_no_configuration() {
    let pair = Pair::of(users()).await;
    let watcher = connect(&pair.server.url(), "watcher", "watcher").await.unwrap();
    pair.admits(&Credential::password("alice", "alice")).await;
    let ask = async |verb: &str| -> Value {
        let answer = watcher.client.request(format!("$SRV.{verb}.callgate"), "".into()).await;
        serde_json::from_slice(&answer.unwrap().payload).unwrap()
    };
    let info = ask("INFO").await;
    assert_eq!((&info["name"], &info["metadata"]), (&json!("callgate"), &json!({})));
    assert_eq!(info["endpoints"].as_array().unwrap().len(), 1);
    assert_eq!(info["endpoints"][0]["subject"], "$SYS.REQ.USER.AUTH");
    assert_eq!(info["endpoints"][0]["queue_group"], "callgate");
    assert_eq!(info["endpoints"][0]["metadata"], json!({}));
    assert_eq!(ask("STATS").await["endpoints"][0]["num_requests"], 1);
    assert_eq!(ask("PING").await["id"], info["id"]);
}
