//! Byte strings in few large blocks, which are wiped and returned to the system when they are dropped.

use std::fmt;

use callgate_config::WipedBytes;

/// Size of the first block, unless more is expected.
const MIN_BLOCK: usize = 4 * 1024;
/// Size of a block of a large arena.
const MAX_BLOCK: usize = WipedBytes::MAPPED;
/// Byte strings begin at multiples of this.
const UNIT: usize = 8;
/// Bits of a location within a block: enough for `MAX_BLOCK / UNIT`.
const UNIT_BITS: u32 = 23;
/// The length before each byte string.
const LENGTH: usize = size_of::<u32>();

/// Where a byte string is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Location(u32);

/// There is no room: more than 16 GiB, or one byte string that is larger than a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Full;

/// Byte strings that are never changed. Removing one leaves a gap.
#[derive(Default)]
pub(super) struct Arena {
    /// None of them ever grows, so that no copy of a secret stays behind.
    blocks: Vec<WipedBytes>,
    next_block: usize,
    /// Bytes that are stored.
    used: usize,
    /// Bytes of them that were removed.
    removed: usize,
}

impl Arena {
    /// An arena for about `bytes` in all.
    pub(super) fn for_about(bytes: usize) -> Self {
        Self { next_block: bytes, ..Self::default() }
    }

    /// Stores a byte string.
    pub(super) fn add(&mut self, bytes: &[u8]) -> Result<Location, Full> {
        let length = u32::try_from(bytes.len()).map_err(|_| Full)?;
        let needed = (LENGTH + bytes.len()).next_multiple_of(UNIT);
        if needed > MAX_BLOCK {
            return Err(Full);
        }
        let fits = |block: &WipedBytes| block.room() >= needed;
        if !self.blocks.last().is_some_and(fits) {
            self.add_block(needed);
        }
        let block = u32::try_from(self.blocks.len() - 1).map_err(|_| Full)?;
        let last = self.blocks.last_mut().ok_or(Full)?.as_mut();
        let unit = u32::try_from(last.len() / UNIT).map_err(|_| Full)?;
        if block >= 1 << (u32::BITS - UNIT_BITS) {
            return Err(Full);
        }
        let end = last.len() + needed;
        last.extend_from_slice(&length.to_le_bytes());
        last.extend_from_slice(bytes);
        last.resize(end, 0);
        self.used += needed;
        Ok(Location(block << UNIT_BITS | unit))
    }

    fn add_block(&mut self, needed: usize) {
        let expected = self.next_block.clamp(MIN_BLOCK, MAX_BLOCK);
        let block = WipedBytes::for_about(expected.max(needed));
        self.next_block = block.room() * 2;
        self.blocks.push(block);
    }

    /// The byte string at a location.
    pub(super) fn get(&self, Location(at): Location) -> &[u8] {
        let index = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        let block = self.blocks.get(index(at >> UNIT_BITS));
        let found = block.and_then(|block| {
            let start = index(at & ((1 << UNIT_BITS) - 1)) * UNIT;
            let (length, rest) = block.as_slice().get(start..)?.split_first_chunk::<LENGTH>()?;
            rest.get(..index(u32::from_le_bytes(*length)))
        });
        found.unwrap_or_default()
    }

    /// Gives a byte string up.
    pub(super) fn remove(&mut self, at: Location) {
        self.removed += (LENGTH + self.get(at).len()).next_multiple_of(UNIT);
    }

    /// Whether gaps occupy more than what is left.
    pub(super) fn is_mostly_gaps(&self) -> bool {
        self.removed > MIN_BLOCK && self.removed * 2 > self.used
    }
}

impl Location {
    /// As a number, for a table of locations.
    pub(super) fn number(self) -> u32 {
        self.0
    }

    /// From its number.
    pub(super) fn of_number(number: u32) -> Self {
        Self(number)
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
        let large = vec![7; MIN_BLOCK * 1000];
        let place = arena.add(&large).unwrap();
        assert_eq!(arena.get(place), large);
        assert_eq!(arena.add(&vec![7; MAX_BLOCK]), Err(Full));
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
