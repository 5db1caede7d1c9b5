//! Entries in memory, found by name, token or nkey.

use std::{
    hash::{BuildHasher, RandomState},
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use callgate::{keys::UserKey, secret::Secret};
use hashbrown::HashTable;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{
    Entry,
    arena::{Arena, Location},
    packed::{PackedEntry, Shelf, pack},
    token_hash,
};

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
    /// Where each entry is.
    slots: Vec<Option<Location>>,
    free: Vec<u32>,
    names: HashTable<u32>,
    tokens: HashTable<u32>,
    nkeys: HashTable<u32>,
    /// Keyed, so that names and tokens from outside cannot be made to collide.
    hasher: RandomState,
}

/// A credential that two entries share.
pub(crate) struct Shared {
    /// `token` or `nkey`.
    pub(crate) key: &'static str,
    /// The other entry's user.
    pub(crate) user: String,
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
    pub(crate) fn insert(&mut self, entry: &Entry) -> Vec<Shared> {
        self.remove(&entry.user);
        let packed = Zeroizing::new(pack(entry, &mut self.shelf));
        let Some(location) = self.arena.add(&packed) else { return Vec::new() };
        let index = match self.free.pop() {
            Some(index) => index,
            None => {
                self.slots.push(None);
                u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
            }
        };
        if let Some(slot) = self.slots.get_mut(place(index)) {
            *slot = Some(location);
        }
        let token = entry.token.as_ref().map(Key::Token);
        let nkey = entry.nkey.as_ref().map(|nkey| Key::Nkey(nkey.as_str()));
        let holders = [("token", token), ("nkey", nkey)].into_iter().filter_map(|(key, value)| {
            let user = self.found(value?).next()?.user().to_owned();
            Some(Shared { key, user })
        });
        let shared = holders.collect();
        for key in [Some(Key::Name(&entry.user)), token, nkey].into_iter().flatten() {
            self.index(key, index);
        }
        shared
    }

    /// Removes the entry of a user.
    pub(crate) fn remove(&mut self, user: &str) -> bool {
        let key = Key::Name(user);
        let hash = key.hash(&self.hasher);
        let Some(index) = self.names.find(hash, |index| self.is(*index, key)).copied() else {
            return false;
        };
        let Some(entry) = self.packed(index) else { return false };
        let token = entry.token();
        let nkey = entry.nkey().map(str::to_owned);
        let token = token.as_ref().map(Key::Token);
        let nkey = nkey.as_deref().map(Key::Nkey);
        for key in [Some(key), token, nkey].into_iter().flatten() {
            let hash = key.hash(&self.hasher);
            let index = |other: &u32| *other == index;
            if let Ok(found) = self.table(key).find_entry(hash, index) {
                found.remove();
            }
        }
        if let Some(location) = self.slots.get_mut(place(index)).and_then(Option::take) {
            self.arena.remove(location);
        }
        self.free.push(index);
        if self.arena.is_mostly_gaps() {
            self.compact();
        }
        true
    }

    /// The number of entries.
    pub(crate) fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether an entry has a token.
    pub(crate) fn has_tokens(&self) -> bool {
        !self.tokens.is_empty()
    }

    /// The entry of exactly this name. A name without one takes as long.
    pub(crate) fn by_name(&self, user: &str) -> Option<Arc<Entry>> {
        let key = Key::Name(user);
        if let Some(entry) = self.found(key).next() {
            return entry.unpack().map(Arc::new);
        }
        let any = key.hash(&self.hasher) % self.slots.len().max(1) as u64;
        let any = u32::try_from(any).ok().and_then(|index| self.packed(index));
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
        if self.tokens.is_empty() {
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
        let locations = self.slots.iter().flatten();
        locations.map(|location| PackedEntry::new(self.arena.get(*location), &self.shelf))
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
        let table = match key {
            Key::Name(_) => &self.names,
            Key::Token(_) => &self.tokens,
            Key::Nkey(_) => &self.nkeys,
        };
        let candidates = table.iter_hash(key.hash(&self.hasher));
        candidates.filter_map(|index| self.packed(*index)).filter(move |entry| key.is_of(*entry))
    }

    fn table(&mut self, key: Key<'_>) -> &mut HashTable<u32> {
        match key {
            Key::Name(_) => &mut self.names,
            Key::Token(_) => &mut self.tokens,
            Key::Nkey(_) => &mut self.nkeys,
        }
    }

    fn index(&mut self, key: Key<'_>, index: u32) {
        let Self { arena, shelf, slots, names, tokens, nkeys, hasher, .. } = self;
        let entry = |index: &u32| {
            let location = slots.get(place(*index)).copied().flatten();
            PackedEntry::new(location.map(|at| arena.get(at)).unwrap_or_default(), shelf)
        };
        let hash = key.hash(hasher);
        match key {
            Key::Name(_) => {
                names.insert_unique(hash, index, |index| hasher.hash_one(entry(index).user()));
            }
            Key::Token(_) => {
                let rehash = |index: &u32| {
                    hasher.hash_one(entry(index).token().as_ref().unwrap_or(&[0; 32]))
                };
                tokens.insert_unique(hash, index, rehash);
            }
            Key::Nkey(_) => {
                let rehash = |index: &u32| hasher.hash_one(entry(index).nkey().unwrap_or_default());
                nkeys.insert_unique(hash, index, rehash);
            }
        }
    }

    fn is(&self, index: u32, key: Key<'_>) -> bool {
        self.packed(index).is_some_and(|entry| key.is_of(entry))
    }

    fn packed(&self, index: u32) -> Option<PackedEntry<'_>> {
        let location = self.slots.get(place(index)).copied().flatten()?;
        Some(PackedEntry::new(self.arena.get(location), &self.shelf))
    }

    /// Closes the gaps that removed entries left.
    fn compact(&mut self) {
        let mut compact = Self::default();
        for entry in self.entries() {
            if let Some(entry) = entry.unpack() {
                compact.insert(&entry);
            }
        }
        *self = compact;
    }
}

fn place(index: u32) -> usize {
    usize::try_from(index).unwrap_or(usize::MAX)
}
