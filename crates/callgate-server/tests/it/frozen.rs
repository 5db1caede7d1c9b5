//! External identifiers that users, dashboards and scripts depend on. A change here breaks them.
//!
//! Each list in `frozen/` is compared with the current state. The metrics and the command tree are
//! compared by unit tests of the crate (`telemetry/metrics.rs`, `cli.rs`), with lists in the same folder.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use callgate::record::Reason;
use callgate_testkit::RequestBuilder;
use serde_json::{Value, json};

use crate::support::{Credential, Pair, callgate_in, connect, write_private};

#[track_caller]
fn assert_frozen(current: &str, frozen: &str) {
    assert!(current == frozen, "frozen:\n{frozen}\ncurrent:\n{current}");
}

#[test]
fn reasons_outcomes_and_wire_texts() {
    let row = |reason: &Reason| {
        format!("{} {} {}\n", reason.as_str(), reason.outcome().as_str(), reason.public_text())
    };
    let current: String = Reason::ALL.iter().map(row).collect();
    assert_frozen(&current, include_str!("frozen/reasons.txt"));
}

/// Every line of the list is an exit code and a command.
#[test]
fn exit_codes() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(callgate_in(folder.path(), &["init", "--demo", "."]).code, 0);
    for name in ["alice", "wrong"] {
        write_private(&folder.path().join(name), name);
    }
    let config = fs::read_to_string(folder.path().join("callgate.toml")).unwrap();
    fs::write(folder.path().join("bad.toml"), format!("unknown = 1\n{config}")).unwrap();
    for line in include_str!("frozen/exit_codes.txt").lines() {
        let (code, command) = line.split_once(" callgate").unwrap();
        let arguments: Vec<_> = command.split_whitespace().collect();
        let ran = callgate_in(folder.path(), &arguments);
        assert_eq!(ran.code.to_string(), code, "{command}: {ran:?}");
    }
}

/// Field names of the decision records, as a log reader sees them.
#[tokio::test]
async fn fields_of_decision_records() {
    let pair = Pair::of(json!({ "alice": { "pass": "alice", "account": "APP" } })).await;
    let (_, admitted) = pair.attempt(&Credential::password("alice", "alice")).await;
    let (_, refused) = pair.attempt(&Credential::password("alice", "wrong")).await;
    let without_callout = Pair::builder(json!({})).without_callout().start().await;
    let watcher =
        connect(&without_callout.server.url(), "watcher", "watcher").await.unwrap().client;
    let sealed = |at: i64| {
        let request = RequestBuilder::new(&without_callout.issuer.public(), at).expires_at(at + 2);
        request.sealed_for(&without_callout.xkey.public()).build()
    };
    // Of an issuer that no authenticator accepts: {"alg":"EdDSA"}, {"iss":"a","sub":"b"}.
    let token = "eyJhbGciOiJFZERTQSJ9.eyJpc3MiOiJhIiwic3ViIjoiYiJ9.AAAA";
    let (_, refused_token) = pair.attempt(&Credential::token(token)).await;
    let rows = [("admitted", admitted), ("refused", refused), ("refused_token", refused_token)];
    let mut current = rows.map(row).concat();
    for (name, request) in
        [("dropped", RequestBuilder::new("", 0).build()), ("dropped_by_clock", sealed(0))]
    {
        let mut headers = async_nats::HeaderMap::new();
        if let Some(xkey) = &request.xkey_header {
            headers.insert("Nats-Server-Xkey", xkey.as_str());
        }
        let (mark, payload) = (without_callout.gate.mark(), request.payload.into());
        let (subject, reply) = ("$SYS.REQ.USER.AUTH", "_INBOX.unread");
        watcher.publish_with_reply_and_headers(subject, reply, headers, payload).await.unwrap();
        current +=
            &row((name, without_callout.gate.record(mark, &["\"outcome\":\"dropped\""]).await));
    }
    assert_frozen(&current, include_str!("frozen/decision_records.txt"));
}

fn row((name, record): (&str, Value)) -> String {
    let fields: BTreeSet<_> = record.as_object().unwrap().keys().map(String::as_str).collect();
    format!("{name} {}\n", fields.into_iter().collect::<Vec<_>>().join(","))
}

/// Field names of every log call in the source, since few of them are reached by one test.
#[test]
fn fields_of_log_calls() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut rows = BTreeSet::new();
    for name in ["callgate", "callgate-authenticators", "callgate-server"] {
        for file in rust_files(&crates.join(name).join("src")) {
            let source = fs::read_to_string(file).unwrap();
            for level in ["debug", "info", "warn", "error"] {
                for call in source.split(&format!("{level}!(")).skip(1) {
                    let fields = fields(call).join(",");
                    rows.insert(format!(
                        "{level} {}\n",
                        if fields.is_empty() { "-" } else { &fields }
                    ));
                }
            }
        }
    }
    let current: String = rows.into_iter().collect();
    assert_frozen(&current, include_str!("frozen/log_fields.txt"));
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = entries.flat_map(|path| match path.is_dir() {
        true => rust_files(&path),
        false => vec![path],
    });
    files.filter(|path| path.extension().is_some_and(|extension| extension == "rs")).collect()
}

/// The names in the arguments of a log call, sorted: all arguments before the message, which is a
/// string literal and comes last.
fn fields(call: &str) -> Vec<String> {
    let mut fields = Vec::new();
    let (mut depth, mut argument, mut quoted, mut escaped) = (0, String::new(), false, false);
    for character in call.chars() {
        if quoted {
            quoted = escaped || character != '"';
            escaped = !escaped && character == '\\';
            continue;
        }
        match character {
            '"' if argument.trim().is_empty() => break,
            '"' => quoted = true,
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' if depth == 0 => break,
            ')' | ']' | '}' => depth -= 1,
            ',' if depth == 0 => fields.push(std::mem::take(&mut argument)),
            _ => {}
        }
        if depth > 0 || character != ',' {
            argument.push(character);
        }
    }
    let name = |argument: String| {
        let name = argument.split('=').next().unwrap_or_default();
        name.trim().trim_start_matches(['%', '?']).to_owned()
    };
    let mut names: Vec<_> = fields.into_iter().map(name).collect();
    names.sort();
    names
}
