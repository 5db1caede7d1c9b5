//! The configuration format of nats-server (its `conf/lex.go` and `conf/parse.go`).
//!
//! What this reader accepts, nats-server accepts, and both read the same values. The reverse does not hold: text
//! that nats-server reads in a surprising way is an error here, such as a key without a space before `{`, a
//! quote inside a bare string, or a number with an unknown unit.

mod cursor;
mod parser;
mod scalar;
#[cfg(test)]
mod tests;
mod variables;

use std::{fmt, io, ops::Range, path::Path, sync::Arc};

use self::parser::Session;

/// Where something is written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Location {
    /// The path of the file, as it was opened.
    pub(crate) file: Arc<str>,
    /// From 1.
    pub(crate) line: u32,
    /// In characters, from 1.
    pub(crate) column: u32,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// The text is not a configuration, or one that is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{at}: {problem}")]
pub(crate) struct ConfError {
    pub(crate) at: Location,
    pub(crate) problem: String,
}

impl ConfError {
    pub(crate) fn new(at: &Location, problem: impl Into<String>) -> Self {
        Self { at: at.clone(), problem: problem.into() }
    }
}

/// A value. `Debug` shows no text, which may be a password.
#[derive(Clone, PartialEq)]
pub(crate) enum Value {
    Map(Map),
    Array(Vec<Node>),
    String(String),
    Bool(bool),
    Integer(i64),
    Float(f64),
    /// As written, in Zulu form.
    DateTime(String),
}

impl Value {
    /// The kind of value, for messages.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Map(_) => "a map",
            Self::Array(_) => "a list",
            Self::String(_) => "a string",
            Self::Bool(_) => "a boolean",
            Self::Integer(_) => "an integer",
            Self::Float(_) => "a number",
            Self::DateTime(_) => "a time",
        }
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Map(map) => map.fmt(f),
            Self::Array(items) => items.fmt(f),
            Self::String(_)
            | Self::Bool(_)
            | Self::Integer(_)
            | Self::Float(_)
            | Self::DateTime(_) => f.write_str(self.kind()),
        }
    }
}

/// A value and where it is written.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) value: Value,
    /// The value, or the reference to the variable that it came from.
    pub(crate) at: Location,
    /// The bytes of the value in its file.
    pub(crate) span: Range<usize>,
    /// The variable that it came from.
    pub(crate) variable: Option<Arc<str>>,
}

/// Nodes are equal if their values are.
impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

/// A key with its value.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: String,
    /// Where the key is.
    pub(crate) at: Location,
    /// The first byte of the key in its file.
    pub(crate) start: usize,
    pub(crate) node: Node,
    /// A variable refers to it.
    pub(crate) is_used: bool,
}

/// Entries are equal if their keys and values are.
impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key && self.node == other.node
    }
}

/// Keys with their values, in the order of the file.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Map(Vec<Entry>);

impl Map {
    pub(crate) fn entries(&self) -> &[Entry] {
        &self.0
    }

    /// The entry with exactly this key.
    fn get_mut(&mut self, key: &str) -> Option<&mut Entry> {
        self.0.iter_mut().find(|entry| entry.key == key)
    }

    /// Adds an entry. An earlier one with the same key is replaced, as in nats-server, and returned.
    fn insert(&mut self, entry: Entry) -> Option<Entry> {
        match self.get_mut(&entry.key) {
            Some(old) => Some(std::mem::replace(old, entry)),
            None => {
                self.0.push(entry);
                None
            }
        }
    }
}

/// What a configuration refers to: other files and the environment.
pub(crate) trait Outside {
    /// The text of an included file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// A variable of the environment.
    fn variable(&self, name: &str) -> Option<String>;
}

/// A configuration.
#[derive(Debug)]
pub(crate) struct Document {
    pub(crate) root: Map,
    /// Duplicate keys, at their first position; the last one counts.
    pub(crate) overridden: Vec<(String, Location)>,
}

/// Reads the configuration in a file, with the files that it includes.
///
/// # Errors
/// If the file or one that it includes cannot be read or is not a configuration.
pub(crate) fn read(path: &Path, outside: &dyn Outside) -> Result<Document, ConfError> {
    let mut session = Session::new(outside);
    let root = session.file(path)?;
    Ok(Document { root, overridden: session.overridden })
}
