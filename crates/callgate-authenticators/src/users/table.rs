//! The users of one file, found by name, token or nkey.

use std::{
    collections::HashMap,
    hint::black_box,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use callgate::{keys::UserKey, secret::Secret};

use super::{
    Costs,
    entry::{Entry, Parsed},
    warnings::Warnings,
};
use crate::{
    kind::BuildContext,
    passwords::{StoredPassword, digest},
};
use callgate_config::{Document, DocumentError, Format, Report, Sources, Table};

/// Counts tables, so that what was verified against one never serves another.
static VERSIONS: AtomicU64 = AtomicU64::new(0);

/// All users of one file, as of one reading.
#[derive(Debug)]
pub(super) struct UserTable {
    version: u64,
    users: HashMap<Box<str>, Arc<Entry>>,
    tokens: HashMap<[u8; 32], Arc<Entry>>,
    nkeys: HashMap<UserKey, Arc<Entry>>,
    /// The entries of `users` again, to be picked from.
    stand_ins: Vec<Arc<Entry>>,
    costs: Costs,
}

impl UserTable {
    /// Reads a file. What is wrong goes into `report`, as does what keeps it from being read (under
    /// the key path `key`); `None` says that something was wrong.
    pub(super) fn load(
        path: &Path,
        shown_path: &str,
        key: &str,
        context: &BuildContext,
        report: &Report,
    ) -> Option<Self> {
        let before = report.fault_count();
        let document = match document(path) {
            Ok(document) => document,
            Err(error) => {
                report.fault(key, describe(shown_path, &error));
                return None;
            }
        };
        let prefix = format!("{shown_path}: ");
        let table =
            Self::read(Table::root(&document, &prefix, report, &context.services.sources), context);
        Warnings { table: &table, path, shown_path, context, report }.tell();
        (report.fault_count() == before).then_some(table)
    }

    fn read(mut root: Table<'_>, context: &BuildContext) -> Self {
        let mut table = Self {
            version: VERSIONS.fetch_add(1, Ordering::Relaxed),
            users: HashMap::new(),
            tokens: HashMap::new(),
            nkeys: HashMap::new(),
            stand_ins: Vec::new(),
            costs: Costs::new(),
        };
        for (user, entry) in root.entries() {
            let (place, report) = (entry.path().to_owned(), entry.report());
            let parsed = Parsed::read(user, entry, context);
            table.add(parsed, |key, message| report.fault(format!("{place}.{key}"), message));
        }
        root.finish();
        table
    }

    fn add(&mut self, parsed: Parsed, fault: impl Fn(&str, String)) {
        let Parsed { entry, token, nkey } = parsed;
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
        self.costs.extend(entry.password.as_ref().and_then(StoredPassword::cost));
        self.stand_ins.push(Arc::clone(&entry));
        self.users.insert(entry.user.as_str().into(), entry);
    }

    /// Which reading this is; no other table of this process has the same number.
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// The hash parameters in it.
    pub(super) fn costs(&self) -> &Costs {
        &self.costs
    }

    /// Whether an entry has a token.
    pub(super) fn has_tokens(&self) -> bool {
        !self.tokens.is_empty()
    }

    /// The entry of exactly this name.
    pub(super) fn by_name(&self, user: &str) -> Option<&Entry> {
        self.users.get(user).map(AsRef::as_ref)
    }

    /// A copy of what is stored in the user's entry. Without one another is looked at and its copy thrown
    /// away: what that costs, a tenth of a microsecond, would tell who exists.
    pub(super) fn stored_password(
        &self,
        user: &str,
        entry: Option<&Entry>,
    ) -> Option<StoredPassword> {
        let stored = entry.or_else(|| self.stand_in(user)).and_then(|entry| entry.password.clone());
        black_box(stored).filter(|_| entry.is_some())
    }

    fn stand_in(&self, user: &str) -> Option<&Entry> {
        // Not a good hash of the name, but one that costs next to nothing.
        let ends = [user.bytes().next()?, user.bytes().next_back()?].map(usize::from);
        let number = user.len() + ends[0] + (ends[1] << 8);
        self.stand_ins.get(number.checked_rem(self.stand_ins.len())?).map(AsRef::as_ref)
    }

    /// The entry with this token, found by digest and so without an early exit.
    pub(super) fn by_token(&self, token: &Secret) -> Option<&Entry> {
        // Whether there are any tells nothing about one of them, and bearer tokens of others are long.
        if self.tokens.is_empty() {
            return None;
        }
        self.tokens.get(&digest(&[token.expose().as_bytes()])).map(AsRef::as_ref)
    }

    /// The entry with this key.
    pub(super) fn by_nkey(&self, key: &UserKey) -> Option<&Entry> {
        self.nkeys.get(key).map(AsRef::as_ref)
    }

    /// All entries, in no order.
    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.users.values().map(AsRef::as_ref)
    }
}

fn document(path: &Path) -> Result<Document, DocumentError> {
    let format = Format::of(path)?;
    // Not remembered: this file is watched here and needs no new configuration.
    let text = Sources::read_aside(path)?;
    let is_comment = |line: &[u8]| {
        let line = line.trim_ascii();
        line.is_empty() || (format != Format::Json && line.starts_with(b"#"))
    };
    if text.split(|byte| *byte == b'\n').all(is_comment) {
        // In YAML and TOML that would be a table without users: a truncated file locks out all.
        return Err(DocumentError::Syntax(
            "it is empty: write the users, or `{}` for none".to_owned(),
        ));
    }
    Document::parse(&text, format)
}

fn describe(shown_path: &str, error: &DocumentError) -> String {
    match error {
        DocumentError::Syntax(what) => format!("`{shown_path}`: {what}"),
        DocumentError::Extension(_) | DocumentError::Source(_) => error.to_string(),
    }
}
