//! The users of one file, found by name, token or nkey.

use std::{
    collections::{BTreeMap, HashMap},
    hint::black_box,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use callgate::{authn::Proposal, keys::UserKey, policy::Doubt, secret::Secret};

use super::{
    Costs,
    entry::{Entry, Parsed},
};
use crate::{
    kind::BuildContext,
    passwords::{StoredPassword, digest},
    settings::{Document, DocumentError, Format, Report, Sources, Table},
};

/// How many users a warning about many names.
const NAMES: usize = 5;

/// How long nats-server waits for an answer if it is not told otherwise (`AUTH_TIMEOUT`, 2 s).
const SERVERS_PATIENCE: Duration = Duration::from_secs(2);

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
        let table = Self::read(Table::root(&document, &prefix, report, &context.sources), context);
        warn_of_no_account(&table, shown_path, context, report);
        warn_of_cost(&table, shown_path, context, report);
        warn_of_doubts(&table, shown_path, report);
        warn_of_unasked(&table, shown_path, context, report);
        warn_of_modes(&table, path, shown_path, report);
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
    if text.trim_ascii().is_empty() {
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

/// Whom nothing places anywhere.
fn warn_of_no_account(
    table: &UserTable,
    shown_path: &str,
    context: &BuildContext,
    report: &Report,
) {
    let nowhere = |entry: &&Entry| entry.proposal.account.is_none();
    if !context.may_name_account && table.entries().any(|entry| nowhere(&entry)) {
        let names = some_names(table.entries().filter(nowhere));
        report.warn(
            shown_path,
            format!(
                "nothing places {names} in an account, so the login is refused: write their \
                 `account`, or set `default_account`"
            ),
        );
    }
}

/// The dearest hash is what every password costs, and there is no time for it.
fn warn_of_cost(table: &UserTable, shown_path: &str, context: &BuildContext, report: &Report) {
    let estimate = table.costs.iter().map(|cost| cost.estimate()).max().unwrap_or_default();
    // One login beside another, or a slower core, and it is too late.
    if estimate * 2 <= context.timeout.min(SERVERS_PATIENCE) {
        return;
    }
    let (estimate, timeout) = (estimate.as_millis(), context.timeout);
    report.warn(
        shown_path,
        format!(
            "a login with any password takes as long as with its dearest hash, about {estimate} ms; the \
             authenticator's `timeout` is {timeout:?}, and nats-server waits 2 s unless it is told to wait \
             longer: hash with lower parameters, or logins are refused"
        ),
    );
}

/// One warning of each kind, however many users there are.
fn warn_of_doubts(table: &UserTable, shown_path: &str, report: &Report) {
    let mut doubts: BTreeMap<Doubt, Vec<&Entry>> = BTreeMap::new();
    for entry in table.entries() {
        let Proposal { permissions: Some(permissions), templates, .. } = &entry.proposal else {
            continue;
        };
        for doubt in permissions.doubts(templates.as_deref()) {
            doubts.entry(doubt).or_default().push(entry);
        }
    }
    for (doubt, entries) in doubts {
        let names = some_names(entries.into_iter());
        report.warn(shown_path, format!("the permissions of {names}: {doubt}"));
    }
}

/// The first few names in order, and how many more there are.
fn some_names<'a>(entries: impl Iterator<Item = &'a Entry>) -> String {
    let mut names: Vec<_> =
        entries.map(|entry| format!("`{}`", entry.user.escape_debug())).collect();
    names.sort_unstable();
    let more = names.len().saturating_sub(NAMES);
    names.truncate(NAMES);
    match more {
        0 => names.join(", "),
        more => format!("{} and {more} more", names.join(", ")),
    }
}

/// Passwords that nobody ever compares.
fn warn_of_unasked(table: &UserTable, shown_path: &str, context: &BuildContext, report: &Report) {
    let Some(end) = &context.passwords_end_at else { return };
    if table.entries().any(|entry| entry.password.is_some()) {
        let end = end.escape_debug();
        report.warn(
            shown_path,
            format!(
                "its passwords are never asked for, because `{end}` before it refuses every name that it \
                 does not know: set `fall_through = true` there"
            ),
        );
    }
}

/// Clear texts are for their owner to read, and nobody else writes himself an entry.
fn warn_of_modes(table: &UserTable, path: &Path, shown_path: &str, report: &Report) {
    let in_clear = |entry: &Entry| {
        let password = entry.password.as_ref();
        password.is_some_and(|password| password.cost().is_none())
    };
    let secret = !table.tokens.is_empty() || table.entries().any(in_clear);
    let readable = || Sources::readable_by_others(path).filter(|_| secret);
    for warning in Sources::writable_by_others(path).into_iter().chain(readable()) {
        report.warn(shown_path, warning);
    }
}
