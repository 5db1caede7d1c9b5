//! A hash table of locations in many small parts: a part that grows leaves a gap that another part can use, so
//! that reloads do not leave half-used memory behind.

use hashbrown::HashTable;

use super::arena::Location;

/// The number of parts. A million entries make parts of 20,000 bytes.
const PARTS: usize = 256;

/// Locations by hash. Equal hashes are allowed.
#[derive(Debug)]
pub(super) struct Index {
    parts: Vec<HashTable<u32>>,
    length: usize,
}

impl Default for Index {
    fn default() -> Self {
        Self { parts: vec![HashTable::new(); PARTS], length: 0 }
    }
}

impl Index {
    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// The locations with this hash, and possibly others.
    pub(super) fn candidates(&self, hash: u64) -> impl Iterator<Item = Location> {
        let part = self.parts.get(part_of(hash)).into_iter();
        part.flat_map(move |part| part.iter_hash(hash)).map(|at| Location::of_number(*at))
    }

    /// Adds a location. `rehash` computes the hash of any that was added.
    pub(super) fn insert(&mut self, hash: u64, at: Location, rehash: impl Fn(Location) -> u64) {
        if let Some(part) = self.parts.get_mut(part_of(hash)) {
            part.insert_unique(hash, at.number(), |at| rehash(Location::of_number(*at)));
            self.length += 1;
        }
    }

    /// Removes a location.
    pub(super) fn remove(&mut self, hash: u64, at: Location) {
        let part = self.parts.get_mut(part_of(hash));
        let found = part.and_then(|part| part.find_entry(hash, |it| *it == at.number()).ok());
        if let Some(found) = found {
            found.remove();
            self.length -= 1;
        }
    }

    /// All locations, in arbitrary order.
    pub(super) fn iter(&self) -> impl Iterator<Item = Location> {
        self.parts.iter().flatten().map(|at| Location::of_number(*at))
    }
}

/// From bits that the tables do not use: they take the lowest and the highest seven.
fn part_of(hash: u64) -> usize {
    usize::try_from(hash >> 40).unwrap_or_default() % PARTS
}
