//! A configuration file as a tree of plain values; a duplicate key is an error.

use std::{collections::HashMap, path::Path, str::FromStr};

use callgate::json::deserialize_strict;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use zeroize::{Zeroize, Zeroizing};

use crate::{
    position::{self, Position},
    sources::{SourceError, Sources, without_bom},
};

/// More than any configuration needs, and safe on every stack.
pub(crate) const MAX_DEPTH: usize = 32;

/// The key under which the TOML parser represents a date or time.
const TOML_DATETIME: &str = "$__toml_private_datetime";

/// The format of a configuration file.
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
    /// Determines the format from the file extension.
    ///
    /// # Errors
    /// If the extension is unknown.
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

/// Not the name of a format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the formats are toml, yaml and json")]
pub struct UnknownFormat;

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(name: &str) -> Result<Self, UnknownFormat> {
        match name.to_ascii_lowercase().as_str() {
            "toml" => Ok(Self::Toml),
            "yaml" | "yml" => Ok(Self::Yaml),
            "json" => Ok(Self::Json),
            _ => Err(UnknownFormat),
        }
    }
}

/// Why a file could not be read as a document.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// The extension is missing or unknown.
    #[error("`{0}` does not end in .toml, .yaml or .json, so its format is unknown")]
    Extension(String),
    /// The file could not be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The text is malformed. The message never quotes it, because it may contain secrets.
    #[error("{}{message}", .position.map(|at| format!("line {}, column {}: ", at.line, at.column)).unwrap_or_default())]
    Syntax {
        /// The position of the error, if known.
        position: Option<Position>,
        /// What is wrong.
        message: String,
    },
}

/// A parsed document. It may contain plaintext passwords, so it is wiped on drop.
pub struct Document {
    value: Value,
    format: Format,
    text: Zeroizing<String>,
}

impl Document {
    /// Reads and parses a file.
    ///
    /// # Errors
    /// If the file cannot be read, or is malformed.
    pub fn read(path: &Path, sources: &Sources) -> Result<Self, DocumentError> {
        let format = Format::of(path)?;
        Self::parse(&sources.read(path)?, format)
    }

    /// Parses text, with or without a byte-order mark. TOML dates and times become text.
    ///
    /// # Errors
    /// If the text is malformed, nested too deeply, or has a duplicate key.
    pub fn parse(text: &[u8], format: Format) -> Result<Self, DocumentError> {
        let text = utf8(text)?;
        let value = match format {
            Format::Json => json(text),
            Format::Toml => toml::from_str(text)
                .map(|Strict(value)| datetimes_to_text(value))
                .map_err(|error| toml_error(text, &error)),
            Format::Yaml => serde_saphyr::from_str_with_options(text, yaml_options())
                .map(|Strict(value)| value)
                .map_err(|error| yaml_error(&error)),
        }?;
        Ok(Self { value, format, text: Zeroizing::new(text.to_owned()) })
    }

    /// Creates a document from a value, without source text.
    pub fn from_value(value: Value) -> Self {
        Self { value, format: Format::Json, text: Zeroizing::default() }
    }

    /// The parsed value.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// The position of each of the key paths that is in the text.
    pub fn positions_of<'p>(
        &self,
        paths: impl IntoIterator<Item = &'p str>,
    ) -> HashMap<String, Position> {
        position::positions(&self.text, self.format, paths.into_iter().collect())
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn format(&self) -> Format {
        self.format
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

/// The text of a file, without its byte-order mark.
pub(crate) fn utf8(text: &[u8]) -> Result<&str, DocumentError> {
    let decoded = std::str::from_utf8(text).map_err(|error| {
        let good = text.get(..error.valid_up_to()).and_then(|good| str::from_utf8(good).ok());
        let position = good.map(|good| Position::at(good, good.len()));
        syntax(position, "not UTF-8 text: save the file as UTF-8")
    })?;
    Ok(without_bom(decoded))
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

pub(crate) fn json_error(error: &serde_json::Error) -> DocumentError {
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
    // The error's own `Display` quotes the line, which may contain a password.
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
        // `no` is a string, not a boolean, as in YAML 1.2.
        strict_booleans: true,
        with_snippet: false,
        // Enough for a hundred thousand users; aliases have tighter limits of their own.
        budget: serde_saphyr::budget! { max_events: 8_000_000, max_nodes: 4_000_000 },
    }
}

fn datetimes_to_text(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            if let (1, Some(datetime @ Value::String(_))) = (map.len(), map.get(TOML_DATETIME)) {
                return datetime.clone();
            }
            map.into_iter().map(|(key, value)| (key, datetimes_to_text(value))).collect()
        }
        Value::Array(list) => list.into_iter().map(datetimes_to_text).collect(),
        other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => other,
    }
}
