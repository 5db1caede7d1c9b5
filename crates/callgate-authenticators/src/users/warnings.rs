//! What in a users file works, and is probably not meant, or unwise.

use std::{collections::BTreeMap, path::Path, time::Duration};

use callgate::{authn::Proposal, policy::Doubt};

use super::{
    entry::{Entry, first_names},
    table::UserTable,
};
use crate::kind::BuildContext;
use callgate_config::{Report, Sources};

/// How many users a warning names.
const NAMES: usize = 5;

/// How long nats-server waits for an answer if it is not told otherwise (`AUTH_TIMEOUT`, 2 s).
const SERVERS_PATIENCE: Duration = Duration::from_secs(2);

/// A file that was read, and where what is doubtful in it is told.
pub(super) struct Warnings<'a> {
    pub(super) table: &'a UserTable,
    pub(super) path: &'a Path,
    pub(super) shown_path: &'a str,
    pub(super) context: &'a BuildContext,
    pub(super) report: &'a Report,
}

impl Warnings<'_> {
    pub(super) fn tell(&self) {
        self.warn_of_no_account();
        self.warn_of_cost();
        self.warn_of_doubts();
        self.warn_of_unasked();
        self.warn_of_modes();
    }

    /// Whom nothing places anywhere.
    fn warn_of_no_account(&self) {
        let nowhere = |entry: &&Entry| entry.proposal.account.is_none();
        if !self.context.policy.may_name_account
            && self.table.entries().any(|entry| nowhere(&entry))
        {
            let names = some_names(self.table.entries().filter(nowhere));
            self.report.warn(
                self.shown_path,
                format!(
                    "nothing places {names} in an account, so the login is refused: write their \
                     `account`, or set `default_account`"
                ),
            );
        }
    }

    /// The dearest hash is what every password costs, and there is no time for it.
    fn warn_of_cost(&self) {
        let estimate =
            self.table.costs().iter().map(|cost| cost.estimate()).max().unwrap_or_default();
        // One login beside another, or a slower core, and it is too late.
        if estimate * 2 <= self.context.timeout.min(SERVERS_PATIENCE) {
            return;
        }
        let (estimate, timeout) = (estimate.as_millis(), self.context.timeout);
        self.report.warn(
            self.shown_path,
            format!(
                "a login with any password takes as long as with its dearest hash, about {estimate} ms; the \
                 authenticator's `timeout` is {timeout:?}, and nats-server waits 2 s unless it is told to wait \
                 longer: hash with lower parameters, or logins are refused"
            ),
        );
    }

    /// One warning of each kind, however many users there are.
    fn warn_of_doubts(&self) {
        let mut doubts: BTreeMap<Doubt, Vec<&Entry>> = BTreeMap::new();
        for entry in self.table.entries() {
            let Proposal { permissions: Some(permissions), templates, .. } = &entry.proposal else {
                continue;
            };
            for doubt in permissions.doubts(templates.as_deref()) {
                doubts.entry(doubt).or_default().push(entry);
            }
        }
        for (doubt, entries) in doubts {
            let names = some_names(entries.into_iter());
            self.report.warn(self.shown_path, format!("the permissions of {names}: {doubt}"));
        }
    }

    /// Passwords that nobody ever compares.
    fn warn_of_unasked(&self) {
        let Some(end) = &self.context.chain.passwords_stop_at else { return };
        if self.table.entries().any(|entry| entry.password.is_some()) {
            let end = end.escape_debug();
            self.report.warn(
                self.shown_path,
                format!(
                    "its passwords are never asked for, because `{end}` before it refuses every name that it \
                     does not know: set `fall_through = true` there"
                ),
            );
        }
    }

    /// Clear texts are for their owner to read, and nobody else writes himself an entry.
    fn warn_of_modes(&self) {
        let in_clear = |entry: &Entry| {
            let password = entry.password.as_ref();
            password.is_some_and(|password| password.cost().is_none())
        };
        let secret = self.table.has_tokens() || self.table.entries().any(in_clear);
        let readable = || Sources::readable_by_others(self.path).filter(|_| secret);
        for warning in Sources::writable_by_others(self.path).into_iter().chain(readable()) {
            self.report.warn(self.shown_path, warning);
        }
    }
}

/// The first few names in order, and how many more there are.
fn some_names<'a>(entries: impl Iterator<Item = &'a Entry>) -> String {
    let (names, more) = first_names(entries, NAMES);
    let names = names.join("`, `");
    match more {
        0 => format!("`{names}`"),
        more => format!("`{names}` and {more} more"),
    }
}
