//! The users of a bucket in memory, changed one key at a time.

use std::{
    collections::HashSet,
    hash::{BuildHasher, RandomState},
};

use crate::{
    directory::{Entry, EntryTable, PackedEntry, Shared, TableFull},
    passwords::{DummyKey, DummyPasswords},
};

/// The users of a bucket, and its invalid keys.
#[derive(Debug)]
pub(super) struct BucketTable {
    users: EntryTable,
    /// Users whose entries have errors.
    faulty_users: HashSet<Box<str>>,
    /// Keys that are not the encoding of a user name.
    faulty_keys: HashSet<Box<str>>,
    dummy_key: DummyKey,
    dummies: DummyPasswords,
}

/// Keys of a bucket, as keyed hashes: the keys of a long list would scatter small allocations, which the
/// allocator does not return to the system.
#[derive(Default)]
pub(super) struct KeySet {
    hashes: HashSet<u64>,
    hasher: RandomState,
}

impl KeySet {
    pub(super) fn insert(&mut self, key: &str) {
        self.hashes.insert(self.hasher.hash_one(key));
    }

    pub(super) fn remove(&mut self, key: &str) {
        self.hashes.remove(&self.hasher.hash_one(key));
    }

    fn contains(&self, key: &str) -> bool {
        self.hashes.contains(&self.hasher.hash_one(key))
    }
}

impl BucketTable {
    pub(super) fn new(dummy_key: DummyKey) -> Self {
        Self {
            users: EntryTable::default(),
            faulty_users: HashSet::new(),
            faulty_keys: HashSet::new(),
            dummies: DummyPasswords::new([], dummy_key.clone()),
            dummy_key,
        }
    }

    pub(super) fn users(&self) -> &EntryTable {
        &self.users
    }

    pub(super) fn dummies(&self) -> &DummyPasswords {
        &self.dummies
    }

    /// The numbers of valid and invalid entries.
    pub(super) fn counts(&self) -> (usize, usize) {
        let faulty = self.faulty_users.len();
        let loaded = self.users.len().saturating_sub(faulty);
        (loaded, faulty + self.faulty_keys.len())
    }

    /// Adds or replaces the entry of a user; returns the credentials that another entry has, too.
    ///
    /// # Errors
    /// If there is no room; the user then has no entry.
    pub(super) fn set(&mut self, entry: &Entry) -> Result<Vec<Shared>, TableFull> {
        self.remove(&entry.user);
        let shared = self.users.insert(entry)?;
        if entry.faulty {
            self.faulty_users.insert(entry.user.as_str().into());
        }
        Ok(shared)
    }

    /// Removes a user; false if there was none.
    pub(super) fn remove(&mut self, user: &str) -> bool {
        self.faulty_users.remove(user);
        self.users.remove(user)
    }

    /// Notes a key that is not the encoding of a user name.
    pub(super) fn set_faulty_key(&mut self, key: &str) {
        self.faulty_keys.insert(key.into());
    }

    /// Forgets a key of that kind; false if it was not noted.
    pub(super) fn remove_faulty_key(&mut self, key: &str) -> bool {
        self.faulty_keys.remove(key)
    }

    /// The users and the faulty keys that are not in `keep`.
    pub(super) fn beyond(&self, keep: &KeySet) -> (Vec<String>, Vec<Box<str>>) {
        let users = self
            .users
            .entries()
            .map(PackedEntry::user)
            .filter(|user| !keep.contains(&callgate::policy::encode(user)));
        let users = users.map(str::to_owned).collect();
        let keys = self.faulty_keys.iter().filter(|key| !keep.contains(key)).cloned().collect();
        (users, keys)
    }

    /// Chooses the passwords for unknown names according to the current entries.
    pub(super) fn refresh_dummies(&mut self) {
        self.dummies =
            DummyPasswords::of_counts(self.users.costs().clone(), self.dummy_key.clone());
    }
}
