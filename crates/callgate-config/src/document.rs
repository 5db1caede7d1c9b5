//! A configuration file as a tree of plain values; a duplicate key is an error.

use std::{
    collections::{HashMap, HashSet},
    path::Path,
};

use callgate::json::deserialize_strict;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use zeroize::{Zeroize, Zeroizing};

use crate::{
    position::{self, Position},
    sources::{SourceError, Sources, without_mark},
};

/// Deeper than any configuration, shallow enough for every stack.
const MAX_DEPTH: usize = 32;

/// The member by which the TOML reader hands out a date or time.
const TOML_DATETIME: &str = "$__toml_private_datetime";

/// The languages that a configuration can be written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `.toml`
    Toml,
    /// `.yaml`, `.yml`
    Yaml,
    /// `.json`
    Json,
}

impl Format {
    /// The format of a file, by its extension.
    ///
    /// # Errors
    /// If the extension is none of them.
    pub fn of(path: &Path) -> Result<Self, DocumentError> {
        let extension = path.extension().and_then(|extension| extension.to_str());
        match extension.map(str::to_ascii_lowercase).as_deref() {
            Some("toml") => Ok(Self::Toml),
            Some("yaml" | "yml") => Ok(Self::Yaml),
            Some("json") => Ok(Self::Json),
            Some(_) | None => Err(DocumentError::Extension(path.display().to_string())),
        }
    }
}

/// Why a file is not a document.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// The name does not say which format it is.
    #[error("`{0}` does not end in .toml, .yaml or .json, so its format is unknown")]
    Extension(String),
    /// It could not be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// It is not well-formed. Never repeats the text, which may be secret.
    #[error("{}{message}", .position.map(|at| format!("line {}, column {}: ", at.line, at.column)).unwrap_or_default())]
    Syntax {
        /// Where, if that is known.
        position: Option<Position>,
        /// What is wrong.
        message: String,
    },
}

/// A parsed document. It may hold clear-text passwords, so it is wiped when it is dropped.
pub struct Document {
    value: Value,
    format: Format,
    text: Zeroizing<String>,
}

impl Document {
    /// Reads and parses a file.
    ///
    /// # Errors
    /// If it cannot be read, or is not in the format that its extension says.
    pub fn read(path: &Path, sources: &Sources) -> Result<Self, DocumentError> {
        let format = Format::of(path)?;
        Self::parse(&sources.read(path)?, format)
    }

    /// Parses a text, with or without a byte-order mark. Dates and times of TOML become text.
    ///
    /// # Errors
    /// If it is not in this format, nests too deeply, or has a duplicate key.
    pub fn parse(text: &[u8], format: Format) -> Result<Self, DocumentError> {
        let text = std::str::from_utf8(text).map_err(|error| {
            let good = text.get(..error.valid_up_to()).and_then(|good| str::from_utf8(good).ok());
            let position = good.map(|good| Position::at(good, good.len()));
            syntax(position, "not UTF-8 text: save the file as UTF-8")
        })?;
        let text = without_mark(text);
        let value = match format {
            Format::Json => json(text),
            Format::Toml => toml::from_str(text)
                .map(|Strict(value)| with_texts_for_datetimes(value))
                .map_err(|error| toml_error(text, &error)),
            Format::Yaml => serde_saphyr::from_str_with_options(text, yaml_options())
                .map(|Strict(value)| value)
                .map_err(|error| yaml_error(&error)),
        }?;
        Ok(Self { value, format, text: Zeroizing::new(text.to_owned()) })
    }

    /// A document made of a value, without a text.
    pub fn from_value(value: Value) -> Self {
        Self { value, format: Format::Json, text: Zeroizing::default() }
    }

    /// The tree.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// Where the `wanted` key paths stand in the text.
    pub(crate) fn positions(&self, wanted: HashSet<&str>) -> HashMap<String, Position> {
        match wanted.is_empty() {
            true => HashMap::new(),
            false => position::positions(&self.text, self.format, wanted),
        }
    }
}

