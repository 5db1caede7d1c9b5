//! The gate as a NATS micro service, as `nats micro ls`, `info` and `stats` see it.

use std::time::Duration;

use async_nats::Client;
use callgate::responder::other_responders;
use callgate_testkit::wait::PATIENCE;
use futures_util::{StreamExt, future::join_all};
use serde_json::{Value, json};

use crate::server::{Callout, VERSIONS, login};

/// Sends a request and collects the expected number of answers.
async fn request_all(client: &Client, subject: &str, expected: usize) -> Vec<Value> {
    let inbox = client.new_inbox();
    let mut answers = client.subscribe(inbox.clone()).await.unwrap();
    client.publish_with_reply(subject.to_owned(), inbox, "".into()).await.unwrap();
    let mut found = Vec::new();
    while found.len() < expected {
        let answer = tokio::time::timeout(PATIENCE, answers.next()).await.expect(subject).unwrap();
        found.push(serde_json::from_slice(&answer.payload).unwrap());
    }
    found
}

async fn request_one(client: &Client, subject: &str) -> Value {
    request_all(client, subject, 1).await.remove(0)
}

#[tokio::test]
async fn ping_info_and_stats_follow_the_micro_protocol() {
    for version in VERSIONS {
        let callout = Callout::start(version, true).await;
        let gate = callout.builder().build().unwrap();
        let replica = callout.replica(gate).await;
        let client = callout.service().await;

        let ping = request_one(&client, "$SRV.PING").await;
        let id = ping["id"].as_str().filter(|id| !id.is_empty()).unwrap().to_owned();
        let head = json!({
            "type": "io.nats.micro.v1.ping_response", "name": "callgate", "id": id,
            "version": env!("CARGO_PKG_VERSION"), "metadata": {},
        });
        assert_eq!(ping, head);

        let info = request_one(&client, &format!("$SRV.INFO.callgate.{id}")).await;
        let endpoint = json!({
            "name": "auth", "subject": "$SYS.REQ.USER.AUTH", "queue_group": "callgate",
            "metadata": {},
        });
        assert_eq!(info["type"], "io.nats.micro.v1.info_response");
        assert_eq!(info["endpoints"], json!([endpoint]), "exactly one endpoint");
        assert_eq!(info["metadata"], json!({}), "no configuration is exposed");

        let logins = (0..5).map(|_| login(&callout.server, "alice", "secret"));
        assert!(join_all(logins).await.iter().all(Result::is_ok));
        let stats = request_one(&client, "$SRV.STATS.callgate").await;
        assert_eq!(stats["type"], "io.nats.micro.v1.stats_response");
        let endpoint = &stats["endpoints"][0];
        assert_eq!((&endpoint["num_requests"], &endpoint["num_errors"]), (&json!(5), &json!(0)));
        let [total, average] =
            ["processing_time", "average_processing_time"].map(|f| endpoint[f].as_u64().unwrap());
        assert!(total > 0 && average == total / 5, "nanoseconds: {endpoint}");
        assert!(stats["started"].as_str().unwrap().ends_with('Z'), "{stats}");

        assert!(replica.leave(PATIENCE).await);
        let gone = client.request("$SRV.PING.callgate", "".into()).await;
        assert!(gone.is_err(), "a replica that has left does not answer: {gone:?}");
    }
}

#[tokio::test]
async fn every_replica_answers_separately() {
    let callout = Callout::start("2.15", false).await;
    let gate = callout.builder().build().unwrap();
    let _replicas = [callout.replica(gate.clone()).await, callout.replica(gate).await];
    let client = callout.service().await;
    let pings = request_all(&client, "$SRV.PING.callgate", 2).await;
    assert_ne!(pings[0]["id"], pings[1]["id"]);
}

#[tokio::test]
async fn other_responders_outside_the_queue_are_found() {
    let callout = Callout::start("2.15", false).await;
    let gate = callout.builder().build().unwrap();
    let _replica = callout.replica(gate).await;
    let client = callout.service().await;
    let wait = Duration::from_millis(300);
    assert_eq!(other_responders(&client, "callgate", wait).await, []);
    let found = other_responders(&client, "another-queue", wait).await;
    assert_eq!(found, [("callgate".to_owned(), "callgate".to_owned())]);
}
