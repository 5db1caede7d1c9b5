//! Reads an audit independently of Callgate's own code, and checks every record against the schema.

use std::{fs, path::Path};

use aws_lc_rs::digest::{SHA256, digest};
use callgate_testkit::{eventually, pages::checkout, wait::LONG};
use data_encoding::HEXLOWER;
use serde_json::{Value, json};

use crate::support::{Credential, Pair};

/// A service whose audit goes to `audit.jsonl`, with these keys of `[audit]`.
pub(crate) async fn audited(keys: &str) -> Pair {
    audited_with(keys, "").await
}

/// The same with further keys of the sink.
pub(crate) async fn audited_with(keys: &str, sink: &str) -> Pair {
    let config = format!("[audit]\n{keys}\n[[audit.sinks]]\nfile = \"audit.jsonl\"\n{sink}\n");
    let users = json!({ "alice": { "pass": "alice", "account": "APP" } });
    Pair::builder(users).gate_config(&config).start().await
}

pub(crate) fn alice() -> Credential {
    Credential::password("alice", "alice")
}

/// The complete lines of a file.
pub(crate) fn lines(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let end = text.rfind('\n').map_or(0, |end| end + 1);
    text[..end].lines().map(str::to_owned).collect()
}

pub(crate) fn records(path: &Path) -> Vec<Value> {
    lines(path).iter().map(|line| parse(line)).collect()
}

pub(crate) fn parse(line: &str) -> Value {
    let record = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    validate(&record);
    record
}

/// Waits for a record in a file with these members.
pub(crate) async fn record(path: &Path, members: Value) -> Value {
    let members = members.as_object().unwrap();
    let matches = |record: &Value| members.iter().all(|(name, value)| record[name] == *value);
    eventually(&format!("a record with {members:?}"), LONG, async || {
        records(path).into_iter().find(matches)
    })
    .await
}

pub(crate) fn hash(line: &str) -> String {
    HEXLOWER.encode(digest(&SHA256, line.as_bytes()).as_ref())
}

/// Asserts that each line continues the chain of its predecessor, or begins a chain of its own.
#[track_caller]
pub(crate) fn assert_chained(lines: &[String]) {
    let mut previous: Option<(&String, Value)> = None;
    for line in lines {
        let record = parse(line);
        match &previous {
            Some((above, before)) if before["boot"] == record["boot"] => {
                assert_eq!(record["prev"], hash(above), "{above}\n{line}");
                assert_eq!(record["seq"].as_u64(), before["seq"].as_u64().map(|seq| seq + 1));
            }
            Some((above, _)) => assert_eq!(record["after"], hash(above), "{above}\n{line}"),
            None => {}
        }
        if record["seq"] == 0 {
            assert_eq!(record["prev"], "0".repeat(64));
            assert!(["start", "gap"].contains(&record["type"].as_str().unwrap()), "{line}");
        }
        previous = Some((line, record));
    }
}

/// Asserts that a record matches the published schema.
fn validate(record: &Value) {
    let schema = fs::read_to_string(checkout("docs/audit.schema.json")).unwrap();
    let schema: Value = serde_json::from_str(&schema).unwrap();
    assert_object(record, &schema);
    let types = schema["oneOf"].as_array().unwrap();
    let is_it = |one: &&Value| one["properties"]["type"]["const"] == record["type"];
    let own = types.iter().find(is_it).unwrap_or_else(|| panic!("no schema for {record}"));
    assert_object(record, own);
    for name in record.as_object().unwrap().keys() {
        let is_known = |schema: &Value| schema["properties"].get(name).is_some();
        assert!(is_known(&schema) || is_known(own), "undeclared member `{name}`: {record}");
    }
}

fn assert_object(record: &Value, schema: &Value) {
    for name in schema["required"].as_array().unwrap() {
        assert!(record.get(name.as_str().unwrap()).is_some(), "{name} is missing: {record}");
    }
    for (name, property) in schema["properties"].as_object().unwrap() {
        if let Some(value) = record.get(name) {
            assert!(matches(value, property), "`{name}` of {record}");
        }
    }
}

fn matches(value: &Value, schema: &Value) -> bool {
    let words = schema["enum"].as_array();
    let is_hash =
        |text: &str| text.len() == 64 && text.bytes().all(|b| b"0123456789abcdef".contains(&b));
    match schema["type"].as_str() {
        Some("string") => value.as_str().is_some_and(|text| {
            words.is_none_or(|words| words.contains(value))
                && (schema["pattern"].is_null() || is_hash(text))
                && (schema["format"].is_null() || text.parse::<jiff::Timestamp>().is_ok())
        }),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("number") => value.is_number(),
        Some("boolean") => value.is_boolean(),
        Some("object") => value.is_object(),
        Some("array") => {
            value.as_array().is_some_and(|list| list.iter().all(|it| matches(it, &schema["items"])))
        }
        Some(_) => false,
        None => *value == schema["const"],
    }
}
