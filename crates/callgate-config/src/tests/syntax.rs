use super::document;
use crate::{Document, DocumentError, Format};

#[test]
fn duplicate_keys_are_refused_in_every_format() {
    for (text, format) in [
        ("a = 1\na = 2", Format::Toml),
        ("a: 1\na: 2", Format::Yaml),
        ("b:\n  a: 1\n  a: 2", Format::Yaml),
        (r#"{"a": 1, "a": 2}"#, Format::Json),
    ] {
        assert!(Document::parse(text.as_bytes(), format).is_err(), "{text}");
    }
}

#[test]
fn all_formats_give_the_same_tree() {
    let toml = document("a = [\"x\"]\nwhen = 2026-01-01T00:00:00Z\n[b]\nc = true");
    let yaml = "a: [x]\nwhen: 2026-01-01T00:00:00Z\nb:\n  c: true\n";
    let json = br#"{"a": ["x"], "when": "2026-01-01T00:00:00Z", "b": {"c": true}}"#;
    let yaml = Document::parse(yaml.as_bytes(), Format::Yaml).unwrap();
    assert_eq!(toml.value(), yaml.value());
    assert_eq!(toml.value(), Document::parse(json, Format::Json).unwrap().value());
}

#[test]
fn syntax_errors_have_a_position_and_never_quote_the_text() {
    for (text, format) in [
        ("ok = 1\nalice = { pass = \"hunter2\" ", Format::Toml),
        ("alice:\n  pass: \"hunter2\n", Format::Yaml),
        ("{\"alice\": {\"pass\": \"hunter2\" ", Format::Json),
        ("alice:\n  pass: hunter2\n bob: x\n", Format::Yaml),
    ] {
        let error = Document::parse(text.as_bytes(), format).unwrap_err().to_string();
        assert!(!error.contains("hunter2"), "{error}");
        assert!(error.contains("line"), "{error}");
    }
}

/// Line, column and message of the error.
#[track_caller]
fn syntax_error(text: &str, format: Format) -> (Option<(usize, usize)>, String) {
    match Document::parse(text.as_bytes(), format) {
        Err(DocumentError::Syntax { position, message }) => {
            (position.map(|at| (at.line, at.column)), message)
        }
        other => panic!("{other:?}: {text}"),
    }
}

#[test]
fn syntax_errors_have_a_position_and_a_plain_message() {
    let mut wrong = Vec::new();
    let deep = |open: &str, close: &str| open.repeat(40) + "1" + &close.repeat(40);
    for (text, format, at, words) in [
        ("a = 1\na = 2", Format::Toml, (2, 1), "duplicate key"),
        ("a = \"x\nb = 1\n", Format::Toml, (1, 7), "unclosed quote"),
        ("a = 1\r\nb\r\n", Format::Toml, (2, 2), ""),
        ("a = null", Format::Toml, (1, 5), "TOML has no `null`"),
        ("\u{feff}a = 1\n= 2", Format::Toml, (2, 1), ""),
        ("{\"a\": 1,\n \"a\": 2}", Format::Json, (2, 4), "duplicate key `a`"),
        ("{\"a\": \"x", Format::Json, (1, 8), "unclosed quote"),
        ("{\"a\": [1", Format::Json, (1, 8), "unclosed `[`"),
        ("{\r\n\"a\": nul}", Format::Json, (2, 9), "expected a value"),
        ("{}\n{}", Format::Json, (2, 1), "unexpected text after the end"),
        ("{a: 1}", Format::Json, (1, 2), "a key must be text in double quotes"),
        ("a: 1\na: 2\n", Format::Yaml, (2, 1), "duplicate key `a`"),
        ("a: 1\n---\nb: 2\n", Format::Yaml, (3, 1), "more than one YAML document"),
        ("a:\n\tb: 1\n", Format::Yaml, (2, 2), "tab"),
        ("a: \"x\nb: 1\n", Format::Yaml, (2, 1), ""),
        ("a: *nowhere\n", Format::Yaml, (1, 4), "no anchor of that name"),
    ] {
        let (position, message) = syntax_error(text, format);
        if position != Some(at) {
            wrong.push((text, position, message.clone()));
        }
        assert!(message.contains(words), "{text}: {message}");
        for library in ["from_str", "Options", "DuplicateKeyPolicy", " at line "] {
            assert!(!message.contains(library), "{text}: {message}");
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    for (text, format) in [
        (deep("[", "]"), Format::Json),
        (deep("[", "]"), Format::Yaml),
        ("a = ".to_owned() + &deep("[", "]"), Format::Toml),
    ] {
        let (_, message) = syntax_error(&text, format);
        assert!(message.contains("too deeply"), "{message}");
    }
}

#[test]
fn yaml_anchors_and_merges_are_read() {
    let text = "base: &b {a: 1}\nc:\n  <<: *b\n  d: *b\n";
    let document = Document::parse(text.as_bytes(), Format::Yaml).unwrap();
    let expected = serde_json::json!({"base": {"a": 1}, "c": {"a": 1, "d": {"a": 1}}});
    assert_eq!(*document.value(), expected);
}

/// Words of the parsers' own interfaces and messages.
const LIBRARY_WORDS: [&str; 14] = [
    "from_str",
    "Options",
    "scalar",
    "while ",
    "serde",
    "i128",
    "EOF",
    "limit",
    "recurs",
    "mantissa",
    "unicode",
    "surrogates",
    "node",
    "token",
];

#[test]
fn slips_are_described_without_the_words_of_a_library() {
    use Format::{Json, Toml, Yaml};
    let bomb: String = (0..9).fold("a0: &a0 [x,x,x,x,x,x,x,x,x]\n".to_owned(), |text, n| {
        let aliases = vec![format!("*a{n}"); 9].join(",");
        format!("{text}a{m}: &a{m} [{aliases}]\n", m = n + 1)
    });
    let mut wrong = Vec::new();
    for (text, format, words) in [
        ("a = True", Toml, "lower case"),
        ("a = yes", Toml, "must be in quotes"),
        ("a =\nb = 1", Toml, "the value is missing"),
        ("a", Toml, "expected `=`"),
        ("a: 1", Toml, "expected `=`"),
        ("a = \"x\", b = 1", Toml, "unexpected text after the value"),
        ("a = [\"x\" \"y\"]", Toml, "expected `,` or `]`"),
        ("a = [1,\nb = 2", Toml, "expected"),
        ("a = \"\u{7}\"", Toml, "control character"),
        ("a = \"C:\\users\"", Toml, "escape"),
        ("a = \"\"\"x\n", Toml, "unclosed quotes"),
        ("[a\nb = 1", Toml, "unclosed `[`"),
        ("[[a]\nb = 1", Toml, "unclosed `[[`"),
        ("a = 01", Toml, "cannot begin with 0"),
        ("a = .5", Toml, "invalid number"),
        ("a = 99999999999999999999999", Toml, "too large"),
        ("a = inf", Toml, "finite"),
        ("a = 2026-13-45", Toml, "invalid date"),
        ("a = \u{201c}x\u{201d}", Toml, "typographic quotes"),
        ("[nats]\na = 1\n[nats]\n", Toml, "duplicate key `nats`"),
        ("a: @b", Yaml, "in quotes"),
        ("a: [>]", Yaml, "in quotes"),
        ("a: [*.x]", Yaml, "in quotes"),
        ("a: *", Yaml, "in quotes"),
        ("a: {{ user }}", Yaml, "in quotes"),
        ("[a]: b", Yaml, "must be text"),
        ("~: b", Yaml, "must be text"),
        ("a: b: c", Yaml, "unexpected `:`"),
        ("a:\n  b: 1\n c: 2", Yaml, "indentation"),
        ("a:\n\tb: 1", Yaml, "tab"),
        ("a:\n  b: 1\n\tc: 1", Yaml, "tab"),
        ("a: \"x\nb: 1\n", Yaml, "unclosed quote"),
        ("a: 'x\n  b: 1\n", Yaml, "unclosed quote"),
        ("a: [1, 2\n", Yaml, "`]`"),
        ("a: {b: 1\n", Yaml, "`}`"),
        ("a: \"C:\\users\"", Yaml, "escape"),
        ("a: \"\u{7}\"", Yaml, "control character"),
        ("a: !!binary \"////\"", Yaml, "tag"),
        ("a: .inf", Yaml, "finite"),
        ("a: 1\nb\n", Yaml, "expected `:`"),
        ("%YAML 3.0\n---\na: 1", Yaml, "only YAML 1.2"),
        ("a:\n  <<: 1", Yaml, "merges"),
        ("a: &a [*a]", Yaml, "itself"),
        (&bomb, Yaml, "too large"),
        ("{\"a\": 1,}", Json, "unexpected comma"),
        ("{\"a\": [1}}", Json, "expected `,` or `]`"),
        ("{ // hi\n}", Json, "no comments"),
        ("{\"a\": 1 /* hi */}", Json, "no comments"),
        ("# hi\n{}", Json, "no comments"),
        ("{\"a\": True}", Json, "expected a value"),
        ("{\"a\": 01}", Json, "invalid number"),
        ("{\"a\": 1e999}", Json, "too large"),
        ("{\"a\": \"C:\\q\"}", Json, "escape"),
        ("{\"a\": \"\\ud800\"}", Json, "surrogate"),
        ("{\"a\": \"x\ny\"}", Json, "line break"),
        ("", Json, "the file ends"),
        ("{\"a\" 1}", Json, "expected `:`"),
    ] {
        let (position, message) = syntax_error(text, format);
        let is_plain = LIBRARY_WORDS.iter().all(|word| !message.contains(word));
        if position.is_none() || !message.contains(words) || !is_plain {
            wrong.push((text, position, message));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn windows_line_ends_and_a_byte_order_mark_change_no_position() {
    for (text, format) in [
        ("\u{feff}a = 1\r\nb = [1 2]\r\n", Format::Toml),
        ("\u{feff}a: 1\r\nb: [1}\r\n", Format::Yaml),
        ("\u{feff}{\"a\": 1,\r\n\"b\": [1}}\r\n", Format::Json),
    ] {
        let (position, message) = syntax_error(text, format);
        assert_eq!(position.map(|(line, _)| line), Some(2), "{text}: {message}");
    }
}

#[test]
fn error_behind_ten_megabytes_has_its_position() {
    let padding = "x".repeat(10_000_000);
    for (text, format) in [
        (format!("# {padding}\na = [1 2]"), Format::Toml),
        (format!("# {padding}\na: @b"), Format::Yaml),
        (format!("{{\"a\": \"{padding}\",\n\"b\": nul}}"), Format::Json),
    ] {
        let (position, message) = syntax_error(&text, format);
        assert_eq!(position.map(|(line, _)| line), Some(2), "{message}");
    }
}
