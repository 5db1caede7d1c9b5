//! What is wrong with a malformed text, in words for people who edit a file. The texts of the parsers are
//! never shown: they name their own interfaces, and may quote a password.

use callgate::json::JsonError;
use serde_saphyr::Error as YamlError;

use crate::position::Position;

const TOO_DEEP: &str = "nested too deeply";

const TEXT_KEY: &str =
    "a key must be text: put a template such as `{{ user }}`, and a list, in quotes";

const TOO_LARGE: &str = "too large, or too deeply nested";

const NO_ANCHOR: &str =
    "`*` begins an alias, and there is no anchor of that name: put a value with `*` in quotes";

/// What is wrong with a text, and where.
#[derive(Debug)]
pub(crate) struct Malformed {
    pub(crate) position: Option<Position>,
    pub(crate) message: String,
}

impl Malformed {
    pub(crate) fn new(position: Option<Position>, message: impl Into<String>) -> Self {
        Self { position, message: message.into() }
    }
}

pub(crate) fn json_error(text: &str, error: &serde_json::Error) -> Malformed {
    let error = JsonError::of_strict(error);
    let Some((line, byte)) = error.position() else { return Malformed::new(None, error.message()) };
    let content = text.split('\n').nth(line - 1).unwrap_or_default();
    let (before, rest) = content.split_at_checked(byte - 1).unwrap_or((content, ""));
    let is_comment = ["//", "/*", "#"].iter().any(|begin| rest.starts_with(begin));
    let position = Position { line, column: before.chars().count() + 1 };
    match is_comment {
        true => Malformed::new(Some(position), "JSON has no comments: remove this one"),
        false => Malformed::new(Some(position), error.message()),
    }
}

pub(crate) fn toml_error(text: &str, error: &toml::de::Error) -> Malformed {
    let span = error.span().unwrap_or_default();
    let position = error.span().map(|span| Position::at(text, span.start));
    let rest = text.get(span.start..).unwrap_or_default();
    if error.message() == "duplicate key" {
        let key = text.get(span).unwrap_or_default().trim_matches(['"', '\'']);
        return Malformed::new(position, format!("duplicate key `{}`", key.escape_debug()));
    }
    Malformed::new(position, toml_message(error.message(), rest))
}

/// `rest` begins where the error is.
fn toml_message(message: &str, rest: &str) -> &'static str {
    let (what, expected) = message.split_once(", expected ").unwrap_or((message, ""));
    if rest.starts_with("null") {
        return NO_NULL;
    }
    match what {
        "string values must be quoted" => unquoted(rest),
        "invalid boolean" => "write `true` or `false`, in lower case",
        "invalid basic string" | "invalid literal string" => match expected {
            "`\"`" | "`'`" => "unclosed quote: the line ends inside a text",
            _ => "control character inside a text: write it as `\\u` and four digits",
        },
        "invalid multi-line basic string" | "invalid multi-line literal string" => {
            "unclosed quotes: the file ends inside a text"
        }
        "missing escaped value" | "too few unicode value digits" => ESCAPE,
        "key with no value" => "expected `=` and a value after the key",
        "missing value for key" | "missing value" => "the value is missing",
        "unquoted keys cannot be empty" => "the key is missing",
        "unexpected key or value" | "unexpected content" => "unexpected text after the value",
        "missing comma between array elements" | "unexpected `=` in array" => {
            "expected `,` or `]` in a list"
        }
        "missing comma between key-value pairs" => "expected `,` or `}` in a table",
        "extra comma in array" | "extra comma in inline table" => "unexpected comma",
        "unclosed table" => "unclosed `[`: expected `]` after the name of the table",
        "unclosed array table" => "unclosed `[[`: expected `]]` after the name of the table",
        "unclosed array" => "unclosed `[`: the file ends before its `]`",
        "unclosed inline table" => "unclosed `{`: expected `}`",
        "unexpected leading zero" => "a number cannot begin with 0: put text in quotes",
        "cannot recurse further; max recursion depth met" | "recursion limit" | TOO_DEEP => {
            TOO_DEEP
        }
        "not a finite number" => "not a finite number",
        _ if what.starts_with("invalid type: integer") => "the number is too large",
        _ if what.starts_with("invalid date") || what.starts_with("invalid time") => {
            "invalid date or time: put text in quotes"
        }
        _ if rest.starts_with(|c: char| c.is_ascii_digit() || ".+-".contains(c)) => {
            "invalid number"
        }
        _ => "invalid TOML: check the quotes and brackets here",
    }
}

const NO_NULL: &str = "TOML has no `null`: leave the key out instead";

const ESCAPE: &str = "invalid escape in a text: write `\\\\` for a backslash, or use single quotes";

fn unquoted(rest: &str) -> &'static str {
    match rest.chars().next() {
        None | Some('\n' | '\r' | '#') => "the value is missing",
        Some('\u{2018}' | '\u{2019}' | '\u{201c}' | '\u{201d}') => {
            "typographic quotes: write `\"` or `'`"
        }
        Some(_) => "text must be in quotes; booleans are `true` and `false`",
    }
}

