//! The locks that this replica knows, and those in force.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use callgate::{clock::UnixTime, request::AuthRequest};

use super::{
    Candidate, Lock, Verdict,
    index::Index,
    lock::{MAX_VALUE, Unreadable},
};
use crate::recent::Recent;

/// The largest number of locks; another one cannot be written.
pub(crate) const MAX_LOCKS: usize = 10_000;
/// IDs of removed locks that are remembered, so that a late message does not bring one back.
const MAX_REMOVED: usize = 2 * MAX_LOCKS;

/// The locks that this replica knows. Changes take effect with [`Locks::publish`].
#[derive(Debug, Default)]
pub(crate) struct Locks {
    in_force: ArcSwap<Index>,
    held: Mutex<Held>,
    has_unreadable: AtomicBool,
}

#[derive(Debug)]
struct Held {
    entries: BTreeMap<Arc<str>, Entry>,
    /// IDs of removed locks.
    removed: Recent<Arc<str>>,
    is_dirty: bool,
}

/// A stored value. One that this version does not understand is kept, too.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// `None` if no value under this ID was ever understood.
    pub(super) lock: Option<Arc<Lock>>,
    /// Why the current value is not understood.
    pub(super) unreadable: Option<Unreadable>,
    /// Cut if it is too long for a lock.
    pub(super) value: Arc<[u8]>,
    /// When this replica learned of the value.
    since: SystemTime,
    /// Whether the bucket has shown it.
    is_in_bucket: bool,
}

impl Default for Held {
    fn default() -> Self {
        let removed = Recent::new(MAX_REMOVED);
        Self { entries: BTreeMap::new(), removed, is_dirty: false }
    }
}

impl Locks {
    /// A lock that refuses the connection whatever its credential is.
    pub(crate) fn check_early(&self, request: &AuthRequest, now: UnixTime) -> Option<Arc<Lock>> {
        let client = request.client();
        let index = self.in_force.load();
        index.find_early(client.ip, client.connection, now).cloned()
    }

    /// True if there is no lock that could match.
    pub(crate) fn is_empty(&self) -> bool {
        self.in_force.load().is_empty()
    }

    /// A lock that matches a login for sure.
    pub(crate) fn check<S: AsRef<str>>(
        &self,
        candidate: &Candidate<'_, S>,
        now: UnixTime,
    ) -> Option<Arc<Lock>> {
        let found = self.find(candidate, now);
        found.filter(|(verdict, _)| *verdict == Verdict::Yes).map(|(_, lock)| lock)
    }

    /// A lock that matches a connection, as far as can be said of it.
    pub(crate) fn find<S: AsRef<str>>(
        &self,
        candidate: &Candidate<'_, S>,
        now: UnixTime,
    ) -> Option<(Verdict, Arc<Lock>)> {
        let index = self.in_force.load();
        index.find(candidate, now).map(|(verdict, lock)| (verdict, Arc::clone(lock)))
    }

    /// Stores a value as it is in the bucket; true if it changes something.
    pub(super) fn put(&self, id: &str, value: &[u8]) -> bool {
        let mut held = self.held();
        let cut = value.get(..value.len().min(MAX_VALUE + 1)).unwrap_or_default();
        let known = held.entries.get(id);
        if known.is_some_and(|known| *known.value == *cut) {
            return false;
        }
        let earlier = known.and_then(|known| known.lock.clone());
        let (lock, unreadable) = match Lock::read(id, value) {
            Ok(lock) => {
                earlier.iter().for_each(|earlier| lock.continue_count(earlier));
                (Some(Arc::new(lock)), None)
            }
            // A lock that was understood stays in force.
            Err(error) => (earlier, Some(error)),
        };
        held.removed.forget(&id.into());
        let since = SystemTime::now();
        let entry = Entry { lock, unreadable, value: cut.into(), since, is_in_bucket: false };
        held.entries.insert(id.into(), entry);
        held.is_dirty = true;
        true
    }

    /// The same for a value from another source than the bucket, which may be outdated.
    pub(super) fn put_unless_removed(&self, id: &str, value: &[u8]) -> bool {
        !self.held().removed.contains(&id.into()) && self.put(id, value)
    }

    /// The bucket has shown this lock. Returns since when it is known, the first time.
    pub(super) fn shown(&self, id: &str) -> Option<SystemTime> {
        let mut held = self.held();
        let entry = held.entries.get_mut(id)?;
        let is_first = !std::mem::replace(&mut entry.is_in_bucket, true);
        is_first.then_some(entry.since)
    }

    /// Removes a lock; false if it is unknown.
    pub(super) fn remove(&self, id: &str) -> bool {
        let mut held = self.held();
        held.removed.add(id.into());
        let is_known = held.entries.remove(id).is_some();
        held.is_dirty |= is_known;
        is_known
    }

    /// Puts all changes in force; true if there are any.
    pub(super) fn publish(&self) -> bool {
        let mut held = self.held();
        let is_dirty = std::mem::take(&mut held.is_dirty);
        if is_dirty {
            let locks = held.entries.values().filter_map(|entry| entry.lock.as_ref());
            self.in_force.store(Arc::new(Index::of(locks)));
            let unreadable = held.entries.values().any(|entry| entry.unreadable.is_some());
            self.has_unreadable.store(unreadable, Ordering::Relaxed);
        }
        is_dirty
    }

