//! Rotation under load, and the command after it.

use std::{collections::BTreeSet, fs, path::PathBuf};

use callgate_testkit::{eventually, wait::LONG};
use serde_json::Value;

use super::support::{alice, assert_chained, audited_with, lines, parse};
use crate::support::{Credential, Pair, connect_to};

/// The rotated files and the current one, in the order of their first records.
fn files(pair: &Pair) -> Vec<PathBuf> {
    let entries = fs::read_dir(pair.folder.path()).unwrap().map(|entry| entry.unwrap().path());
    let is_audit = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.starts_with("audit") && name.ends_with(".jsonl")
    };
    let mut files: Vec<PathBuf> = entries.filter(is_audit).collect();
    files.sort_by_key(|path| lines(path).first().map(|line| parse(line)["seq"].as_u64()));
    files
}

#[tokio::test]
async fn rotation_under_load_neither_loses_nor_doubles_records() {
    let sink = "rotate = { size = \"4KiB\", then = [\"/bin/cp\", \"-t\", \"shipped;rm -rf\"] }";
    let mut pair = audited_with("", &sink.replace("shipped", "SHIPPED")).await;
    fs::create_dir(pair.path("SHIPPED;rm -rf")).unwrap();
    let url = pair.server.url();
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let url = url.clone();
        clients.spawn(async move {
            for _ in 0..15 {
                drop(connect_to(&url, &alice()).await.unwrap());
                let _ = connect_to(&url, &Credential::password("alice", "wrong")).await;
            }
        });
    }
    clients.join_all().await;
    pair.gate.terminate().await;
    let files = files(&pair);
    assert!(files.len() > 5, "{files:?}");
    let all: Vec<String> = files.iter().flat_map(|file| lines(file)).collect();
    assert_chained(&all);
    let records: Vec<Value> = all.iter().map(|line| parse(line)).collect();
    let of = |outcome: &str| {
        let decisions = records.iter().filter(move |record| record["outcome"] == outcome);
        decisions.map(|record| record["user_nkey"].as_str().unwrap()).collect::<Vec<_>>()
    };
    for outcome in ["admitted", "refused"] {
        let logins = of(outcome);
        assert_eq!(logins.len(), 120, "{outcome}");
        assert_eq!(logins.iter().collect::<BTreeSet<_>>().len(), 120, "{outcome}");
    }
    // The current folder of the service is that of the configuration.
    let shipped = pair.path("SHIPPED;rm -rf");
    eventually("a file that the command copied", LONG, async || {
        let copied = fs::read_dir(&shipped).unwrap().flatten().next()?;
        copied.file_name().to_str().unwrap().starts_with("audit-").then_some(())
    })
    .await;
}

#[tokio::test]
async fn oldest_files_are_deleted_and_failing_commands_counted() {
    let sink = "rotate = { size = \"1KiB\", keep = 2, then = [\"/bin/false\"] }";
    let pair = audited_with("", sink).await;
    // Records that arrive together are written together, before one rotation.
    eventually("four rotations", LONG, async || {
        pair.admits(&alice()).await;
        (pair.gate.metric("callgate_audit_rotate_failures_total").await >= 4.0).then_some(())
    })
    .await;
    pair.gate.says(0, "the command after the rotation failed").await;
    eventually("only two rotated files", LONG, async || {
        let count = files(&pair).len();
        (count <= 3).then_some(())
    })
    .await;
}
