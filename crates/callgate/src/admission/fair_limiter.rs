//! A limiter that no single key can exhaust.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// A key leaves one ninth of what the others leave, so that a key that is alone has nearly all the
/// capacity, and several get equal shares.
const RESERVED_FRACTION: u32 = 9;
/// Keys that hold a permit never take the last sixteenth of the capacity. However many keys take all
/// they can, a newcomer finds room there.
const NEWCOMER_FRACTION: u32 = 16;

/// Counts permits per key. Nothing waits here: a permit is granted immediately or not at all.
#[derive(Debug)]
pub(crate) struct FairLimiter<K> {
    permits: Mutex<Permits<K>>,
}

#[derive(Debug)]
struct Permits<K> {
    in_use: u32,
    by_key: HashMap<K, u32>,
}

impl<K> Default for FairLimiter<K> {
    fn default() -> Self {
        Self { permits: Mutex::new(Permits { in_use: 0, by_key: HashMap::new() }) }
    }
}

impl<K: Eq + Hash> Permits<K> {
    fn held_by(&self, key: &K) -> u32 {
        self.by_key.get(key).copied().unwrap_or_default()
    }

    /// The most that `key` may hold of what the others leave. Of fewer than nine it is all.
    fn share(&self, key: &K, capacity: u32) -> u32 {
        let held = self.held_by(key);
        let others = self.in_use - held;
        let left = capacity.saturating_sub(others);
        let share = left - left / RESERVED_FRACTION;
        match held {
            0 => share,
            _ => share.min(left.saturating_sub(capacity / NEWCOMER_FRACTION)),
        }
    }
}

impl<K: Clone + Eq + Hash> FairLimiter<K> {
    /// A permit for `key`, or `None` if its share of `capacity` is used up.
    pub(crate) fn try_acquire(self: &Arc<Self>, key: &K, capacity: u32) -> Option<Permit<K>> {
        let mut permits = self.lock();
        let held = permits.held_by(key);
        if held >= permits.share(key, capacity) {
            return None;
        }
        permits.in_use += 1;
        permits.by_key.insert(key.clone(), held + 1);
        Some(Permit { limiter: Arc::clone(self), key: key.clone() })
    }

    /// The most permits of `capacity` that `key` may hold now.
    pub(crate) fn share(&self, key: &K, capacity: u32) -> u32 {
        self.lock().share(key, capacity)
    }
}

impl<K> FairLimiter<K> {
    /// How many permits are in use.
    #[cfg(any(feature = "nats", test))]
    pub(crate) fn in_use(&self) -> u32 {
        self.lock().in_use
    }

    fn lock(&self) -> MutexGuard<'_, Permits<K>> {
        self.permits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One unit of capacity, returned when dropped.
#[derive(Debug)]
pub(crate) struct Permit<K: Clone + Eq + Hash> {
    limiter: Arc<FairLimiter<K>>,
    key: K,
}

impl<K: Clone + Eq + Hash> Drop for Permit<K> {
    fn drop(&mut self) {
        let mut permits = self.limiter.lock();
        permits.in_use = permits.in_use.saturating_sub(1);
        let Some(held) = permits.by_key.get_mut(&self.key) else { return };
        *held -= 1;
        if *held == 0 {
            permits.by_key.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Acquires permits for each key in turn until all are refused; returns how many each holds.
    fn exhaust(keys: usize, capacity: u32) -> (Vec<Permit<usize>>, Vec<usize>) {
        let limiter = Arc::<FairLimiter<usize>>::default();
        let mut permits = Vec::new();
        loop {
            let before = permits.len();
            permits.extend((0..keys).filter_map(|key| limiter.try_acquire(&key, capacity)));
            if permits.len() == before {
                break;
            }
        }
        let held = |key| permits.iter().filter(|permit: &&Permit<usize>| permit.key == key).count();
        let counts = (0..keys).map(held).collect();
        (permits, counts)
    }

    #[test]
    fn keys_get_equal_shares_and_newcomers_find_room() {
        for (keys, capacity) in [(1, 1024), (2, 1024), (10, 1024), (1, 9), (5, 200)] {
            let (permits, counts) = exhaust(keys, capacity);
            let smallest = *counts.iter().min().unwrap();
            let largest = *counts.iter().max().unwrap();
            assert!(largest - smallest <= 1, "{keys} of {capacity}: {counts:?}");
            let free = capacity as usize - permits.len();
            let reserved = (capacity as usize / (8 * keys + 1)).max(capacity as usize / 16);
            assert!((reserved..=reserved + 2).contains(&free), "{keys} of {capacity}: {free} free");
            let limiter = Arc::clone(&permits[0].limiter);
            assert!(limiter.try_acquire(&0, capacity).is_none());
            assert!(limiter.try_acquire(&keys, capacity).is_some(), "a newcomer finds room");
        }
    }

    #[test]
    fn any_number_of_greedy_keys_leaves_a_sixteenth_to_newcomers() {
        for keys in [200, 900] {
            let (permits, _) = exhaust(keys, 1024);
            assert_eq!(permits.len(), 960, "{keys}");
            let limiter = Arc::clone(&permits[0].limiter);
            let newcomer = |key| limiter.try_acquire(&key, 1024);
            let newcomers: Vec<_> = (keys..keys + 70).filter_map(newcomer).collect();
            assert_eq!(newcomers.len(), 64, "{keys}");
        }
    }

    #[test]
    fn small_capacity_is_used_fully_and_never_exceeded() {
        for capacity in 0..9 {
            assert_eq!(exhaust(1, capacity).1, [capacity as usize]);
            assert_eq!(exhaust(3, capacity).0.len(), capacity as usize);
        }
    }

    #[test]
    fn dropped_permits_leave_no_trace() {
        let (permits, _) = exhaust(5, 100);
        let limiter = Arc::clone(&permits[0].limiter);
        assert_eq!(limiter.in_use() as usize, permits.len());
        drop(permits);
        assert_eq!(limiter.in_use(), 0);
        assert!(limiter.lock().by_key.is_empty());
        assert_eq!(limiter.share(&1, 100), 89);
        assert!(limiter.try_acquire(&1, 1).is_some());
    }
}
