//! The users of a file, found by name, token or nkey.

use std::path::Path;

use callgate::authn::Origin;
use callgate_config::{Document, DocumentError, Format, Report, Sources, Table};

use super::warnings::Warnings;
use crate::{
    directory::{Entry, EntryTable, FILE, ParsedEntry, Shared, next_version},
    kind::BuildContext,
    passwords::DummyPasswords,
};

/// All users of a file that was read once.
#[derive(Debug)]
pub(super) struct UserTable {
    users: EntryTable,
    dummies: DummyPasswords,
}

impl UserTable {
    /// Reads a file. Errors go into `report`, those of reading it under the key path `key`; `None`
    /// means that there were some.
    pub(super) fn load(
        path: &Path,
        shown_path: &str,
        key: &str,
        context: &BuildContext,
        report: &Report,
    ) -> Option<Self> {
        let before = report.fault_count();
        let file = path.strip_prefix(".").unwrap_or(path).display().to_string();
        let document = match document(path) {
            Ok(document) => document,
            Err(DocumentError::Syntax { position, message }) => {
                report.fault_in(&file, position, message);
                return None;
            }
            Err(error @ (DocumentError::Extension(_) | DocumentError::Source(_))) => {
                report.fault(key, error);
                return None;
            }
        };
        let prefix = format!("{shown_path}: ");
        let table = Self::read(
            Table::root(&document, &prefix, report, &context.services.sources).with_keys(FILE),
            context,
        );
        Warnings { table: &table, path, shown_path: &prefix, context, report }.report();
        report.locate(&document, &prefix, &file);
        (report.fault_count() == before).then_some(table)
    }

    fn read(mut root: Table<'_>, context: &BuildContext) -> Self {
        let version = next_version();
        let mut users = EntryTable::default();
        for (user, entry) in root.entries() {
            let path = entry.path().to_owned();
            let report = entry.report();
            let parsed = ParsedEntry::read(user, entry, Origin::Operator, context, version);
            for Shared { key, user } in users.insert(parsed).1 {
                let other = user.escape_debug();
                report.fault(format!("{path}.{key}"), format!("`{other}` has the same one"));
            }
        }
        root.finish();
        let passwords = users.entries().filter_map(|entry| entry.password.as_ref());
        let costs = passwords.map(|password| password.cost());
        let dummies = DummyPasswords::new(costs, context.services.dummy_key.clone());
        Self { users, dummies }
    }

    /// The passwords for names without one.
    pub(super) fn dummies(&self) -> &DummyPasswords {
        &self.dummies
    }

    /// The entries, to look them up.
    pub(super) fn users(&self) -> &EntryTable {
        &self.users
    }

    /// Whether an entry has a token.
    pub(super) fn has_tokens(&self) -> bool {
        self.users.has_tokens()
    }

    /// All entries, in arbitrary order.
    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.users.entries()
    }
}

fn document(path: &Path) -> Result<Document, DocumentError> {
    let format = Format::of(path)?;
    // Not as a file of the configuration: it has a watch of its own.
    let text = Sources::read_unrecorded(path)?;
    let is_comment = |line: &[u8]| {
        let line = line.trim_ascii();
        line.is_empty() || (format != Format::Json && line.starts_with(b"#"))
    };
    if text.split(|byte| *byte == b'\n').all(is_comment) {
        // In YAML and TOML an empty file is a valid table: a truncated file would lock out all users.
        let message = "the file is empty: write the users, or `{}` for none".to_owned();
        return Err(DocumentError::Syntax { position: None, message });
    }
    Document::parse(&text, format)
}
