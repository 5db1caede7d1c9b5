//! The stream sink, with the permissions that the documentation lists.

use std::fs;

use async_nats::jetstream::{self, consumer::pull};
use callgate_testkit::{eventually, wait::LONG};
use futures_util::StreamExt;
use serde_json::{Value, json};

use super::support::{alice, assert_chained, parse};
use crate::{
    scenario::Written,
    support::{Pair, callgate_in, connect, has, write_private},
};

const STREAM: &str =
    "[[audit.sinks]]\nstream = \"CALLGATE_AUDIT\"\ncreate = { max_age = \"90d\" }\n";

async fn with_stream(keys: &str) -> Pair {
    let config = format!("[audit]\n{keys}\n{STREAM}");
    let users = json!({ "alice": { "pass": "alice", "account": "APP" } });
    Pair::builder(users).gate_config(&config).audit_stream().start().await
}

/// Every stored message.
async fn messages(pair: &Pair) -> Vec<jetstream::Message> {
    let watcher = connect(&pair.server.url(), "watcher", "watcher").await.unwrap();
    let stream = jetstream::new(watcher.client.clone()).get_stream("CALLGATE_AUDIT").await;
    let Ok(mut stream) = stream else { return Vec::new() };
    let count = stream.info().await.unwrap().state.messages;
    let consumer = stream.create_consumer(pull::OrderedConfig::default()).await.unwrap();
    let messages = consumer.messages().await.unwrap();
    let count = usize::try_from(count).unwrap();
    messages.take(count).map(Result::unwrap).collect().await
}

fn line(message: &jetstream::Message) -> String {
    String::from_utf8(message.payload.to_vec()).unwrap()
}

#[tokio::test]
async fn stream_has_every_record_once_as_a_cloud_event() {
    let mut pair = with_stream("").await;
    for _ in 0..5 {
        pair.admits(&alice()).await;
    }
    pair.gate.terminate().await;
    let messages = messages(&pair).await;
    let lines: Vec<String> = messages.iter().map(line).collect();
    assert_chained(&lines);
    let kinds: Vec<Value> = lines.iter().map(|line| parse(line)["type"].clone()).collect();
    assert_eq!(kinds.iter().filter(|kind| *kind == "decision").count(), 5, "{kinds:?}");
    assert_eq!(kinds.last().unwrap(), "stop");
    let decision = messages.iter().find(|message| message.subject.ends_with(".decision")).unwrap();
    assert_eq!(decision.subject.as_str(), "CALLGATE.audit.callgate.decision");
    let record = parse(&line(decision));
    let id = format!("{}/{}", record["boot"].as_str().unwrap(), record["seq"]);
    let headers = decision.headers.clone().unwrap();
    for (name, value) in [
        ("Nats-Msg-Id", id.as_str()),
        ("ce-id", &id),
        ("ce-specversion", "1.0"),
        ("ce-type", "callgate.decision.v1"),
        ("ce-time", record["time"].as_str().unwrap()),
    ] {
        assert_eq!(headers.get(name).unwrap().as_str(), value, "{name}");
    }
    assert!(headers.get("ce-source").unwrap().as_str().starts_with("/callgate/callgate/"));

    // The login of a reader.
    let text = fs::read_to_string(pair.path("callgate.toml")).unwrap();
    let reader =
        text.replace("nkey = { file = \"auth.nk\" }", "user = \"watcher\"\npassword = \"watcher\"");
    write_private(&pair.path("reader.toml"), &reader);
    let run = |arguments: &[&str]| {
        let stream = ["--stream", "CALLGATE_AUDIT", "--config", "reader.toml"];
        callgate_in(pair.folder.path(), &[&["audit"], arguments, &stream[..]].concat())
    };
    let verified = run(&["verify"]);
    assert_eq!(verified.code, 0, "{verified:?}");
    has(&verified.stdout, &["ok      boot "]);
    let found = run(&["query", "--user", "alice"]);
    assert_eq!((found.code, found.stdout.lines().count()), (0, 5), "{found:?}");
}

#[tokio::test]
async fn files_of_init_permit_the_stream() {
    const SWITCHED_OFF: &str = "# [[audit.sinks]]\n# file = \"audit.jsonl\"";
    let switch_on = |text: &str| text.replace(SWITCHED_OFF, STREAM);
    for arguments in [&["--demo"][..], &["--demo", "--operator"]] {
        let written = Written::start("2.15", arguments, switch_on).await;
        let stored = "callgate_audit_records_total{sink=\"CALLGATE_AUDIT\",result=\"written\"}";
        written.gate.metric_reaches(stored, 2.0).await;
    }
}

#[tokio::test]
async fn required_stream_that_is_deleted_refuses_until_it_is_back() {
    let pair = with_stream("required = true").await;
    pair.admits(&alice()).await;
    let watcher = connect(&pair.server.url(), "watcher", "watcher").await.unwrap();
    let context = jetstream::new(watcher.client.clone());
    context.delete_stream("CALLGATE_AUDIT").await.unwrap();
    // It is created again; no admission is lost.
    eventually("an admission", LONG, async || {
        let (outcome, decision) = pair.attempt(&alice()).await;
        assert!(outcome.is_ok() || decision["reason"] == "audit_unavailable", "{decision}");
        outcome.is_ok().then_some(())
    })
    .await;
    let lines: Vec<String> = messages(&pair).await.iter().map(line).collect();
    assert!(lines.iter().any(|line| line.contains("\"admitted\"")), "{lines:?}");
}

#[tokio::test]
async fn stream_without_permission_is_named_and_holds_up_nothing() {
    let config = format!("[audit]\n[[audit.sinks]]\nfile = \"audit.jsonl\"\n{STREAM}");
    let users = json!({ "alice": { "pass": "alice", "account": "APP" } });
    let pair = Pair::builder(users).gate_config(&config).start().await;
    pair.admits(&alice()).await;
    super::support::record(&pair.path("audit.jsonl"), json!({ "outcome": "admitted" })).await;
    let line = pair.gate.says(0, "cannot write the audit").await;
    assert!(line.contains("CALLGATE_AUDIT"), "{line}");
}