pub(crate) fn yaml_error(error: &YamlError) -> Malformed {
    let position = error.location().and_then(Position::of_yaml);
    match error.without_snippet() {
        YamlError::DuplicateMappingKey { key: Some(key), .. } => {
            Malformed::new(position, format!("duplicate key `{}`", key.escape_debug()))
        }
        // Of `deserialize_strict`.
        YamlError::Message { msg, .. } if msg.starts_with("duplicate key `") => {
            Malformed::new(position, msg)
        }
        error => Malformed::new(position, yaml_message(error)),
    }
}

fn yaml_message(error: &YamlError) -> &'static str {
    match error {
        YamlError::MultipleDocuments { .. } => {
            "more than one YAML document: keep one, without `---` between"
        }
        YamlError::DuplicateMappingKey { .. } => "duplicate key",
        YamlError::Budget { .. }
        | YamlError::AliasReplayLimitExceeded { .. }
        | YamlError::AliasExpansionLimitExceeded { .. }
        | YamlError::AliasReplayStackDepthExceeded { .. } => TOO_LARGE,
        YamlError::UnknownAnchor { .. } => NO_ANCHOR,
        YamlError::RecursiveReferencesRequireWeakTypes { .. } => "an anchor contains itself",
        YamlError::AliasError { error, .. } => yaml_message(error.without_snippet()),
        YamlError::Unexpected { .. } | YamlError::NullIntoString { .. } => TEXT_KEY,
        YamlError::NonFiniteFloat { .. } => "not a finite number",
        YamlError::MergeValueNotMapOrSeqOfMaps { .. } | YamlError::MergeKeyNotAllowed { .. } => {
            "`<<` merges a table, or a list of tables"
        }
        YamlError::TaggedScalarCannotDeserializeIntoString { .. }
        | YamlError::UnsupportedTag { .. }
        | YamlError::InvalidBinaryBase64 { .. }
        | YamlError::BinaryNotUtf8 { .. }
        | YamlError::BytesNotSupportedMissingBinaryTag { .. }
        | YamlError::InvalidScalar { .. } => "the value does not fit its tag: leave the tag out",
        YamlError::IndentationError { .. } => INDENTATION,
        YamlError::Message { msg, .. } if msg == TOO_DEEP => TOO_DEEP,
        YamlError::Message { msg, .. } if msg.contains("finite") => "not a finite number",
        YamlError::ExternalMessage { msg, .. } => scanner_message(msg),
        _ => INVALID_YAML,
    }
}

const INDENTATION: &str = "wrong indentation: keys of one table begin in the same column";

const INVALID_YAML: &str = "invalid YAML: check the indentation and the quotes here";

fn scanner_message(message: &str) -> &'static str {
    if let Some(character) = message.strip_prefix("unexpected character: `") {
        return match character.starts_with('\\') {
            true => "control character: write it in double quotes, as `\\u` and four digits",
            false => "this character cannot begin a value: put the value in quotes",
        };
    }
    const WORDS: [(&str, &str); 23] = [
        ("recursion limit", TOO_DEEP),
        ("anchor or alias", NO_ANCHOR),
        ("unknown anchor", NO_ANCHOR),
        ("tab ", "tab in the indentation: indent with spaces"),
        ("tabs ", "tab in the indentation: indent with spaces"),
        ("found a tab", "tab in the indentation: indent with spaces"),
        ("unclosed quote", "unclosed quote: the file ends inside a text"),
        ("multiline quoted scalar", "unclosed quote, or a continued text that is not indented"),
        ("scanning a quoted scalar", "unclosed quote"),
        ("parsing a quoted scalar", ESCAPE),
        ("unclosed bracket '['", "unclosed `[`: expected `]`"),
        ("unclosed bracket '{'", "unclosed `{`: expected `}`"),
        ("flow sequence", "expected `,` or `]` in a list"),
        ("flow mapping", "expected `,` or `}` in a table"),
        ("mapping values are not allowed", UNEXPECTED_COLON),
        ("placement of ':'", UNEXPECTED_COLON),
        ("simple key", "expected `:` and a value after the key"),
        ("expected key", INDENTATION),
        ("block collection", INDENTATION),
        ("block scalar", "wrong indentation after `|` or `>`, which begin a text of several lines"),
        ("YAML major version", "only YAML 1.2 can be read: leave the line `%YAML` out"),
        ("directive", "a line that begins with `%` is a directive: put a value in quotes"),
        ("tag", "`!` begins a tag: put the value in quotes"),
    ];
    let known = WORDS.iter().find(|(words, _)| message.contains(words));
    known.map_or(INVALID_YAML, |(_, plain)| plain)
}

const UNEXPECTED_COLON: &str =
    "unexpected `:`: check the indentation, and put a value that contains a colon in quotes";
