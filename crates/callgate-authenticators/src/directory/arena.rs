//! Byte strings in few large blocks, which are wiped and returned to the system when they are dropped.

use std::fmt;

use zeroize::Zeroize;

/// Size of the first block, unless more is expected.
const MIN_BLOCK: usize = 4 * 1024;
/// From this size on, the allocators of all supported systems map a block separately, so that dropping it
/// returns its memory to the system. Only pages that are written occupy memory.
const MAX_BLOCK: usize = 33 * 1024 * 1024;

/// Where a byte string is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Location {
    block: u32,
    start: u32,
    length: u32,
}

/// Byte strings that are never changed. Removing one leaves a gap.
#[derive(Default)]
pub(super) struct Arena {
    blocks: Vec<Block>,
    next_block: usize,
    /// Bytes that are stored.
    used: usize,
    /// Bytes of them that were removed.
    removed: usize,
}

/// A block that never grows, so that no copy of its secrets stays behind.
struct Block(Vec<u8>);

impl Arena {
    /// An arena for about `bytes` in all.
    pub(super) fn for_about(bytes: usize) -> Self {
        Self { next_block: bytes, ..Self::default() }
    }

    /// Stores a byte string; `None` if it is too long (4 GiB).
    pub(super) fn add(&mut self, bytes: &[u8]) -> Option<Location> {
        let fits = |block: &Block| block.0.capacity() - block.0.len() >= bytes.len();
        if !self.blocks.last().is_some_and(fits) {
            let size = self.next_block.clamp(MIN_BLOCK, MAX_BLOCK).max(bytes.len());
            self.blocks.push(Block(Vec::with_capacity(size)));
            self.next_block = size.saturating_mul(2);
        }
        let block = u32::try_from(self.blocks.len() - 1).ok()?;
        let Block(last) = self.blocks.last_mut()?;
        let start = u32::try_from(last.len()).ok()?;
        let length = u32::try_from(bytes.len()).ok()?;
        last.extend_from_slice(bytes);
        self.used += bytes.len();
        Some(Location { block, start, length })
    }

    /// The byte string at a location.
    pub(super) fn get(&self, at: Location) -> &[u8] {
        let index = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        let found = self.blocks.get(index(at.block)).and_then(|Block(bytes)| {
            let start = index(at.start);
            bytes.get(start..start.checked_add(index(at.length))?)
        });
        found.unwrap_or_default()
    }

    /// Gives a byte string up.
    pub(super) fn remove(&mut self, at: Location) {
        self.removed += self.get(at).len();
    }

    /// Whether gaps occupy more than what is left.
    pub(super) fn is_mostly_gaps(&self) -> bool {
        self.removed > MIN_BLOCK && self.removed * 2 > self.used
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // Not `Vec::zeroize`, which also writes to the pages that were never used.
        self.0.as_mut_slice().zeroize();
    }
}

impl fmt::Debug for Arena {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Arena({} bytes)", self.used)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_string_is_found_again_across_blocks() {
        let mut arena = Arena::default();
        let strings: Vec<Vec<u8>> = (0..3000_usize)
            .map(|number| number.to_string().repeat(number % 40).into_bytes())
            .collect();
        let places: Vec<_> = strings.iter().map(|bytes| arena.add(bytes).unwrap()).collect();
        assert!(arena.blocks.len() > 2);
        for (place, bytes) in places.iter().zip(&strings) {
            assert_eq!(arena.get(*place), bytes);
        }
        let huge = vec![7; MIN_BLOCK * 1000];
        let place = arena.add(&huge).unwrap();
        assert_eq!(arena.get(place), huge);
    }

    #[test]
    fn gaps_count_until_they_prevail() {
        let mut arena = Arena::default();
        let places: Vec<_> = (0..100).map(|_| arena.add(&[1; 100]).unwrap()).collect();
        assert!(!arena.is_mostly_gaps());
        places.iter().take(51).for_each(|place| arena.remove(*place));
        assert!(arena.is_mostly_gaps());
    }
}
