//! Takes up a changed users file, or keeps the old one in force.

use std::sync::Arc;

use super::{
    Inner,
    entry::{Entry, first_names},
    put_in_force,
    table::UserTable,
};
use callgate_config::Report;

/// How many names a line of the log shows.
const SHOWN: usize = 10;

impl Inner {
    /// Reads the file again. A bad one changes nothing, is logged and counted.
    pub(super) fn reload(&self) {
        let (name, report) = (&*self.context.name, Report::new());
        let loaded = UserTable::load(&self.path, &self.shown_path, "", &self.context, &report);
        for warning in report.warnings() {
            tracing::warn!(authenticator = name, "{warning}");
        }
        for fault in report.faults() {
            tracing::error!(authenticator = name, "{fault}");
        }
        self.context.services.observer.file_reloaded(name, loaded.is_some());
        let Some(users) = loaded else {
            let file = &self.shown_path;
            tracing::error!(authenticator = name, file, "the old users stay in force");
            return;
        };
        tell_unrestricted(name, &users);
        put_in_force(&self.context, &self.costs, &users);
        let count = users.entries().count();
        let old = self.users.swap(Arc::new(users));
        let file = &self.shown_path;
        tracing::info!(authenticator = name, file, "the changed file is in force: {count} users");
        tell_changed(name, &old, &self.users.load());
    }
}

/// Says which users may do everything inside their account.
pub(super) fn tell_unrestricted(name: &str, users: &UserTable) {
    let (count, names) = names(users.entries().filter(|e| e.proposal.unrestricted_if_alone));
    if count > 0 {
        tracing::info!(
            authenticator = name,
            users = names,
            "{count} users have neither permissions nor roles: unless a binding contributes, they \
             are unrestricted inside their account"
        );
    }
}

/// Says that whoever lost a right still has it while logged in. What was granted and what would be is for
/// policy to say; so whoever's entry is another is told of, and whoever's is gone.
fn tell_changed(name: &str, old: &UserTable, new: &UserTable) {
    let is_open = |entry: &&Entry| !entry.disabled;
    let stays = |entry: &&Entry| new.by_name(&entry.user).filter(is_open).is_some();
    let differs =
        |entry: &&Entry| new.by_name(&entry.user).is_some_and(|now| now.look != entry.look);
    let (count, revoked) = names(old.entries().filter(is_open).filter(|entry| !stays(entry)));
    if count > 0 {
        tracing::warn!(
            authenticator = name,
            users = revoked,
            "{count} users were removed or disabled: their live sessions last until they expire \
             (`session.max_lifetime`)"
        );
    }
    let changed = old.entries().filter(is_open).filter(stays).filter(differs);
    let (count, changed) = names(changed);
    if count > 0 {
        tracing::warn!(
            authenticator = name,
            users = changed,
            "{count} users were changed: their live sessions keep what they were granted until they \
             expire (`session.max_lifetime`)"
        );
    }
}

fn names<'a>(entries: impl Iterator<Item = &'a Entry>) -> (usize, String) {
    let (mut names, more) = first_names(entries, SHOWN);
    let count = names.len() + more;
    if more > 0 {
        names.push("…".to_owned());
    }
    (count, names.join(", "))
}
