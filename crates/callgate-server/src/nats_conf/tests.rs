//! Values that nats-server reads (its `conf/parse_test.go`).

use std::{collections::BTreeMap, io, path::Path};

use super::*;

struct Fixed {
    files: BTreeMap<&'static str, &'static str>,
    variables: BTreeMap<&'static str, &'static str>,
}

impl Outside for Fixed {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let text = path.to_str().and_then(|path| self.files.get(path));
        text.map(|text| text.as_bytes().to_vec()).ok_or(io::ErrorKind::NotFound.into())
    }

    fn variable(&self, name: &str) -> Option<String> {
        self.variables.get(name).map(|&text| text.to_owned())
    }
}

fn parse_with(
    text: &'static str,
    files: &[(&'static str, &'static str)],
    variables: &[(&'static str, &'static str)],
) -> Result<Document, ConfError> {
    let files = files.iter().copied().chain([("f", text)]).collect();
    read(Path::new("f"), &Fixed { files, variables: variables.iter().copied().collect() })
}

/// The value as JSON.
fn json(value: &Value) -> serde_json::Value {
    match value {
        Value::Map(map) => {
            let entries = map.entries().iter();
            entries.map(|entry| (entry.key.clone(), json(&entry.node.value))).collect()
        }
        Value::Array(items) => items.iter().map(|item| json(&item.value)).collect(),
        Value::String(text) | Value::DateTime(text) => text.as_str().into(),
        Value::Bool(value) => (*value).into(),
        Value::Integer(number) => (*number).into(),
        Value::Float(number) => (*number).into(),
    }
}

#[track_caller]
fn reads(text: &'static str, expected: serde_json::Value) {
    let document = parse_with(text, &[], &[]).unwrap();
    assert_eq!(json(&Value::Map(document.root)), expected, "{text}");
}

#[test]
fn values_are_those_of_nats_server() {
    use serde_json::json;
    reads("a: 1\nb = 2 ; c 3, d: 'x y'", json!({ "a": 1, "b": 2, "c": 3, "d": "x y" }));
    reads("{ \"a\": [1, two, true], \"b\": {} }", json!({ "a": [1, "two", true], "b": {} }));
    reads(
        "a: 1k\nb: 1kb\nc: 2MiB\nd: 1g\ne: -3m",
        json!({ "a": 1000, "b": 1024, "c": 2 << 20, "d": 1_000_000_000, "e": -3_000_000 }),
    );
    reads("a: 2.5\nb: -0.5", json!({ "a": 2.5, "b": -0.5 }));
    reads("a: ON\nb: no\nc: True", json!({ "a": true, "b": false, "c": true }));
    reads(
        "a: 127.0.0.1:4222\nb: 10s\nc: 1h2m",
        json!({ "a": "127.0.0.1:4222", "b": "10s", "c": "1h2m" }),
    );
    reads("a: \"x\\t\\x41\\\"\\\\\"\nb: x\\ty", json!({ "a": "x\tA\"\\", "b": "x\ty" }));
    reads("a: 'x\\ty'", json!({ "a": "x\\ty" }));
    reads("a: (\n x)\n)\n", json!({ "a": "\n x)\n" }));
    reads("a: $2a$11$abc", json!({ "a": "$2a$11$abc" }));
    reads(
        "a { b: 1 # c\n // d\n c: [ # e\n 1 // f\n 2 ] }",
        json!({ "a": { "b": 1, "c": [1, 2] } }),
    );
    reads("a: 1\na: 2", json!({ "a": 2 }));
    reads("a: foo#bar\nb: http://x//y", json!({ "a": "foo#bar", "b": "http://x//y" }));
    reads("a\n{\n  b:\n    1\n}", json!({ "a": { "b": 1 } }));
}

#[test]
fn variables_are_looked_up_from_inside_to_outside_and_in_the_environment() {
    use serde_json::json;
    reads(
        "x: 1\na { b: $x, x: 2, c { d: $x } }",
        json!({ "x": 1, "a": { "b": 1, "x": 2, "c": { "d": 2 } } }),
    );
    let variables = [("E", "[1, 'b']"), ("H", "$2a$04$x"), ("L", "$L"), ("N", "$E")];
    let read =
        |text| parse_with(text, &[], &variables).map(|document| json(&Value::Map(document.root)));
    assert_eq!(
        read("a: $E\nb: $H\nc: $N").unwrap(),
        json!({ "a": [1, "b"], "b": "$2a$04$x", "c": [1, "b"] })
    );
    assert!(read("a: $L").unwrap_err().problem.contains("refers to itself"));
    let error = read("\n  a: $ABSENT").unwrap_err();
    assert_eq!((error.at.line, error.at.column), (2, 6));
    assert!(read("a: $x\nx: 1").is_err());
}

#[test]
fn included_files_add_their_keys() {
    use serde_json::json;
    let files = [("sub/one", "b: 1\ninclude two\n"), ("sub/two", "c: 2"), ("loop", "include loop")];
    let read =
        |text| parse_with(text, &files, &[]).map(|document| json(&Value::Map(document.root)));
    assert_eq!(
        read("include sub/one\na { include 'sub/two' }").unwrap(),
        json!({ "b": 1, "c": 2, "a": { "c": 2 } })
    );
    assert_eq!(read("include /sub/two").unwrap(), json!({ "c": 2 }));
    assert!(read("include loop").unwrap_err().problem.contains("nested includes"));
    assert_eq!(
        read("x: 1\ninclude absent").unwrap_err().to_string(),
        "f:2:9: `absent`: cannot read it: entity not found"
    );
}

#[test]
fn oddities_of_nats_server_are_errors_with_a_position() {
    for (text, line, column) in [
        ("a{ b: 1 }", 1, 2),
        ("a: 1\nb: x'y", 2, 5),
        ("a: 5kbi", 1, 8),
        ("a: 1\n}", 2, 1),
        ("a { b }", 1, 7),
        ("a", 1, 2),
        ("a: [1\n, 2]", 2, 1),
        ("a: \"x", 1, 4),
        ("a: 9223372036854775808", 1, 23),
        ("a: 99e", 1, 7),
        ("a\0b: 1", 1, 1),
    ] {
        let error = parse_with(text, &[], &[]).expect_err(text);
        assert_eq!((error.at.line, error.at.column), (line, column), "{text}: {error}");
    }
}

#[test]
fn nesting_and_copies_are_bounded() {
    let deep: &'static str = format!("a: {}", "[".repeat(100)).leak();
    assert!(parse_with(deep, &[], &[]).unwrap_err().problem.contains("nested"));
    let mut text = "v0: [a, a]\n".to_owned();
    for level in 1..40 {
        text.push_str(&format!("v{level}: [$v{0}, $v{0}]\n", level - 1));
    }
    let error = parse_with(text.leak(), &[], &[]).unwrap_err();
    assert!(error.problem.contains("too many values"), "{error}");
}
