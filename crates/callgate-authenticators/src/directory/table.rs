//! Entries in memory, found by name, token or nkey.

use std::{
    collections::BTreeMap,
    hash::{BuildHasher, RandomState},
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use callgate::{keys::UserKey, secret::Secret};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{
    Entry,
    arena::{Arena, Location},
    index::Index,
    packed::{PackedEntry, Shelf, pack},
    token_hash,
};
use crate::passwords::Cost;

/// Each content of a directory has its own, so that what was verified with one never serves another.
static NEXT_VERSION: AtomicU64 = AtomicU64::new(1);

/// The next version of an entry ([`Entry::version`]).
pub(crate) fn next_version() -> u64 {
    NEXT_VERSION.fetch_add(1, Ordering::Relaxed)
}

/// Entries in memory, found by name, token or nkey.
///
/// Entries with the same token or nkey are all kept, but that credential identifies none of them.
#[derive(Debug, Default)]
pub(crate) struct EntryTable {
    arena: Arena,
    shelf: Shelf,
    names: Index,
    tokens: Index,
    nkeys: Index,
    /// How many passwords have each cost, `None` for clear text.
    costs: BTreeMap<Option<Cost>, u64>,
    /// Keyed, so that names and tokens from outside cannot be made to collide.
    hasher: RandomState,
}

/// There is no room for another entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there is no room for this entry: it, or all entries together, are too large")]
pub(crate) struct TableFull;

/// A credential that two entries share.
pub(crate) struct Shared {
    /// `token` or `nkey`.
    pub(crate) key: &'static str,
    /// The other entry's user.
    pub(crate) user: String,
}

impl Shared {
    /// Logs that the entry of `user` has it, too.
    #[cfg(feature = "kv")]
    pub(crate) fn log(&self, authenticator: &str, user: &str) {
        let Self { key, user: other } = self;
        tracing::error!(
            authenticator,
            users = format!("{}, {}", user.escape_debug(), other.escape_debug()),
            "two entries have the same `{key}`: it identifies neither of them"
        );
    }
}

/// What an entry is found by.
#[derive(Clone, Copy)]
enum Key<'a> {
    Name(&'a str),
    Token(&'a [u8; 32]),
    Nkey(&'a str),
}

impl Key<'_> {
    fn hash(self, hasher: &RandomState) -> u64 {
        match self {
            Self::Name(name) | Self::Nkey(name) => hasher.hash_one(name),
            Self::Token(hash) => hasher.hash_one(hash),
        }
    }

    fn is_of(self, entry: PackedEntry<'_>) -> bool {
        match self {
            Self::Name(name) => entry.user() == name,
            Self::Token(hash) => entry.token().is_some_and(|own| own.ct_eq(hash).into()),
            Self::Nkey(key) => entry.nkey() == Some(key),
        }
    }
}

impl EntryTable {
    /// A table for a source of about `bytes`.
    pub(crate) fn for_about(bytes: usize) -> Self {
        Self { arena: Arena::for_about(bytes), ..Self::default() }
    }

    /// Adds an entry, in place of one of the same name. Returns the credentials that another entry has, too.
    ///
    /// # Errors
    /// If the table is full, which takes more than 16 GiB.
    pub(crate) fn insert(&mut self, entry: &Entry) -> Result<Vec<Shared>, TableFull> {
        self.remove(&entry.user);
        let packed = Zeroizing::new(pack(entry, &mut self.shelf));
        let location = self.arena.add(&packed).map_err(|_| TableFull)?;
        let token = entry.token.as_ref().map(Key::Token);
        let nkey = entry.nkey.as_ref().map(|nkey| Key::Nkey(nkey.as_str()));
        let holders = [("token", token), ("nkey", nkey)].into_iter().filter_map(|(key, value)| {
            let user = self.found(value?).next()?.user().to_owned();
            Some(Shared { key, user })
        });
        let shared = holders.collect();
        if let Some(password) = &entry.password {
            *self.costs.entry(password.cost()).or_insert(0) += 1;
        }
        for key in [Some(Key::Name(&entry.user)), token, nkey].into_iter().flatten() {
            self.index(key, location);
        }
        Ok(shared)
    }

    /// Removes the entry of a user; false if there is none.
    pub(crate) fn remove(&mut self, user: &str) -> bool {
        let key = Key::Name(user);
        let hash = key.hash(&self.hasher);
        let mut candidates = self.names.candidates(hash);
        let Some(at) = candidates.find(|at| key.is_of(self.packed(*at))) else { return false };
        drop(candidates);
        let entry = self.packed(at);
        let cost = entry.cost();
        let token = entry.token();
        let nkey = entry.nkey().map(str::to_owned);
        let token = token.as_ref().map(Key::Token);
        let nkey = nkey.as_deref().map(Key::Nkey);
        for key in [Some(key), token, nkey].into_iter().flatten() {
            let hash = key.hash(&self.hasher);
            self.index_of(key).remove(hash, at);
        }
        if let Some(count) = cost.and_then(|cost| self.costs.get_mut(&cost)) {
            *count -= 1;
        }
        self.costs.retain(|_, count| *count > 0);
        self.arena.remove(at);
        if self.arena.is_mostly_gaps() {
            self.compact();
        }
        true
    }

    /// The number of entries.
    pub(crate) fn len(&self) -> usize {
        self.names.len()
    }

    /// How many passwords have each cost, `None` for clear text.
    pub(crate) fn costs(&self) -> &BTreeMap<Option<Cost>, u64> {
        &self.costs
    }

    /// Whether an entry has a token.
    pub(crate) fn has_tokens(&self) -> bool {
        self.tokens.len() > 0
    }

    /// The entry of exactly this name. A name without one takes as long.
    pub(crate) fn by_name(&self, user: &str) -> Option<Arc<Entry>> {
        let key = Key::Name(user);
        if let Some(entry) = self.found(key).next() {
            return entry.unpack().map(Arc::new);
        }
        let any = self.names.iter().next().map(|at| self.packed(at));
        black_box(any.and_then(PackedEntry::unpack).map(Arc::new));
        None
    }

    /// The entry of exactly this name, in packed form.
    pub(crate) fn packed_by_name(&self, user: &str) -> Option<PackedEntry<'_>> {
        self.found(Key::Name(user)).next()
    }

    /// The only entry with this token, found by its digest.
    pub(crate) fn by_token(&self, token: &Secret) -> Option<Arc<Entry>> {
        // Saves the digest of long bearer tokens, and only reveals whether there are any tokens.
        if !self.has_tokens() {
            return None;
        }
        self.only(Key::Token(&token_hash(token.expose())))
    }

    /// The only entry with this key.
    pub(crate) fn by_nkey(&self, key: &UserKey) -> Option<Arc<Entry>> {
        self.only(Key::Nkey(key.as_str()))
    }

    /// All entries, in arbitrary order.
    pub(crate) fn entries(&self) -> impl Iterator<Item = PackedEntry<'_>> {
        self.names.iter().map(|at| self.packed(at))
    }

    fn only(&self, key: Key<'_>) -> Option<Arc<Entry>> {
        let mut found = self.found(key);
        let entry = found.next()?;
        match found.next() {
            None => entry.unpack().map(Arc::new),
            Some(_) => None,
        }
    }

    fn found<'a, 'k>(
        &'a self,
        key: Key<'k>,
    ) -> impl Iterator<Item = PackedEntry<'a>> + use<'a, 'k> {
        let index = match key {
            Key::Name(_) => &self.names,
            Key::Token(_) => &self.tokens,
            Key::Nkey(_) => &self.nkeys,
        };
        let candidates = index.candidates(key.hash(&self.hasher));
        candidates.map(|at| self.packed(at)).filter(move |entry| key.is_of(*entry))
    }

    fn index_of(&mut self, key: Key<'_>) -> &mut Index {
        match key {
            Key::Name(_) => &mut self.names,
            Key::Token(_) => &mut self.tokens,
            Key::Nkey(_) => &mut self.nkeys,
        }
    }

    fn index(&mut self, key: Key<'_>, at: Location) {
        let Self { arena, shelf, names, tokens, nkeys, hasher, .. } = self;
        let entry = |at: Location| PackedEntry::new(arena.get(at), shelf);
        let hash = key.hash(hasher);
        match key {
            Key::Name(_) => names.insert(hash, at, |at| hasher.hash_one(entry(at).user())),
            Key::Token(_) => tokens.insert(hash, at, |at| {
                hasher.hash_one(entry(at).token().as_ref().unwrap_or(&[0; 32]))
            }),
            Key::Nkey(_) => {
                nkeys.insert(hash, at, |at| hasher.hash_one(entry(at).nkey().unwrap_or_default()))
            }
        }
    }

    fn packed(&self, at: Location) -> PackedEntry<'_> {
        PackedEntry::new(self.arena.get(at), &self.shelf)
    }

    /// Closes the gaps that removed entries left.
    fn compact(&mut self) {
        let mut compact = Self::default();
        for entry in self.entries() {
            let inserted = entry.unpack().map(|entry| compact.insert(&entry));
            debug_assert!(matches!(inserted, Some(Ok(_))), "it fitted before");
        }
        *self = compact;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn entry(user: &str, token: Option<u8>, version: u64) -> Entry {
        let token = token.map(|byte| token_hash(&byte.to_string()));
        Entry { token, ..Entry::unreadable(user, version) }
    }

    fn by_token(table: &EntryTable, token: u8) -> Option<String> {
        table.by_token(&token.to_string().into()).map(|entry| entry.user.clone())
    }

    #[test]
    fn entries_are_found_through_changes_and_compaction() {
        let mut table = EntryTable::default();
        let mut expected = BTreeMap::new();
        for step in 0..20_000_u64 {
            let user = format!("user-{}", step * 7919 % 1000);
            if step % 3 == 0 {
                assert_eq!(table.remove(&user), expected.remove(&user).is_some(), "{user}");
            } else {
                table.insert(&entry(&user, None, step)).unwrap();
                expected.insert(user, step);
            }
        }
        assert_eq!(table.len(), expected.len());
        for number in 0..1000 {
            let user = format!("user-{number}");
            let found = table.by_name(&user).map(|entry| entry.version);
            assert_eq!(found, expected.get(&user).copied(), "{user}");
        }
        let listed = table.entries().map(|entry| entry.user().to_owned());
        assert_eq!(listed.collect::<std::collections::BTreeSet<_>>().len(), expected.len());
    }

    #[test]
    fn shared_token_identifies_no_entry_until_one_remains() {
        let mut table = EntryTable::default();
        assert!(table.insert(&entry("alice", Some(1), 1)).unwrap().is_empty());
        assert_eq!(by_token(&table, 1).as_deref(), Some("alice"));
        let shared = table.insert(&entry("bob", Some(1), 2)).unwrap();
        assert_eq!(shared.len(), 1);
        assert_eq!(by_token(&table, 1), None);
        table.remove("alice");
        assert_eq!(by_token(&table, 1).as_deref(), Some("bob"));
        table.remove("bob");
        assert!(!table.has_tokens());
    }
}
