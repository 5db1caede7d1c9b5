//! Others on the callout account, and what the service learns there about itself.

use std::fs;

use async_nats::service::ServiceExt;
use callgate_testkit::eventually;
use callgate_testkit::wait::{LONG, PATIENCE};
use serde_json::{Value, json};

use crate::support::{Credential, Pair, Service, connect, has, serve};

fn users() -> Value {
    json!({ "alice": { "pass": "alice", "account": "APP" } })
}

/// Also one that comes later: it is looked for again and again.
#[tokio::test]
async fn a_service_that_answers_in_another_queue_group_is_warned_about() {
    let pair = Pair::of(users()).await;
    let config = fs::read_to_string(pair.path("callgate.toml")).unwrap();
    pair.write("other.toml", config.replace("[issuer]", "queue = \"other\"\n[issuer]"));
    let mut other = serve(pair.folder.path(), &["--config", "other.toml"]).await;
    let warned = other.record(0, &["another service answers authorization requests"]).await;
    assert_eq!(warned["level"], "WARN");
    assert_eq!((&warned["service"], &warned["queue"]), (&json!("callgate"), &json!("callgate")));
    has(&warned.to_string(), &["nats.queue"]);
    // It is found, too, by who was there before.
    pair.gate.record(0, &["another service answers authorization requests", "other"]).await;
    // A replica in the same group is no other, whoever else in it is one.
    let mark = pair.gate.mark();
    let replica = serve(pair.folder.path(), &["--config", "callgate.toml"]).await;
    replica.ready().await;
    let watcher = connect(&pair.server.url(), "watcher", "watcher").await.unwrap();
    let legacy = watcher.client.service_builder().queue_group("callgate");
    let legacy = legacy.start("legacy", "0.0.1").await.unwrap();
    let _endpoint = legacy.endpoint("$SYS.REQ.USER.AUTH").await.unwrap();
    let told = pair.gate.record(mark, &["answers authorization requests in our queue group"]).await;
    assert_eq!((&told["level"], &told["service"]), (&json!("INFO"), &json!("legacy")));
    assert!(!pair.gate.log()[mark..].contains("WARN"), "{}", pair.gate.log());
    other.terminate().await;
}

#[tokio::test]
async fn a_callout_user_who_could_forge_requests_is_warned_about() {
    let open = Pair::builder(users()).unlimited_callout_user().without_callout();
    let open = open.start().await;
    let warned = open.gate.record(0, &["may publish `$SYS.REQ.USER.AUTH`"]).await;
    assert_eq!(warned["level"], "WARN");
    has(&warned.to_string(), &["allow it only `_INBOX.>`, `$SYS._INBOX.>`"]);
    let limited = Pair::of(users()).await;
    assert!(!limited.gate.log().contains("may publish `$SYS.REQ.USER.AUTH`"));
}

/// What lets requests arrive, and two ways to keep them from us: the first a server tells when it is asked,
/// the second (for another queue group only) by nothing but its error.
const LEAVE: &str = r#"subscribe: ["$SYS.REQ.USER.AUTH", "#;
const REFUSALS: [&str; 2] = ["subscribe: [", r#"subscribe: ["$SYS.REQ.USER.AUTH other", "#];

#[tokio::test]
async fn it_is_ready_only_while_the_server_lets_it_subscribe_and_comes_back_by_itself() {
    for version in ["2.10", "2.15"] {
        let mut pair = Pair::builder(users()).version(version).start().await;
        for refusal in REFUSALS {
            pair.server.reload_changed(|text| text.replacen(LEAVE, refusal, 1)).await;
            has(&pair.gate.not_ready().await, &["subscri", "$SYS.REQ.USER.AUTH"]);
            // One that starts now is not ready either.
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
async fn a_callout_account_that_was_stated_wrongly_keeps_it_from_being_ready() {
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
async fn nobody_is_placed_in_the_callout_account_even_if_its_name_was_not_stated() {
    let pair = Pair::of(json!({ "spy": { "pass": "spy", "account": "AUTH" } })).await;
    let (outcome, decision) = pair.attempt(&Credential::password("spy", "spy")).await;
    assert!(outcome.is_err());
    assert_eq!(decision["reason"], "account_not_allowed");
    has(
        decision["detail"].as_str().unwrap(),
        &["account `AUTH`", "nobody is placed in the callout account"],
    );
}

#[tokio::test]
async fn it_is_a_micro_service_that_tells_nothing_of_its_configuration() {
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