    /// The number of stored locks that have not ended, and how many of them are unreadable.
    pub(crate) fn count(&self, now: UnixTime) -> (usize, usize) {
        let held = self.held();
        let current = held.entries.values().filter(|entry| !entry.is_over(now));
        let unreadable = current.clone().filter(|entry| entry.unreadable.is_some());
        (current.count(), unreadable.count())
    }

    /// Whether this lock is known, and in force if it is readable.
    pub(crate) fn contains(&self, id: &str) -> bool {
        let held = self.held();
        held.entries.contains_key(id) && !held.is_dirty
    }

    /// The value stored under this ID.
    pub(super) fn value(&self, id: &str) -> Option<Arc<[u8]>> {
        self.held().entries.get(id).map(|entry| Arc::clone(&entry.value))
    }

    /// The lock with this ID, if it was ever understood.
    pub(super) fn readable(&self, id: &str) -> Option<Arc<Lock>> {
        self.held().entries.get(id)?.lock.clone()
    }

    /// Why the value of this lock is not understood.
    pub(super) fn unreadable(&self, id: &str) -> Option<Unreadable> {
        self.held().entries.get(id)?.unreadable.clone()
    }

    /// Whether any stored lock is not understood.
    pub(super) fn has_unreadable(&self) -> bool {
        self.has_unreadable.load(Ordering::Relaxed)
    }

    /// Whether a lock has ended; `None` if it is unknown.
    pub(super) fn is_over(&self, id: &str, now: UnixTime) -> Option<bool> {
        self.held().entries.get(id).map(|entry| entry.is_over(now))
    }

    pub(super) fn ids(&self) -> Vec<Arc<str>> {
        self.held().entries.keys().cloned().collect()
    }

    /// The locks that ended at least this long ago.
    pub(super) fn ended_since(&self, now: UnixTime, ago: Duration) -> Vec<Arc<str>> {
        let seconds = i64::try_from(ago.as_secs()).unwrap_or(i64::MAX);
        let then = UnixTime::from_seconds(now.seconds().saturating_sub(seconds));
        let held = self.held();
        let ended = held.entries.iter().filter(|(_, entry)| entry.is_over(then));
        ended.map(|(id, _)| Arc::clone(id)).collect()
    }

    /// Every stored lock with its ID, in the order of their creation.
    pub(super) fn entries(&self) -> Vec<(Arc<str>, Entry)> {
        let held = self.held();
        held.entries.iter().map(|(id, entry)| (Arc::clone(id), entry.clone())).collect()
    }

    /// The locks that are readable and have not ended.
    pub(crate) fn in_force(&self, now: UnixTime) -> Vec<Arc<Lock>> {
        let held = self.held();
        let locks = held.entries.values().filter_map(|entry| entry.lock.as_ref());
        locks.filter(|lock| !lock.is_over(now)).cloned().collect()
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    /// Whether it has ended. One that is not understood never does.
    pub(super) fn is_over(&self, now: UnixTime) -> bool {
        self.unreadable.is_none() && self.lock.as_ref().is_some_and(|lock| lock.is_over(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixTime = UnixTime::from_seconds(1_800_000_000);

    fn refuses(locks: &Locks, user: &str) -> bool {
        let candidate = Candidate::of_staff(user);
        locks.check(&candidate, NOW).is_some()
    }

    #[test]
    fn changes_take_effect_when_they_are_published() {
        let locks = Locks::default();
        assert!(locks.put("A", br#"{"v":1,"target":{"user":"alice"}}"#));
        assert!(!refuses(&locks, "alice") && !locks.contains("A"));
        locks.publish();
        assert!(refuses(&locks, "alice") && locks.contains("A"));
        assert!(!refuses(&locks, "bob"));
        assert!(!locks.put("A", br#"{"v":1,"target":{"user":"alice"}}"#), "nothing changed");
        assert!(locks.remove("A") && !locks.remove("B"));
        locks.publish();
        assert!(!refuses(&locks, "alice"));
    }

    #[test]
    fn unreadable_value_replaces_no_lock() {
        let locks = Locks::default();
        locks.put("A", br#"{"v":1,"target":{"user":"alice"}}"#);
        locks.put("A", br#"{"v":2,"target":{"user":"alice"}}"#);
        locks.put("B", &[b'x'; 9 * 1024]);
        locks.publish();
        assert!(refuses(&locks, "alice"));
        assert_eq!(locks.count(NOW), (2, 2));
        locks.put("A", br#"{"v":1,"target":{"user":"bob"}}"#);
        locks.publish();
        assert!(refuses(&locks, "bob") && !refuses(&locks, "alice"));
        assert_eq!(locks.count(NOW), (2, 1));
    }

    #[test]
    fn late_message_does_not_bring_back_a_removed_lock() {
        let locks = Locks::default();
        let value = br#"{"v":1,"target":{"user":"alice"}}"#;
        assert!(locks.put_unless_removed("A", value));
        locks.remove("A");
        assert!(!locks.put_unless_removed("A", value));
        assert!(locks.put("A", value), "the bucket is always right");
        assert!(locks.put_unless_removed("B", value));
    }

    #[test]
    fn lock_read_again_continues_its_count() {
        let locks = Locks::default();
        locks.put("A", br#"{"v":1,"target":{"user":"alice"}}"#);
        let refusal = locks.entries()[0].1.lock.as_ref().unwrap().refuse();
        assert_eq!(refusal.lock.as_deref(), Some("A"));
        locks.put("A", br#"{"v":1,"target":{"user":"alice"},"reason":"again"}"#);
        assert_eq!(locks.entries()[0].1.lock.as_ref().unwrap().refused(), 1);
    }
}
