//! Files that map names to tables, such as a users file, read one entry at a time: a file of a million entries
//! never becomes a tree in memory.

use std::{fmt, path::Path};

use callgate::json::deserialize_strict;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::Value;

use crate::{
    Document, DocumentError, Format, Report, Sources, Table, Type, WipedBytes,
    document::{MAX_DEPTH, utf8},
    position::join,
    syntax::json_error,
    table::Item,
};

/// A file that maps names to tables.
pub struct EntryFile {
    text: WipedBytes,
    format: Format,
}

/// Receives the entries.
pub trait EntryReader {
    /// Whether an entry of this name was read before, which makes the file invalid.
    fn contains(&self, name: &str) -> bool;

    /// Reads one entry. Its errors go into the report of the table.
    fn read(&mut self, name: &str, table: Table<'_>);
}

/// Where an entry belongs.
struct Scope<'a> {
    prefix: &'a str,
    entry: Type,
    report: &'a Report,
    sources: &'a Sources,
}

impl EntryFile {
    /// Opens a file, without recording it as a file of the configuration.
    ///
    /// # Errors
    /// If its extension is unknown, or it is not a regular file, cannot be read or is too large.
    pub fn open(path: &Path) -> Result<Self, DocumentError> {
        let format = Format::of(path)?;
        Ok(Self { text: Sources::read_into(path, WipedBytes::for_about)?, format })
    }

    /// The size of the file in bytes.
    pub fn size(&self) -> usize {
        self.text.as_slice().len()
    }

    /// Whether the file contains nothing but white space and comments. In YAML and TOML that is a valid
    /// table, but a file that was truncated looks like this, too.
    pub fn is_blank(&self) -> bool {
        let is_comment = |line: &[u8]| {
            let line = line.trim_ascii();
            line.is_empty() || (self.format != Format::Json && line.starts_with(b"#"))
        };
        self.text.as_slice().split(|byte| *byte == b'\n').all(is_comment)
    }

    /// Calls `reader` with each entry, in the order of the file if that is JSON. `prefix` begins each key path,
    /// such as `users.json: `; `entry` declares the keys of an entry. Everything that is wrong with an
    /// entry goes into `report`, with its position.
    ///
    /// # Errors
    /// If the text is malformed. Then `report` contains nothing, although some entries may have been read.
    pub fn read(
        &self,
        prefix: &str,
        file: &str,
        entry: Type,
        report: &Report,
        sources: &Sources,
        reader: &mut dyn EntryReader,
    ) -> Result<(), DocumentError> {
        // Those of a malformed file would distract from its one error.
        let findings = Report::new();
        let scope = Scope { prefix, entry, report: &findings, sources };
        let text = utf8(self.text.as_slice())?;
        match self.format {
            Format::Json if text.trim_start().starts_with('{') => json(text, &scope, reader)?,
            Format::Json | Format::Toml | Format::Yaml => {
                let document = Document::parse(self.text.as_slice(), self.format)?;
                tree(&document, &scope, reader);
            }
        }
        findings.locate_in(text, self.format, prefix, file);
        report.append(findings);
        Ok(())
    }
}

impl fmt::Debug for EntryFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EntryFile([redacted])")
    }
}

impl Scope<'_> {
    fn read(&self, name: &str, value: &Value, reader: &mut dyn EntryReader) {
        let Self { prefix, entry, report, sources } = *self;
        let item = Item { path: join(prefix, name), value, value_type: entry, report, sources };
        if value.is_null() {
            item.fault("must not be null: leave the key out instead");
        } else if let Some(table) = item.table() {
            reader.read(name, table);
        }
    }
}

fn tree(document: &Document, scope: &Scope<'_>, reader: &mut dyn EntryReader) {
    let root = Table::root(document, scope.prefix, scope.report, scope.sources);
    for (name, value) in root.map() {
        scope.read(name, value, reader);
    }
}

fn json(text: &str, scope: &Scope<'_>, reader: &mut dyn EntryReader) -> Result<(), DocumentError> {
    let mut source = serde_json::Deserializer::from_str(text);
    let read = source.deserialize_map(Entries { scope, reader });
    read.and_then(|()| source.end()).map_err(|error| json_error(text, &error).into())
}

struct Entries<'a, 's> {
    scope: &'a Scope<'s>,
    reader: &'a mut dyn EntryReader,
}

impl<'de> Visitor<'de> for Entries<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        while let Some(name) = entries.next_key::<String>()? {
            if self.reader.contains(&name) {
                let name = name.escape_debug();
                return Err(A::Error::custom(format!("duplicate key `{name}`")));
            }
            // Wiped when it is dropped.
            let entry = Document::from_value(entries.next_value_seed(Entry)?);
            self.scope.read(&name, entry.value(), self.reader);
        }
        Ok(())
    }
}

/// The value of an entry, one level below the document.
struct Entry;

impl<'de> DeserializeSeed<'de> for Entry {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        deserialize_strict(reader, MAX_DEPTH - 1)
    }
}