impl std::fmt::Debug for Document {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Document([redacted])")
    }
}

impl Drop for Document {
    fn drop(&mut self) {
        wipe(&mut self.value);
    }
}

fn wipe(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(list) => list.iter_mut().for_each(wipe),
        Value::Object(map) => map.values_mut().for_each(wipe),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        deserialize_strict(reader, MAX_DEPTH).map(Self)
    }
}

fn syntax(position: Option<Position>, message: impl ToString) -> DocumentError {
    DocumentError::Syntax { position, message: message.to_string() }
}

fn json(text: &str) -> Result<Value, DocumentError> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let value = deserialize_strict(&mut reader, MAX_DEPTH);
    value.and_then(|value| reader.end().map(|()| value)).map_err(|error| json_error(&error))
}

fn json_error(error: &serde_json::Error) -> DocumentError {
    let text = error.to_string();
    let what = text.rsplit_once(" at line ").map_or(text.as_str(), |(what, _)| what);
    let message = match what {
        "EOF while parsing a string" => "unclosed quote: the file ends inside a text",
        "EOF while parsing an object" => "unclosed `{`: the file ends before its `}`",
        "EOF while parsing a list" => "unclosed `[`: the file ends before its `]`",
        "EOF while parsing a value" => "the file ends where a value is expected",
        "expected value" | "expected ident" => {
            "expected a value: text in double quotes, a number, true, false, a list or an object"
        }
        "key must be a string" => "a key must be text in double quotes",
        "trailing characters" => "unexpected text after the end of the document",
        "control character (\\u0000-\\u001F) found while parsing a string" => {
            "line break or control character inside a text: close the quote, or write \\n"
        }
        other => other,
    };
    let position = Position { line: error.line(), column: error.column().max(1) };
    syntax((position.line > 0).then_some(position), message)
}

fn toml_error(text: &str, error: &toml::de::Error) -> DocumentError {
    // Its own `Display` repeats the line, which may be the one with the password.
    let span = error.span().unwrap_or_default();
    let position = error.span().map(|span| Position::at(text, span.start));
    let message = match error.message() {
        "invalid basic string, expected `\"`" | "invalid literal string, expected `'`" => {
            "unclosed quote: the line ends inside a text"
        }
        _ if text.get(span.start..).is_some_and(|rest| rest.starts_with("null")) => {
            "TOML has no `null`: leave the key out instead"
        }
        other => other,
    };
    syntax(position, message.replace('\n', ", "))
}

fn yaml_error(error: &serde_saphyr::Error) -> DocumentError {
    use serde_saphyr::{Error, MessageFormatter, UserMessageFormatter};
    let position = error.location().and_then(Position::of_yaml);
    let message = match error.without_snippet() {
        Error::MultipleDocuments { .. } => {
            "more than one YAML document: keep one, without `---` between".to_owned()
        }
        Error::DuplicateMappingKey { key: Some(key), .. } => format!("duplicate key `{key}`"),
        Error::Budget { .. } => "too large, or too deeply nested".to_owned(),
        error => UserMessageFormatter.format_message(error).into_owned(),
    };
    syntax(position, message)
}

pub(crate) fn yaml_options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::Error,
        // `no` is a word and not a truth value, as in YAML 1.2.
        strict_booleans: true,
        with_snippet: false,
        // Enough for a hundred thousand users; aliases have narrower limits of their own.
        budget: serde_saphyr::budget! { max_events: 8_000_000, max_nodes: 4_000_000 },
    }
}

fn with_texts_for_datetimes(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            if let (1, Some(datetime @ Value::String(_))) = (map.len(), map.get(TOML_DATETIME)) {
                return datetime.clone();
            }
            map.into_iter().map(|(key, value)| (key, with_texts_for_datetimes(value))).collect()
        }
        Value::Array(list) => list.into_iter().map(with_texts_for_datetimes).collect(),
        other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => other,
    }
}
