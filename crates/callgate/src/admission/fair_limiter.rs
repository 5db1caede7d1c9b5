//! Room that is shared: whoever takes much leaves some for those who come later.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Of what the others leave, this part stays free: one who takes all that he can get leaves a ninth,
/// two leave a seventeenth, `n` leave one in `8n + 1`. So a newcomer finds room, whoever was there
/// before, and somebody who is alone has nearly all of it.
const KEPT_FREE: u32 = 9;

/// Counts who holds how many places. Nothing waits here: a place is given at once, or not.
#[derive(Debug)]
pub(crate) struct Shares<K> {
    taken: Mutex<Taken<K>>,
}

#[derive(Debug)]
struct Taken<K> {
    all: u32,
    by: HashMap<K, u32>,
}

impl<K> Default for Shares<K> {
    fn default() -> Self {
        Self { taken: Mutex::new(Taken { all: 0, by: HashMap::new() }) }
    }
}

/// The most that one may hold of `left`, which is what the others leave. Of fewer than nine it is all.
pub(crate) const fn share_of(left: u32) -> u32 {
    left - left / KEPT_FREE
}

impl<K: Clone + Eq + Hash> Shares<K> {
    /// A place for `who`, of `most` that there are; nothing if its share is used up.
    pub(crate) fn take(self: &Arc<Self>, who: &K, most: u32) -> Option<Place<K>> {
        let mut taken = self.lock();
        let mine = taken.by.get(who).copied().unwrap_or_default();
        let others = taken.all - mine;
        if mine >= share_of(most.saturating_sub(others)) {
            return None;
        }
        taken.all += 1;
        taken.by.insert(who.clone(), mine + 1);
        Some(Place { shares: Arc::clone(self), who: who.clone() })
    }

    /// The most that `who` may hold now, of `most` that there are.
    pub(crate) fn share(&self, who: &K, most: u32) -> u32 {
        let taken = self.lock();
        let mine = taken.by.get(who).copied().unwrap_or_default();
        share_of(most.saturating_sub(taken.all - mine))
    }

    fn lock(&self) -> MutexGuard<'_, Taken<K>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K> Shares<K> {
    /// How many places are taken.
    #[cfg(any(feature = "nats", test))]
    pub(crate) fn taken(&self) -> u32 {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).all
    }
}

/// A place that was taken, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place<K: Clone + Eq + Hash> {
    shares: Arc<Shares<K>>,
    who: K,
}

impl<K: Clone + Eq + Hash> Drop for Place<K> {
    fn drop(&mut self) {
        let mut taken = self.shares.lock();
        taken.all = taken.all.saturating_sub(1);
        let Some(mine) = taken.by.get_mut(&self.who) else { return };
        *mine -= 1;
        if *mine == 0 {
            taken.by.remove(&self.who);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes for each in turn until nobody gets any more, and says how many each has.
    fn all_that_they_get(count: usize, most: u32) -> (Vec<Place<usize>>, Vec<usize>) {
        let shares = Arc::<Shares<usize>>::default();
        let mut places = Vec::new();
        loop {
            let before = places.len();
            places.extend((0..count).filter_map(|who| shares.take(&who, most)));
            if places.len() == before {
                break;
            }
        }
        let held = |who| places.iter().filter(|place: &&Place<usize>| place.who == who).count();
        let counts = (0..count).map(held).collect();
        (places, counts)
    }

    #[test]
    fn one_gets_nearly_all_and_many_get_the_same_and_some_stays_free() {
        for (count, most) in [(1, 1024), (2, 1024), (10, 1024), (1, 9), (5, 200)] {
            let (places, counts) = all_that_they_get(count, most);
            let (least, largest) = (*counts.iter().min().unwrap(), *counts.iter().max().unwrap());
            assert!(largest - least <= 1, "{count} of {most}: {counts:?}");
            let free = most as usize - places.len();
            let promised = most as usize / (8 * count + 1);
            assert!((promised..=promised + 2).contains(&free), "{count} of {most}: {free} free");
            let shares = Arc::clone(&places[0].shares);
            assert!(shares.take(&0, most).is_none());
            assert!(shares.take(&count, most).is_some(), "a newcomer finds room");
        }
    }

    #[test]
    fn little_room_is_given_whole_and_never_more_than_there_is() {
        for most in 0..9 {
            assert_eq!(all_that_they_get(1, most).1, [most as usize]);
            assert_eq!(all_that_they_get(3, most).0.len(), most as usize);
        }
    }

    #[test]
    fn what_is_given_back_can_be_taken_again_and_nobody_is_remembered() {
        let (places, _) = all_that_they_get(5, 100);
        let shares = Arc::clone(&places[0].shares);
        assert_eq!(shares.taken() as usize, places.len());
        drop(places);
        assert_eq!((shares.taken(), shares.lock().by.len()), (0, 0));
        assert_eq!(shares.share(&1, 100), 89);
        assert!(shares.take(&1, 1).is_some());
    }
}
