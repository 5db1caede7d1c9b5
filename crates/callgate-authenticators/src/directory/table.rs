//! Entries in memory, found by name, token or nkey.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use callgate::{keys::UserKey, secret::Secret};

use super::{Entry, ParsedEntry, token_hash};
use crate::passwords::digest;

/// Each content of a directory has its own, so that what was verified with one never serves another.
static NEXT_VERSION: AtomicU64 = AtomicU64::new(1);

/// The next version of an entry ([`Entry::version`]).
pub(crate) fn next_version() -> u64 {
    NEXT_VERSION.fetch_add(1, Ordering::Relaxed)
}

/// Entries in memory, found by name, token or nkey.
#[derive(Debug, Default)]
pub(crate) struct EntryTable {
    users: HashMap<Box<str>, Arc<Entry>>,
    tokens: HashMap<[u8; 32], Holders>,
    nkeys: HashMap<UserKey, Holders>,
}

/// The credentials of an entry by which it is found.
#[derive(Debug, Default)]
pub(crate) struct LookupKeys {
    token: Option<[u8; 32]>,
    nkey: Option<UserKey>,
}

/// The entries with one token or nkey. If there are several, it identifies none of them.
#[derive(Debug)]
enum Holders {
    One(Arc<Entry>),
    Several(Vec<Arc<Entry>>),
}

/// A credential that two entries share.
pub(crate) struct Shared {
    /// `token` or `nkey`.
    pub(crate) key: &'static str,
    /// The other entry's user.
    pub(crate) user: String,
}

impl LookupKeys {
    pub(crate) fn is_empty(&self) -> bool {
        self.token.is_none() && self.nkey.is_none()
    }
}

impl EntryTable {
    /// Adds an entry; there must be none of that name. Returns its credentials, and those that another
    /// entry has, too.
    pub(crate) fn insert(&mut self, parsed: ParsedEntry) -> (LookupKeys, Vec<Shared>) {
        let ParsedEntry { entry, token, nkey } = parsed;
        let keys = LookupKeys { token: token.map(|token| digest(&[&token])), nkey };
        let entry = Arc::new(entry);
        let token = keys.token.and_then(|token| add(&mut self.tokens, token, &entry));
        let nkey = keys.nkey.clone().and_then(|nkey| add(&mut self.nkeys, nkey, &entry));
        self.users.insert(entry.user.as_str().into(), entry);
        let shared = [("token", token), ("nkey", nkey)];
        let shared = shared.into_iter().filter_map(|(key, user)| Some(Shared { key, user: user? }));
        (keys, shared.collect())
    }

    /// Removes the entry of a user with these credentials.
    pub(crate) fn remove(&mut self, user: &str, keys: &LookupKeys) {
        self.users.remove(user);
        if let Some(token) = &keys.token {
            remove(&mut self.tokens, token, user);
        }
        if let Some(nkey) = &keys.nkey {
            remove(&mut self.nkeys, nkey, user);
        }
    }

    /// The number of entries.
    pub(crate) fn len(&self) -> usize {
        self.users.len()
    }

    /// Whether an entry has a token.
    pub(crate) fn has_tokens(&self) -> bool {
        !self.tokens.is_empty()
    }

    /// The entry of exactly this name.
    pub(crate) fn by_name(&self, user: &str) -> Option<&Arc<Entry>> {
        self.users.get(user)
    }

    /// The only entry with this token, found by its digest.
    pub(crate) fn by_token(&self, token: &Secret) -> Option<&Arc<Entry>> {
        // Saves the digest of long bearer tokens, and only reveals whether there are any tokens.
        if self.tokens.is_empty() {
            return None;
        }
        only(self.tokens.get(&digest(&[&token_hash(token.expose())])))
    }

    /// The only entry with this key.
    pub(crate) fn by_nkey(&self, key: &UserKey) -> Option<&Arc<Entry>> {
        only(self.nkeys.get(key))
    }

    /// All entries, in arbitrary order.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.users.values().map(AsRef::as_ref)
    }
}

fn only(holders: Option<&Holders>) -> Option<&Arc<Entry>> {
    match holders {
        Some(Holders::One(entry)) => Some(entry),
        Some(Holders::Several(_)) | None => None,
    }
}

/// Adds a holder; returns the user of another one.
fn add<K: Eq + Hash>(map: &mut HashMap<K, Holders>, key: K, entry: &Arc<Entry>) -> Option<String> {
    let entry = Arc::clone(entry);
    let (holders, other) = match map.remove(&key) {
        None => (Holders::One(entry), None),
        Some(Holders::One(first)) => {
            let user = first.user.clone();
            (Holders::Several(vec![first, entry]), Some(user))
        }
        Some(Holders::Several(mut all)) => {
            let user = all.first().map(|first| first.user.clone());
            all.push(entry);
            (Holders::Several(all), user)
        }
    };
    map.insert(key, holders);
    other
}

fn remove<K: Eq + Hash + Clone>(map: &mut HashMap<K, Holders>, key: &K, user: &str) {
    let Some(Holders::Several(mut all)) = map.remove(key) else { return };
    all.retain(|entry| entry.user != user);
    let last = if all.len() == 1 { all.pop() } else { None };
    map.insert(key.clone(), last.map_or(Holders::Several(all), Holders::One));
}
