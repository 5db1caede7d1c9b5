//! The last keys of a kind, such as those of connections that have ended.

use std::{
    collections::{HashSet, VecDeque},
    hash::Hash,
};

/// At most a number of keys; the oldest makes room for a new one.
#[derive(Debug)]
pub(crate) struct Recent<K> {
    keys: HashSet<K>,
    order: VecDeque<K>,
    max: usize,
}

impl<K: Clone + Eq + Hash> Recent<K> {
    pub(crate) fn new(max: usize) -> Self {
        Self { keys: HashSet::new(), order: VecDeque::new(), max }
    }

    /// Adds a key; false if it is among the last already.
    pub(crate) fn add(&mut self, key: K) -> bool {
        if !self.keys.insert(key.clone()) {
            return false;
        }
        self.order.push_back(key);
        if self.order.len() > self.max
            && let Some(oldest) = self.order.pop_front()
        {
            self.keys.remove(&oldest);
        }
        true
    }

    pub(crate) fn contains(&self, key: &K) -> bool {
        self.keys.contains(key)
    }

    pub(crate) fn forget(&mut self, key: &K) {
        if self.keys.remove(key) {
            self.order.retain(|known| known != key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn oldest_key_makes_room() {
        let mut recent = Recent::new(2);
        assert!(recent.add(1) && recent.add(2));
        assert!(!recent.add(1));
        assert!(recent.add(3));
        assert_eq!([1, 2, 3].map(|key| recent.contains(&key)), [false, true, true]);
        recent.forget(&2);
        assert!(recent.add(4));
        assert_eq!([2, 3, 4].map(|key| recent.contains(&key)), [false, true, true]);
    }
}
