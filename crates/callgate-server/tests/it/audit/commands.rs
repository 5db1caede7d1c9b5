//! `callgate audit verify` and `callgate audit query` on what the service wrote.

use std::fs;

use callgate_testkit::{Nkey, Process, eventually, wait::LONG};
use serde_json::{Value, json};

use super::support::{alice, lines, record};
use crate::support::{CALLGATE, Credential, Pair, callgate_in, has, serve};

const HIDE_KEY: &str = "0123456789abcdef0123456789abcdef";

/// A stopped service that has written sealed records of two processes.
async fn written(keys: &str) -> (Pair, Nkey) {
    let key = Nkey::user();
    let config = format!(
        "[audit]\nkey = {{ file = \"audit.nk\" }}\n{keys}\n[[audit.sinks]]\nfile = \"audit.jsonl\"\n"
    );
    let users = json!({
        "alice": { "pass": "alice", "account": "APP" },
        "bob": { "pass": "bob", "account": "APP" },
    });
    let builder = Pair::builder(users).gate_config(&config);
    let mut pair = builder.private_file("audit.nk", &key.seed()).start().await;
    pair.admits(&alice()).await;
    pair.gate.terminate().await;
    pair.gate = serve(pair.folder.path(), &["--config", "callgate.toml"]).await;
    pair.gate.ready().await;
    pair.admits(&Credential::password("bob", "bob")).await;
    pair.refuses(&Credential::password("alice", "wrong")).await;
    record(&pair.path("audit.jsonl"), json!({ "reason": "bad_password" })).await;
    pair.gate.terminate().await;
    (pair, key)
}

#[tokio::test]
async fn verify_finds_every_kind_of_tampering() {
    let (pair, key) = written("").await;
    let folder = pair.folder.path();
    let original = lines(&pair.path("audit.jsonl"));
    let verify = |lines: &[String]| {
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        fs::write(pair.path("copy.jsonl"), text).unwrap();
        callgate_in(folder, &["audit", "verify", "copy.jsonl", "--key", &key.public()])
    };
    let intact = verify(&original);
    assert_eq!(intact.code, 0, "{intact:?}");
    assert_eq!(intact.stdout.matches("ok      boot ").count(), 2, "{}", intact.stdout);
    has(&intact.stdout, &["seq 0–4", "sealed to 3 by", &key.public()]);

    let changed: Vec<String> = original
        .iter()
        .map(|line| line.replace("\"user\":\"alice\"", "\"user\":\"mallory\""))
        .collect();
    let mut swapped = original.clone();
    swapped.swap(1, 2);
    let removed = [&original[..2], &original[3..]].concat();
    let inserted = [&original[..3], &original[1..]].concat();
    let cut = &original[..original.len() - 1];
    let cut_first = [&original[..3], &original[5..]].concat();
    let cases = [
        (&changed[..], 4, "`prev` does not match line 3"),
        (&swapped, 2, "`prev` does not match line 1"),
        (&removed, 3, "`prev` does not match line 2"),
        (&inserted, 4, "`prev` does not match line 3"),
        (cut, original.len() - 1, "the seal after `stop` is missing"),
        (&cut_first, 4, "`after` does not match line 3"),
    ];
    for (lines, line, what) in cases {
        let found = verify(lines);
        assert_eq!(found.code, 1, "{what}: {found:?}");
        has(&found.stdout, &[&format!("BROKEN  copy.jsonl line {line}: "), what]);
    }
    let other = Nkey::user().public();
    let found = callgate_in(folder, &["audit", "verify", "audit.jsonl", "--key", &other, "--json"]);
    assert_eq!((found.code, found.json()["ok"].clone()), (1, json!(false)));
    let unreadable = callgate_in(folder, &["audit", "verify", "absent.jsonl"]);
    assert_eq!(unreadable.code, 2);
    let by_config =
        callgate_in(folder, &["audit", "verify", "audit.jsonl", "--config", "callgate.toml"]);
    assert_eq!(by_config.code, 0, "{by_config:?}");
}

