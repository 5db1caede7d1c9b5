//! What a record says beside the decision: unexpected sources.

use serde_json::json;

use super::support::{alice, record, records};
use crate::support::Pair;

#[tokio::test]
async fn unexpected_source_is_marked_and_counted_but_admitted() {
    let config = "[[expected]]\naccount = \"APP\"\nsources = [\"10.0.0.0/8\"]\n\
                  [audit]\n[[audit.sinks]]\nfile = \"audit.jsonl\"\n";
    let users = json!({ "alice": { "pass": "alice", "account": "APP" } });
    let mut pair = Pair::builder(users).gate_config(config).start().await;
    pair.admits(&alice()).await;
    let path = pair.path("audit.jsonl");
    let marked = record(&path, json!({ "user": "alice" })).await;
    assert_eq!(marked["unexpected_source"], true);
    let counted = "callgate_unexpected_sources_total{account=\"APP\",outcome=\"admitted\"}";
    assert_eq!(pair.gate.metric(counted).await, 1.0);
    // Changes take effect with a reload.
    let mark = pair.gate.mark();
    pair.rewrite_config(|text| text.replace("10.0.0.0/8", "127.0.0.1/32"));
    pair.gate.says(mark, "configuration reloaded").await;
    pair.admits(&alice()).await;
    assert_eq!(pair.gate.metric(counted).await, 1.0);
    pair.gate.terminate().await;
    let last = records(&path).into_iter().rfind(|record| record["type"] == "decision").unwrap();
    assert!(last["unexpected_source"].is_null(), "{last}");
}
