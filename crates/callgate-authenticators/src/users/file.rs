//! A users file in force; a changed file replaces its users, unless it has errors.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::{ArcSwap, Guard};

use callgate_config::Report;
use tokio::sync::watch;

use super::table::UserTable;
use crate::{
    directory::{FirstNames, PackedEntry, users_in_words},
    kind::BuildContext,
};

/// Maximum number of names in a log line.
const MAX_NAMES: usize = 10;

/// A users file and its users.
pub(super) struct UsersFile {
    context: BuildContext,
    path: PathBuf,
    shown_path: String,
    users: ArcSwap<UserTable>,
    /// Counts the changes of `users`.
    changes: watch::Sender<u64>,
    /// The errors of the last attempt to load it. The same errors again are neither logged nor counted.
    errors: Mutex<Vec<String>>,
}

impl UsersFile {
    /// `users` is the content of the file.
    pub(super) fn new(
        context: BuildContext,
        path: PathBuf,
        shown_path: String,
        users: UserTable,
    ) -> Self {
        let count = users_in_words(users.users().len(), "", "");
        let milliseconds = milliseconds(&users);
        tracing::info!(
            authenticator = &*context.name,
            file = shown_path,
            milliseconds,
            "users file loaded: {count}"
        );
        log_unrestricted(&context.name, &users);
        let users = ArcSwap::from_pointee(users);
        let changes = watch::Sender::new(0);
        Self { context, path, shown_path, users, changes, errors: Mutex::default() }
    }

    /// The users in force.
    pub(super) fn users(&self) -> Guard<Arc<UserTable>> {
        self.users.load()
    }

    /// Changes after each change of the users.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// The path as the operator wrote it.
    pub(super) fn shown_path(&self) -> &str {
        &self.shown_path
    }

    /// Reads the file again. False if it has errors: then they are logged and counted once, and the
    /// users stay the same.
    pub(super) fn reload(&self) -> bool {
        let name = &*self.context.name;
        let report = Report::new();
        let loaded = UserTable::load(&self.path, &self.shown_path, "", &self.context, &report);
        let errors: Vec<_> = report.faults().iter().map(ToString::to_string).collect();
        if self.are_known(&errors) {
            return false;
        }
        for warning in report.warnings() {
            tracing::warn!(authenticator = name, "{warning}");
        }
        for error in &errors {
            tracing::error!(authenticator = name, "{error}");
        }
        self.context.services.observer.file_reloaded(name, loaded.is_some());
        let file = &self.shown_path;
        let Some(users) = loaded else {
            tracing::error!(
                authenticator = name,
                file,
                "the old users stay in force until the file can be loaded"
            );
            return false;
        };
        log_unrestricted(name, &users);
        let count = users_in_words(users.users().len(), "", "");
        let milliseconds = milliseconds(&users);
        let old = self.users.swap(Arc::new(users));
        tracing::info!(
            authenticator = name,
            file,
            milliseconds,
            "the changed file is in force: {count}"
        );
        warn_changed(name, &old, &self.users());
        self.changes.send_modify(|count| *count += 1);
        true
    }

    /// Reports whether these users are those of the file on disk.
    pub(super) fn report(&self, in_sync: bool) {
        self.context.services.observer.file_in_sync(&self.path, in_sync);
    }

    /// True if the previous attempt failed with the same errors.
    fn are_known(&self, errors: &[String]) -> bool {
        let mut known = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        let are_known = !errors.is_empty() && *known == errors;
        errors.clone_into(&mut known);
        are_known
    }
}

/// Logs which users are unrestricted inside their account.
fn log_unrestricted(name: &str, users: &UserTable) {
    let (count, names) = names(users.entries().filter(|entry| entry.is_unrestricted_if_alone()));
    if count > 0 {
        tracing::info!(
            authenticator = name,
            users = names,
            "{} neither permissions nor roles: unless a binding contributes, access inside the \
             account is unrestricted",
            users_in_words(count, " has", " have")
        );
    }
}

/// Warns that live sessions keep permissions that a change has taken away. What an entry grants is
/// for policy to say, so every changed entry counts.
fn warn_changed(name: &str, old: &UserTable, new: &UserTable) {
    let is_open = |entry: &PackedEntry<'_>| !entry.is_disabled();
    let now = |entry: &PackedEntry<'_>| new.users().packed_by_name(entry.user()).filter(is_open);
    let revoked = old.entries().filter(is_open).filter(|entry| now(entry).is_none());
    let (count, revoked) = names(revoked);
    if count > 0 {
        tracing::warn!(
            authenticator = name,
            users = revoked,
            "{} removed or disabled: live sessions end if `[revocation]` says so, otherwise when they expire \
             (`session.max_lifetime`)",
            users_in_words(count, " was", " were")
        );
    }
    let differs = |entry: &PackedEntry<'_>| {
        now(entry).is_some_and(|now| now.fingerprint() != entry.fingerprint())
    };
    let (count, changed) = names(old.entries().filter(is_open).filter(differs));
    if count > 0 {
        tracing::warn!(
            authenticator = name,
            users = changed,
            "{} changed: live sessions keep what they were granted, unless `[revocation]` ends them",
            users_in_words(count, " was", " were")
        );
    }
}

/// How long it took to load the file.
fn milliseconds(users: &UserTable) -> u64 {
    u64::try_from(users.loading_time().as_millis()).unwrap_or(u64::MAX)
}

fn names<'a>(entries: impl Iterator<Item = PackedEntry<'a>>) -> (usize, String) {
    let first = FirstNames::of(MAX_NAMES, entries.map(PackedEntry::user));
    let count = first.count();
    let (mut names, more) = first.names();
    if more > 0 {
        names.push("…".to_owned());
    }
    (count, names.join(", "))
}
