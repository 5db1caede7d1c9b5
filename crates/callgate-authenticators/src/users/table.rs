//! The users of a file, found by name, token or nkey.

use std::{
    collections::HashMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use callgate::{keys::UserKey, secret::Secret};
use callgate_config::{Document, DocumentError, Format, Report, Sources, Table};

use super::warnings::Warnings;
use crate::{
    directory::{Entry, FILE, ParsedEntry},
    kind::BuildContext,
    passwords::{DummyPasswords, digest},
};

/// The next version: each table has its own, so that what was verified with one never serves another.
static NEXT_VERSION: AtomicU64 = AtomicU64::new(1);

/// All users of a file that was read once.
#[derive(Debug)]
pub(super) struct UserTable {
    users: HashMap<Box<str>, Arc<Entry>>,
    tokens: HashMap<[u8; 32], Arc<Entry>>,
    nkeys: HashMap<UserKey, Arc<Entry>>,
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
        let version = NEXT_VERSION.fetch_add(1, Ordering::Relaxed);
        let dummy_key = || context.services.dummy_key.clone();
        let mut table = Self {
            users: HashMap::new(),
            tokens: HashMap::new(),
            nkeys: HashMap::new(),
            dummies: DummyPasswords::new([], dummy_key()),
        };
        for (user, entry) in root.entries() {
            let path = entry.path().to_owned();
            let report = entry.report();
            let parsed = ParsedEntry::read(user, entry, context, version);
            table.add(parsed, |key, message| report.fault(format!("{path}.{key}"), message));
        }
        root.finish();
        let passwords = table.entries().filter_map(|entry| entry.password.as_ref());
        table.dummies = DummyPasswords::new(passwords.map(|password| password.cost()), dummy_key());
        table
    }

    fn add(&mut self, parsed: ParsedEntry, fault: impl Fn(&str, String)) {
        let ParsedEntry { entry, token, nkey } = parsed;
        let entry = Arc::new(entry);
        let also = |other: &Entry| format!("`{}` has the same one", other.user.escape_debug());
        if let Some(token) = token {
            let digest = digest(&[token.as_bytes()]);
            if let Some(other) = self.tokens.insert(digest, Arc::clone(&entry)) {
                fault("token", also(&other));
            }
        }
        if let Some(nkey) = nkey
            && let Some(other) = self.nkeys.insert(nkey, Arc::clone(&entry))
        {
            fault("nkey", also(&other));
        }
        self.users.insert(entry.user.as_str().into(), entry);
    }

    /// The passwords for names without one.
    pub(super) fn dummies(&self) -> &DummyPasswords {
        &self.dummies
    }

    /// Whether an entry has a token.
    pub(super) fn has_tokens(&self) -> bool {
        !self.tokens.is_empty()
    }

    /// The entry of exactly this name.
    pub(super) fn by_name(&self, user: &str) -> Option<&Arc<Entry>> {
        self.users.get(user)
    }

    /// The entry with this token, found by its digest.
    pub(super) fn by_token(&self, token: &Secret) -> Option<&Arc<Entry>> {
        // Saves the digest of long bearer tokens, and only reveals whether there are any tokens.
        if self.tokens.is_empty() {
            return None;
        }
        self.tokens.get(&digest(&[token.expose().as_bytes()]))
    }

    /// The entry with this key.
    pub(super) fn by_nkey(&self, key: &UserKey) -> Option<&Arc<Entry>> {
        self.nkeys.get(key)
    }

    /// All entries, in arbitrary order.
    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.users.values().map(AsRef::as_ref)
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
