//! The users of a bucket in memory, changed one key at a time.

use std::collections::{BTreeMap, HashSet};

use crate::{
    directory::{Entry, EntryTable, PackedEntry, Shared, TableFull},
    passwords::{Cost, DummyKey, DummyPasswords},
};

/// The users of a bucket, and its invalid keys.
#[derive(Debug)]
pub(super) struct BucketTable {
    users: EntryTable,
    /// Users whose entries have errors.
    faulty_users: HashSet<Box<str>>,
    /// Keys that are not the encoding of a user name.
    faulty_keys: HashSet<Box<str>>,
    costs: BTreeMap<Option<Cost>, u64>,
    dummy_key: DummyKey,
    dummies: DummyPasswords,
}

impl BucketTable {
    pub(super) fn new(dummy_key: DummyKey) -> Self {
        Self {
            users: EntryTable::default(),
            faulty_users: HashSet::new(),
            faulty_keys: HashSet::new(),
            costs: BTreeMap::new(),
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
        if let Some(password) = &entry.password {
            *self.costs.entry(password.cost()).or_insert(0) += 1;
        }
        Ok(shared)
    }

    /// Removes a user; false if there was none.
    pub(super) fn remove(&mut self, user: &str) -> bool {
        let cost = self.users.packed_by_name(user).and_then(PackedEntry::cost);
        self.faulty_users.remove(user);
        if let Some(cost) = cost
            && let Some(count) = self.costs.get_mut(&cost)
        {
            *count -= 1;
            if *count == 0 {
                self.costs.remove(&cost);
            }
        }
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

    /// The users and the faulty keys for which `keep` is false.
    pub(super) fn beyond(&self, keep: &HashSet<Box<str>>) -> (Vec<String>, Vec<Box<str>>) {
        let users = self
            .users
            .entries()
            .map(PackedEntry::user)
            .filter(|user| !keep.contains(&*callgate::policy::encode(user)));
        let users = users.map(str::to_owned).collect();
        let keys = self.faulty_keys.iter().filter(|key| !keep.contains(*key)).cloned().collect();
        (users, keys)
    }

    /// Chooses the passwords for unknown names according to the current entries.
    pub(super) fn refresh_dummies(&mut self) {
        self.dummies = DummyPasswords::of_counts(self.costs.clone(), self.dummy_key.clone());
    }
}
