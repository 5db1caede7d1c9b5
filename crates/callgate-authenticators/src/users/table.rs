//! The users of a file, found by name, token or nkey.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use callgate::authn::Origin;
use callgate_config::{DocumentError, EntryFile, EntryReader, Report, Table};

use super::warnings::{UnusualPermissions, Warnings};
use crate::{
    directory::{ENTRY, Entry, EntryTable, PackedEntry, Shared, next_version},
    kind::{BuildContext, EntryCounter},
    passwords::{Cost, DummyPasswords},
};

/// All users of a file that was read once.
#[derive(Debug)]
pub(super) struct UserTable {
    users: EntryTable,
    dummies: DummyPasswords,
    loading_time: Duration,
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
        let started = Instant::now();
        let before = report.fault_count();
        let counter = context.services.observer.file_loading(shown_path);
        let file = path.strip_prefix(".").unwrap_or(path).display().to_string();
        let prefix = format!("{shown_path}: ");
        let read = open(path).and_then(|entries| {
            let mut reader = Reader::new(entries.size(), context, counter);
            let sources = &context.services.sources;
            entries.read(&prefix, &file, ENTRY, report, sources, &mut reader)?;
            Ok(reader)
        });
        let reader = match read {
            Ok(reader) => reader,
            Err(DocumentError::Syntax { position, message }) => {
                report.fault_in(&file, position, message);
                return None;
            }
            Err(error @ (DocumentError::Extension(_) | DocumentError::Source(_))) => {
                report.fault(key, error);
                return None;
            }
        };
        let Reader { users, permissions, counter, .. } = reader;
        let costs = users.costs().clone();
        let dummies = DummyPasswords::of_counts(costs, context.services.dummy_key.clone());
        let loading_time = Duration::ZERO;
        let mut table = Self { users, dummies, loading_time };
        Warnings { table: &table, permissions, path, shown_path: &prefix, context, report }
            .report();
        report.assign(&prefix, &file);
        drop(counter);
        table.loading_time = started.elapsed();
        (report.fault_count() == before).then_some(table)
    }

    /// The passwords for names without one.
    pub(super) fn dummies(&self) -> &DummyPasswords {
        &self.dummies
    }

    /// The entries, to look them up.
    pub(super) fn users(&self) -> &EntryTable {
        &self.users
    }

    /// How long it took to load the file.
    pub(super) fn loading_time(&self) -> Duration {
        self.loading_time
    }

    /// Whether an entry has a token.
    pub(super) fn has_tokens(&self) -> bool {
        self.users.has_tokens()
    }

    /// All entries, in arbitrary order.
    pub(super) fn entries(&self) -> impl Iterator<Item = PackedEntry<'_>> {
        self.users.entries()
    }

    /// The parameters of the hashes.
    pub(super) fn costs(&self) -> impl Iterator<Item = Cost> {
        self.users.costs().keys().copied().flatten()
    }

    /// Whether a password is in clear text.
    pub(super) fn has_clear_text(&self) -> bool {
        self.users.costs().contains_key(&None)
    }
}

/// Reads the entries of a file.
struct Reader<'a> {
    context: &'a BuildContext,
    version: u64,
    users: EntryTable,
    permissions: UnusualPermissions,
    counter: Option<EntryCounter>,
}

impl<'a> Reader<'a> {
    fn new(size: usize, context: &'a BuildContext, counter: Option<EntryCounter>) -> Self {
        Self {
            context,
            version: next_version(),
            users: EntryTable::for_about(size),
            permissions: UnusualPermissions::default(),
            counter,
        }
    }
}

impl EntryReader for Reader<'_> {
    fn contains(&self, name: &str) -> bool {
        self.users.packed_by_name(name).is_some()
    }

    fn read(&mut self, name: &str, table: Table<'_>) {
        let path = table.path().to_owned();
        let report = table.report();
        let entry = Entry::read(name, table, Origin::Operator, self.context, self.version);
        self.permissions.note(&entry);
        let shared = self.users.insert(&entry).unwrap_or_else(|error| {
            report.fault(path.as_str(), error);
            Vec::new()
        });
        for Shared { key, user } in shared {
            let other = user.escape_debug();
            report.fault(format!("{path}.{key}"), format!("`{other}` has the same one"));
        }
        if let Some(count) = &mut self.counter {
            count();
        }
    }
}

fn open(path: &Path) -> Result<EntryFile, DocumentError> {
    let file = EntryFile::open(path)?;
    if file.is_blank() {
        // A truncated file must not lock out all users.
        let message = "the file is empty: write the users, or `{}` for none".to_owned();
        return Err(DocumentError::Syntax { position: None, message });
    }
    Ok(file)
}
