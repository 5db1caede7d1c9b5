//! `examples/audit/verify.py`, which shares no code with Callgate, agrees with it about chains and seals.

use std::{fs, path::Path, process::Command};

use callgate_testkit::{Nkey, pages::checkout, tools};
use serde_json::json;

use super::support::{alice, lines};
use crate::support::{Pair, serve};

struct Verified {
    code: Option<i32>,
    output: String,
}

fn verify(folder: &Path, arguments: &[&str]) -> Verified {
    let mut python = Command::new(tools::python());
    python.arg(checkout("examples/audit/verify.py").canonicalize().unwrap()).args(arguments);
    let ran = python.current_dir(folder).output().unwrap();
    let output = String::from_utf8_lossy(&ran.stdout) + String::from_utf8_lossy(&ran.stderr);
    Verified { code: ran.status.code(), output: output.into_owned() }
}

/// Sealed records of two processes; `sink` has further keys of the sink.
async fn written(sink: &str) -> (Pair, Nkey) {
    let key = Nkey::user();
    let config = format!(
        "[audit]\nkey = {{ file = \"audit.nk\" }}\n[[audit.sinks]]\nfile = \"audit.jsonl\"\n{sink}\n"
    );
    let users = json!({ "alice": { "pass": "alice", "account": "APP" } });
    let builder = Pair::builder(users).gate_config(&config);
    let mut pair = builder.private_file("audit.nk", &key.seed()).start().await;
    for _ in 0..6 {
        pair.admits(&alice()).await;
    }
    pair.gate.terminate().await;
    pair.gate = serve(pair.folder.path(), &["--config", "callgate.toml"]).await;
    pair.gate.ready().await;
    pair.admits(&alice()).await;
    pair.gate.terminate().await;
    (pair, key)
}

#[tokio::test]
async fn independent_verifier_accepts_what_callgate_wrote() {
    let (pair, key) = written("rotate = { size = \"2KiB\" }").await;
    let entries = fs::read_dir(pair.folder.path()).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let files: Vec<String> = names.filter(|name| name.ends_with(".jsonl")).collect();
    assert!(files.len() > 2, "{files:?}");
    let public = key.public();
    let files: Vec<&str> = files.iter().map(String::as_str).collect();
    let intact = verify(pair.folder.path(), &[&["--key", &public], &files[..]].concat());
    assert_eq!(intact.code, Some(0), "{}", intact.output);
    assert!(intact.output.contains(" in 2 chains, 0 errors"), "{}", intact.output);
    let other = Nkey::user().public();
    let foreign = verify(pair.folder.path(), &[&["--key", &other], &files[..]].concat());
    assert_eq!(foreign.code, Some(1), "{}", foreign.output);
    // A whole file is gone from the middle.
    let rotated: Vec<&str> = files.iter().copied().filter(|name| *name != "audit.jsonl").collect();
    let without: Vec<&str> = files.iter().copied().filter(|name| *name != rotated[0]).collect();
    let missing = verify(pair.folder.path(), &[&["--key", &public], &without[..]].concat());
    assert_eq!(missing.code, Some(1), "{}", missing.output);
}

#[tokio::test]
async fn independent_verifier_finds_tampering_at_its_line() {
    let (pair, key) = written("").await;
    let original = lines(&pair.path("audit.jsonl"));
    let check = |lines: &[String]| {
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        fs::write(pair.path("copy.jsonl"), text).unwrap();
        verify(pair.folder.path(), &["--key", &key.public(), "copy.jsonl"])
    };
    let changed: Vec<String> = original
        .iter()
        .map(|line| line.replace("\"user\":\"alice\"", "\"user\":\"mallory\""))
        .collect();
    let at = changed.iter().position(|line| line.contains("mallory")).unwrap() + 2;
    let removed = [&original[..1], &original[2..]].concat();
    let mut swapped = original.clone();
    swapped.swap(1, 2);
    let cut = original[..original.len() - 1].to_vec();
    for (lines, place) in [
        (&changed, format!("line {at}: `prev`")),
        (&removed, "line 2: `prev`".to_owned()),
        (&swapped, "line 2: `prev`".to_owned()),
        (&cut, format!("line {}: the seal after `stop` is missing", cut.len())),
    ] {
        let found = check(lines);
        assert_eq!(found.code, Some(1), "{place}: {}", found.output);
        assert!(found.output.contains(&place), "{place}: {}", found.output);
    }
}
