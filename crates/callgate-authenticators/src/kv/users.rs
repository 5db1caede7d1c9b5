//! The users of a watched bucket.

use std::{
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::{Duration, Instant},
};

use callgate::{
    authn::{Decline, Origin},
    policy::decode,
};
use tokio::sync::{mpsc, watch};

use super::table::{BucketTable, KeySet};
use crate::{
    directory::{Entry, EntryTable, Lookup, PackedEntry, Read, read_value, users_in_words},
    kind::{Bucket, BucketEvent, BuildContext},
};

/// The users in force, and the state of the watch.
pub(super) struct BucketUsers {
    context: BuildContext,
    bucket: String,
    origin: Origin,
    state: RwLock<State>,
    /// Counts the changes of the users.
    changes: watch::Sender<u64>,
}

pub(super) struct State {
    pub(super) table: BucketTable,
    pub(super) loaded: bool,
    lost_since: Option<Instant>,
    /// The keys of a list that is not complete yet.
    listed: Option<KeySet>,
}

impl BucketUsers {
    pub(super) fn new(context: BuildContext, bucket: &Bucket, origin: Origin) -> Self {
        let table = BucketTable::new(context.services.dummy_key.clone());
        let state = State { table, loaded: false, lost_since: None, listed: None };
        let changes = watch::Sender::new(0);
        Self { context, bucket: bucket.to_string(), origin, state: RwLock::new(state), changes }
    }

    /// Looks an entry up, unless the bucket has never been read or the watch has been lost for longer
    /// than `max_stale`.
    pub(super) fn find(
        &self,
        max_stale: Option<Duration>,
        now: Instant,
        find: impl FnOnce(&EntryTable) -> Option<Arc<Entry>>,
    ) -> Lookup {
        let state = self.read();
        if !state.loaded {
            return unavailable(format!("the bucket {} has not been read yet", self.bucket));
        }
        let lost_for = state.lost_since.map(|since| now.saturating_duration_since(since));
        match (lost_for, max_stale) {
            (Some(lost), Some(most)) if lost >= most => unavailable(format!(
                "the watch of the bucket {} has been lost for {lost:.0?}",
                self.bucket
            )),
            (Some(_), _) | (None, _) => Ok(find(state.table.users())),
        }
    }

    /// Changes after each change of the users.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Applies events until the watch ends.
    pub(super) async fn follow(self: Arc<Self>, mut events: mpsc::Receiver<BucketEvent>) {
        while let Some(event) = events.recv().await {
            self.apply(event);
        }
    }

    pub(super) fn apply(&self, event: BucketEvent) {
        match event {
            BucketEvent::Listing(_) => self.write().listed = Some(KeySet::default()),
            BucketEvent::Value { key, value, .. } => self.put(&key, &value),
            BucketEvent::Removed { key, .. } => {
                self.remove(&key);
                self.changed();
            }
            BucketEvent::Listed => self.listed(),
            BucketEvent::Lost(_) => {
                let mut state = self.write();
                state.listed = None;
                state.lost_since.get_or_insert_with(Instant::now);
            }
        }
    }

    fn put(&self, key: &str, value: &[u8]) {
        let Some(user) = decode(key).filter(|user| !user.is_empty()) else {
            let key_shown = key.escape_debug().to_string();
            tracing::error!(
                authenticator = &*self.context.name,
                key = key_shown,
                "invalid key in the bucket: it is not the encoded name of a user"
            );
            let mut state = self.write();
            state.note_listed(key);
            state.table.set_faulty_key(key);
            drop(state);
            self.changed();
            return;
        };
        let state = self.read();
        let known = state.table.users().packed_by_name(&user).filter(|entry| !entry.is_faulty());
        let known = known.map(PackedEntry::fingerprint);
        drop(state);
        let is_known = |fingerprint| known == Some(fingerprint);
        let (read, checked) = read_value(&user, value, self.origin, &self.context, is_known);
        let faulty = !checked.errors.is_empty();
        checked.log(&self.context.name, &user);
        let mut state = self.write();
        state.note_listed(key);
        let shared = match read {
            Read::Same => Ok(Vec::new()),
            Read::Entry(entry) => state.table.set(&entry),
        };
        let is_change = state.listed.is_none();
        drop(state);
        match shared {
            Ok(shared) => shared.iter().for_each(|shared| shared.log(&self.context.name, &user)),
            Err(error) => {
                let user = user.escape_debug().to_string();
                tracing::error!(authenticator = &*self.context.name, user, "{error}");
            }
        }
        if is_change {
            self.changed();
            self.log_change(&user, faulty);
        }
    }

    fn remove(&self, key: &str) {
        let mut state = self.write();
        if let Some(listed) = &mut state.listed {
            listed.remove(key);
        }
        let removed = decode(key).filter(|user| state.table.remove(user));
        state.table.remove_faulty_key(key);
        drop(state);
        if let Some(user) = removed {
            self.log_removed(std::slice::from_ref(&user));
        }
    }

    /// The list is complete: what it did not contain is gone.
    fn listed(&self) {
        let mut state = self.write();
        let Some(listed) = state.listed.take() else { return };
        let (users, keys) = state.table.beyond(&listed);
        for user in &users {
            state.table.remove(user);
        }
        for key in &keys {
            state.table.remove_faulty_key(key);
        }
        let first = !std::mem::replace(&mut state.loaded, true);
        state.lost_since = None;
        drop(state);
        self.changed();
        let (loaded, faulty) = self.read().table.counts();
        let (authenticator, bucket) = (&*self.context.name, &self.bucket);
        let what = if first { "users loaded from the bucket" } else { "bucket listed again" };
        tracing::info!(authenticator, bucket, loaded, faulty, "{what}");
        if !users.is_empty() {
            self.log_removed(&users);
        }
    }

    /// After a change, except between the values of a list.
    fn changed(&self) {
        let mut state = self.write();
        if state.listed.is_some() {
            return;
        }
        state.table.refresh_dummies();
        let (loaded, faulty) = state.table.counts();
        drop(state);
        self.context.services.observer.directory_entries(&self.context.name, loaded, faulty);
        self.changes.send_modify(|count| *count += 1);
    }

    fn log_change(&self, user: &str, faulty: bool) {
        let (authenticator, user) = (&*self.context.name, user.escape_debug().to_string());
        match faulty {
            true => tracing::error!(
                authenticator,
                user,
                "the user is refused until the entry is corrected"
            ),
            false => tracing::info!(authenticator, user, "changed entry is in force"),
        }
    }

    fn log_removed(&self, users: &[String]) {
        /// Maximum number of names in a log line.
        const MAX_NAMES: usize = 10;
        let names = users.iter().take(MAX_NAMES).map(|user| user.escape_debug().to_string());
        let names = names.collect::<Vec<_>>().join(", ");
        tracing::warn!(
            authenticator = &*self.context.name,
            users = names,
            "{} removed: live sessions end if `[revocation]` says so, otherwise when they expire \
             (`session.max_lifetime`)",
            users_in_words(users.len(), " was", " were")
        );
    }

    pub(super) fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unavailable(why: String) -> Lookup {
    Err(Decline::Unavailable(why.into()))
}

impl State {
    fn note_listed(&mut self, key: &str) {
        if let Some(listed) = &mut self.listed {
            listed.insert(key);
        }
    }
}
