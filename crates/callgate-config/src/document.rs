//! A configuration file as a tree of plain values; a duplicate key is an error.

use std::{collections::HashMap, path::Path};

use callgate::json::deserialize_strict;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use zeroize::{Zeroize, Zeroizing};

use crate::{
    format::{Format, UnknownExtension, yaml_options},
    position::{self, Position},
    sources::{SourceError, Sources, without_bom},
    syntax::{Malformed, json_error, toml_error, yaml_error},
};

/// More than any configuration needs, and safe on every stack.
pub(crate) const MAX_DEPTH: usize = 32;

/// The key under which the TOML parser represents a date or time.
const TOML_DATETIME: &str = "$__toml_private_datetime";

/// Why a file could not be read as a document.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// The extension is missing or unknown.
    #[error(transparent)]
    Extension(#[from] UnknownExtension),
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

impl From<Malformed> for DocumentError {
    fn from(malformed: Malformed) -> Self {
        Self::Syntax { position: malformed.position, message: malformed.message }
    }
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
        Malformed::new(position, "not UTF-8 text: save the file as UTF-8")
    })?;
    Ok(without_bom(decoded))
}

struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        deserialize_strict(reader, MAX_DEPTH).map(Self)
    }
}

fn json(text: &str) -> Result<Value, Malformed> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let value = deserialize_strict(&mut reader, MAX_DEPTH);
    value.and_then(|value| reader.end().map(|()| value)).map_err(|error| json_error(text, &error))
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
