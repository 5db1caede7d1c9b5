//! A configuration file as a tree of plain values; a key that is there twice is an error.

use std::path::Path;

use callgate::json::{deserialize_strict, parse_strict};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use zeroize::Zeroize;

use crate::sources::{SourceError, Sources};

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

/// Why a file is no document.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// The name does not say which language it is.
    #[error("`{0}` does not end in .toml, .yaml or .json, so its format is unknown")]
    Extension(String),
    /// It could not be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// It is not written in its language. Says where; never repeats the text, which may be secret.
    #[error("{0}")]
    Syntax(String),
}

/// A parsed document. It may hold clear-text passwords, so it is wiped when it is dropped.
pub struct Document {
    value: Value,
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

    /// Parses a text. Dates and times of TOML become text.
    ///
    /// # Errors
    /// If it is not in this format, nests too deeply, or has a key twice.
    pub fn parse(text: &[u8], format: Format) -> Result<Self, DocumentError> {
        let text = std::str::from_utf8(text)
            .map_err(|error| syntax(format!("not UTF-8 after byte {}", error.valid_up_to())))?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let value = match format {
            Format::Json => parse_strict(text.as_bytes(), MAX_DEPTH).map_err(json_error)?,
            Format::Toml => {
                let Strict(value) = toml::from_str(text).map_err(|e| toml_error(text, &e))?;
                with_texts_for_datetimes(value)
            }
            Format::Yaml => {
                let Strict(value) = serde_saphyr::from_str_with_options(text, yaml_options())
                    .map_err(|error| syntax(yaml_error(&error.without_snippet().to_string())))?;
                value
            }
        };
        Ok(Self { value })
    }

    /// A document out of a value that is there already.
    pub fn from_value(value: Value) -> Self {
        Self { value }
    }

    /// The tree.
    pub fn value(&self) -> &Value {
        &self.value
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

fn syntax(message: impl ToString) -> DocumentError {
    DocumentError::Syntax(message.to_string())
}

fn json_error(error: callgate::json::JsonError) -> DocumentError {
    let text = error.to_string();
    let cut_off = text.starts_with("EOF ");
    let hint = match cut_off {
        true => ": the text was cut off, or a bracket or quote is not closed; write it out again",
        false => "",
    };
    syntax(text + hint)
}

fn toml_error(text: &str, error: &toml::de::Error) -> DocumentError {
    // Its own `Display` repeats the line, which may be the one with the password.
    let before = error.span().and_then(|span| text.get(..span.start));
    match before {
        Some(before) => {
            let line = before.matches('\n').count() + 1;
            syntax(format!("line {line}: {}", error.message().replace('\n', ", ")))
        }
        None => syntax(error.message().replace('\n', ", ")),
    }
}

/// Without the advice of the YAML reader to whoever calls it.
fn yaml_error(message: &str) -> String {
    message.replace(", set DuplicateKeyPolicy in Options if acceptable", ", which is there twice")
}

fn yaml_options() -> serde_saphyr::Options {
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