#[tokio::test]
async fn query_filters_and_converts() {
    let (pair, _) = written("").await;
    let query = |arguments: &[&str]| {
        callgate_in(pair.folder.path(), &[&["audit", "query", "audit.jsonl"], arguments].concat())
    };
    let count = |arguments: &[&str]| {
        let ran = query(arguments);
        assert_eq!(ran.code, i32::from(ran.stdout.is_empty()), "{ran:?}");
        ran.stdout.lines().count()
    };
    for (arguments, expected) in [
        (&["--user", "alice"][..], 2),
        (&["--user", "alice", "--outcome", "refused"], 1),
        (&["--user", "ali"], 0),
        (&["--type", "decision"], 3),
        (&["--type", "start", "--type", "stop"], 4),
        (&["--reason", "bad_password"], 1),
        (&["--account", "APP"], 2),
        (&["--authenticator", "staff", "--limit", "1"], 1),
        (&["--source", "127.0.0.0/8"], 3),
        (&["--source", "127.0.0.1"], 3),
        (&["--source", "10.0.0.0/8"], 0),
        (&["--since", "1h", "--type", "seal"], 2),
        (&["--until", "1h"], 0),
    ] {
        assert_eq!(count(arguments), expected, "{arguments:?}");
    }
    let first: Value =
        serde_json::from_str(query(&["--user", "bob"]).stdout.lines().next().unwrap()).unwrap();
    let id = format!("{}/{}", first["server_id"].as_str().unwrap(), first["client_id"]);
    assert_eq!(count(&["--session", &id]), 1);
    let ocsf = query(&["--as", "ocsf", "--user", "alice"]).stdout;
    let ocsf: Vec<Value> = ocsf.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for (record, status) in ocsf.iter().zip([1, 2]) {
        for (member, value) in [("class_uid", 3002), ("activity_id", 1), ("status_id", status)] {
            assert_eq!(record[member], value, "{member}");
        }
        assert_eq!(record["user"]["name"], "alice");
        assert_eq!(record["src_endpoint"]["ip"], "127.0.0.1");
    }
    let ecs = query(&["--as", "ecs", "--user", "bob"]).json();
    assert_eq!(ecs["event"]["outcome"], "success");
    assert_eq!(ecs["event"]["category"], json!(["authentication"]));
    assert_eq!((&ecs["user"]["name"], &ecs["source"]["ip"]), (&json!("bob"), &json!("127.0.0.1")));
    assert_eq!(callgate_in(pair.folder.path(), &["audit", "query", "absent"]).code, 2);
    assert_eq!(query(&["--since", "yesterday"]).code, 2);
}

#[tokio::test]
async fn hidden_fields_are_found_in_clear_text_with_the_key() {
    let keys = format!("hide = [\"user\", \"source\"]\nhide_key = \"{HIDE_KEY}\"");
    let (pair, _) = written(&keys).await;
    let query = |arguments: &[&str]| {
        let base = ["audit", "query", "audit.jsonl"];
        callgate_in(pair.folder.path(), &[&base[..], arguments].concat())
    };
    assert_eq!(query(&["--user", "alice"]).code, 1, "nothing without the key");
    let config = ["--config", "callgate.toml"];
    let found = query(&[&["--user", "alice"], &config[..]].concat());
    assert_eq!((found.code, found.stdout.lines().count()), (0, 2), "{found:?}");
    assert!(!found.stdout.contains("alice"));
    let found = query(&[&["--source", "127.0.0.1"], &config[..]].concat());
    assert_eq!(found.stdout.lines().count(), 3);
}

#[tokio::test]
async fn follow_prints_new_records_also_after_a_rotation() {
    let pair = super::support::audited("").await;
    let path = pair.path("audit.jsonl");
    record(&path, json!({ "type": "config" })).await;
    let follow = Process::builder("query", CALLGATE)
        .args(["audit", "query", "audit.jsonl", "--follow", "--type", "decision"])
        .current_dir(pair.folder.path())
        .start();
    let printed = async |count: usize| {
        eventually(&format!("{count} decisions"), LONG, async || {
            (follow.stdout().lines().count() == count).then_some(())
        })
        .await;
    };
    pair.admits(&alice()).await;
    printed(1).await;
    fs::rename(&path, pair.path("rotated.jsonl")).unwrap();
    pair.admits(&alice()).await;
    printed(2).await;
}
