//! The table of sessions: found by server and connection, bounded, searched without holding up decisions.

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hash, RandomState},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use callgate::clock::UnixTime;
use hashbrown::HashTable;

use super::session::{Common, CommonParts, Session};
use crate::system::{ServerId, SessionKey};

/// How many entries a search visits at a time; decisions wait for the table no longer than that takes.
const CHUNK: usize = 1024;
/// A server ends a session at its expiry. After this many seconds the entry is surely obsolete.
const OBSOLETE_AFTER: i64 = 60;
/// The end of the list of slots.
const NONE: u32 = u32::MAX;

/// All known sessions. The oldest entry makes room for a new one.
#[derive(Debug)]
pub(crate) struct Table(Mutex<Entries>);

#[derive(Debug)]
struct Entries {
    capacity: usize,
    /// Slots by server and connection.
    servers: HashMap<ServerId, HashMap<u64, u32>>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    oldest: u32,
    newest: u32,
    count: usize,
    common: HashTable<Arc<Common>>,
    hasher: RandomState,
    /// The number of values in `common` at which those without a session are removed.
    clean_common_at: usize,
}

/// An entry in the list from the oldest to the newest.
#[derive(Debug)]
struct Slot {
    session: Option<Arc<Session>>,
    older: u32,
    newer: u32,
}

impl Table {
    /// An empty table for `capacity` sessions, at least one.
    pub(crate) fn new(capacity: usize) -> Self {
        Self(Mutex::new(Entries {
            capacity: capacity.clamp(1, usize::try_from(NONE - 1).unwrap_or(usize::MAX)),
            servers: HashMap::new(),
            slots: Vec::new(),
            free: Vec::new(),
            oldest: NONE,
            newest: NONE,
            count: 0,
            common: HashTable::new(),
            hasher: RandomState::new(),
            clean_common_at: CHUNK,
        }))
    }

    /// The one copy of these values, for new sessions.
    pub(crate) fn intern<S: AsRef<str> + Hash>(&self, parts: &CommonParts<'_, S>) -> Arc<Common> {
        self.entries().intern(parts, || Arc::new(parts.to_common()))
    }

    /// Enters a session, in place of an earlier one of the same connection. Returns it as it is stored.
    /// Its common values should be [interned](Self::intern).
    pub(crate) fn enter(&self, session: Session) -> Arc<Session> {
        self.entries().enter(session)
    }

    /// The same for a session from elsewhere, whose common values are not interned.
    pub(crate) fn enter_foreign(&self, mut session: Session) -> Arc<Session> {
        let mut entries = self.entries();
        let common = Arc::clone(&session.common);
        session.common = entries.intern(&CommonParts::of(&common), || Arc::clone(&common));
        entries.enter(session)
    }

    /// Removes the session of a connection.
    pub(crate) fn remove(&self, key: SessionKey) -> Option<Arc<Session>> {
        self.entries().remove(key)
    }

    /// The session of a connection.
    pub(crate) fn find(&self, key: SessionKey) -> Option<Arc<Session>> {
        let entries = self.entries();
        let index = *entries.servers.get(&key.server)?.get(&key.client_id)?;
        entries.slots.get(usize::try_from(index).ok()?)?.session.clone()
    }

    /// The sessions that match. Those that are entered meanwhile may be missing.
    pub(crate) fn search(&self, mut matches: impl FnMut(&Session) -> bool) -> Vec<Arc<Session>> {
        let mut found = Vec::new();
        let mut start = 0;
        loop {
            let entries = self.entries();
            let chunk = entries.slots.iter().skip(start).take(CHUNK);
            let sessions = chunk.filter_map(|slot| slot.session.as_ref());
            found.extend(sessions.filter(|session| matches(session)).cloned());
            start += CHUNK;
            if start >= entries.slots.len() {
                return found;
            }
        }
    }

    /// Removes sessions that must have ended.
    pub(crate) fn remove_ended(&self, now: UnixTime) -> usize {
        let is_obsolete = |session: &Session| {
            session.ends().is_some_and(|end| now.seconds_since(end) > OBSOLETE_AFTER)
        };
        let ended = self.search(is_obsolete);
        ended.iter().filter_map(|session| self.remove(session.key())).count()
    }

    /// The number of sessions.
    pub(crate) fn len(&self) -> usize {
        self.entries().count
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entries {
    fn enter(&mut self, session: Session) -> Arc<Session> {
        let key = session.key();
        let session = Arc::new(session);
        let index = self.append(&session);
        let earlier = self.servers.entry(key.server).or_default().insert(key.client_id, index);
        self.count += 1;
        if let Some(earlier) = earlier {
            self.vacate(earlier);
        }
        if self.count > self.capacity {
            self.remove_oldest();
        }
        session
    }

    /// Adds a slot at the end of the list.
    fn append(&mut self, session: &Arc<Session>) -> u32 {
        let slot = Slot { session: Some(Arc::clone(session)), older: self.newest, newer: NONE };
        let index = match self.free.pop() {
            Some(index) => index,
            None => u32::try_from(self.slots.len()).unwrap_or(NONE),
        };
        match self.slot(index) {
            Some(free) => *free = slot,
            None => self.slots.push(slot),
        }
        let before = self.newest;
        match self.slot(before) {
            Some(before) => before.newer = index,
            None => self.oldest = index,
        }
        self.newest = index;
        index
    }

    fn remove(&mut self, key: SessionKey) -> Option<Arc<Session>> {
        let server = self.servers.get_mut(&key.server)?;
        let index = server.remove(&key.client_id)?;
        if server.is_empty() {
            self.servers.remove(&key.server);
        }
        self.vacate(index)
    }

    /// Takes a slot, whose key is not in `servers` any more, out of the list.
    fn vacate(&mut self, index: u32) -> Option<Arc<Session>> {
        let slot = self.slot(index)?;
        let session = slot.session.take();
        let (older, newer) = (slot.older, slot.newer);
        match self.slot(older) {
            Some(slot) => slot.newer = newer,
            None => self.oldest = newer,
        }
        match self.slot(newer) {
            Some(slot) => slot.older = older,
            None => self.newest = older,
        }
        self.free.push(index);
        self.count -= 1;
        session
    }

    fn remove_oldest(&mut self) {
        let oldest = self.oldest;
        let Some(session) = self.slot(oldest).and_then(|slot| slot.session.clone()) else { return };
        self.remove(session.key());
    }

    fn slot(&mut self, index: u32) -> Option<&mut Slot> {
        self.slots.get_mut(usize::try_from(index).ok()?)
    }

    fn intern<S: AsRef<str> + Hash>(
        &mut self,
        parts: &CommonParts<'_, S>,
        make: impl FnOnce() -> Arc<Common>,
    ) -> Arc<Common> {
        let hash = self.hasher.hash_one(parts);
        if let Some(known) = self.common.find(hash, |known| parts.equals(known)) {
            return Arc::clone(known);
        }
        if self.common.len() >= self.clean_common_at {
            self.common.retain(|common| Arc::strong_count(common) > 1);
            self.clean_common_at = CHUNK.max(self.common.len() * 2);
        }
        let common = make();
        let hasher = &self.hasher;
        let hash_of = |common: &Arc<Common>| hasher.hash_one(CommonParts::of(common));
        self.common.insert_unique(hash, Arc::clone(&common), hash_of);
        common
    }
}

#[cfg(test)]
mod tests;
