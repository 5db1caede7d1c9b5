//! What a record says beside the decision: unexpected sources and facts.

use serde_json::json;

use super::support::{alice, record};
use crate::support::{Credential, Pair};

#[tokio::test]
async fn unexpected_source_is_marked_and_counted_but_admitted() {
    let config = "[[expected]]\naccount = \"APP\"\nsources = [\"10.0.0.0/8\"]\n\
                  [[expected]]\naccount = \"LOCAL\"\nsources = [\"127.0.0.0/8\"]\n\
                  [audit]\n[[audit.sinks]]\nfile = \"audit.jsonl\"\n";
    let users = json!({
        "alice": { "pass": "alice", "account": "APP" },
        "local": { "pass": "local", "account": "LOCAL" },
    });
    let server = "accounts { LOCAL {} }";
    let builder = Pair::builder(users).gate_config(config);
    let pair = builder.server_config(server).start().await;
    pair.admits(&alice()).await;
    let path = pair.path("audit.jsonl");
    let marked = record(&path, json!({ "user": "alice" })).await;
    assert_eq!(marked["unexpected_source"], true);
    let counted = "callgate_unexpected_sources_total{account=\"APP\",outcome=\"admitted\"}";
    assert_eq!(pair.gate.metric(counted).await, 1.0);
    // nats-server merges no accounts, so this login fails there; the decision is what counts.
    let _ = pair.attempt(&Credential::password("local", "local")).await;
    let local = record(&path, json!({ "user": "local" })).await;
    assert!(local["unexpected_source"].is_null(), "{local}");
    // Changes take effect with a reload.
    pair.rewrite_config(|text| text.replace("10.0.0.0/8", "127.0.0.1/32"));
    let mark = pair.gate.mark();
    pair.gate.says(mark, "configuration reloaded").await;
    pair.admits(&alice()).await;
    assert_eq!(pair.gate.metric(counted).await, 1.0);
}
