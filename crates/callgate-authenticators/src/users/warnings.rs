//! Warnings about entries of a users file that are valid but probably not intended.

use std::{collections::BTreeMap, path::Path, time::Duration};

use callgate::{authn::Proposal, permissions::PermissionWarning};
use callgate_config::{Report, Sources};

use super::table::UserTable;
use crate::{
    directory::{Entry, FirstNames, PackedEntry},
    kind::BuildContext,
    passwords::Cost,
};

/// Maximum number of users that a warning names.
const MAX_NAMES: usize = 5;

/// How long nats-server waits for an answer by default (`AUTH_TIMEOUT`).
const SERVER_TIMEOUT: Duration = Duration::from_secs(2);

/// Warnings about permissions, collected while the entries are read.
#[derive(Debug, Default)]
pub(super) struct UnusualPermissions(BTreeMap<PermissionWarning, FirstNames>);

impl UnusualPermissions {
    pub(super) fn note(&mut self, entry: &Entry) {
        let Proposal { permissions: Some(permissions), templates, .. } = &entry.proposal else {
            return;
        };
        for warning in permissions.warnings(templates.as_deref()) {
            let names = self.0.entry(warning).or_insert_with(|| FirstNames::new(MAX_NAMES));
            names.add(&entry.user);
        }
    }
}

/// A file that was read, and the report for its warnings.
pub(super) struct Warnings<'a> {
    pub(super) table: &'a UserTable,
    pub(super) permissions: UnusualPermissions,
    pub(super) path: &'a Path,
    pub(super) shown_path: &'a str,
    pub(super) context: &'a BuildContext,
    pub(super) report: &'a Report,
}

impl Warnings<'_> {
    pub(super) fn report(mut self) {
        self.warn_missing_accounts();
        self.warn_slow_hashes();
        self.warn_permissions();
        self.warn_unused_passwords();
        self.warn_file_modes();
    }

    /// Users that would have no account.
    fn warn_missing_accounts(&self) {
        if self.context.policy.may_name_account {
            return;
        }
        let nowhere = self.table.entries().filter(|entry| !entry.has_account());
        let nowhere = FirstNames::of(MAX_NAMES, nowhere.map(PackedEntry::user));
        if nowhere.count() > 0 {
            let names = some_names(nowhere);
            self.report.warn(
                self.shown_path,
                format!(
                    "no account is configured for {names}, so their logins are refused: set \
                     `account` in the entry, or `default_account`"
                ),
            );
        }
    }

    /// Hashes that take longer than the deadline of a login.
    fn warn_slow_hashes(&self) {
        let estimate = self.table.costs().map(Cost::estimate).max().unwrap_or_default();
        // Two simultaneous logins, or a slower core, double the time.
        if estimate * 2 <= self.context.timeout.min(SERVER_TIMEOUT) {
            return;
        }
        let (estimate, timeout) = (estimate.as_millis(), self.context.timeout);
        self.report.warn(
            self.shown_path,
            format!(
                "a login with its most expensive hash takes about {estimate} ms; the authenticator's \
                 `timeout` is {timeout:?}, and nats-server waits 2 s unless configured otherwise: hash \
                 with lower parameters, or logins are refused"
            ),
        );
    }

    /// One warning of each kind, with the first few of its users.
    fn warn_permissions(&mut self) {
        for (warning, users) in std::mem::take(&mut self.permissions.0) {
            let names = some_names(users);
            self.report.warn(self.shown_path, format!("the permissions of {names}: {warning}"));
        }
    }

    /// Passwords that an earlier authenticator makes useless.
    fn warn_unused_passwords(&self) {
        let Some(earlier) = &self.context.chain.passwords_stop_at else { return };
        if self.table.entries().any(PackedEntry::has_password) {
            let earlier = earlier.escape_debug();
            self.report.warn(
                self.shown_path,
                format!(
                    "its passwords are never used, because `{earlier}` before it refuses every user name \
                     that it does not know: set `fall_through = true` there"
                ),
            );
        }
    }

    /// Only the owner may read clear text, and only the owner may write.
    fn warn_file_modes(&self) {
        let secret = self.table.has_tokens() || self.table.has_clear_text();
        let readable = || Sources::readable_by_others(self.path).filter(|_| secret);
        for warning in Sources::writable_by_others(self.path).into_iter().chain(readable()) {
            self.report.warn(self.shown_path, warning);
        }
    }
}

/// The first few names, and how many more there are.
fn some_names(first: FirstNames) -> String {
    let (names, more) = first.names();
    let names = names.join("`, `");
    match more {
        0 => format!("`{names}`"),
        more => format!("`{names}` and {more} more"),
    }
}
