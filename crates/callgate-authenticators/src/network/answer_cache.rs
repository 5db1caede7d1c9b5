//! Answers of a backend that are valid for a while.

use std::hash::Hash;

use quick_cache::{Equivalent, OptionsBuilder, UnitWeighter, sync::Cache};
use tokio::time::Instant;

/// The most recent answers, each until it expires.
pub(crate) struct AnswerCache<K, V>(Option<Cache<K, (V, Instant)>>);

impl<K: Eq + Hash, V: Clone> AnswerCache<K, V> {
    /// Holds at most `capacity` answers; zero turns it off.
    pub(crate) fn new(capacity: usize) -> Self {
        Self(recent_cache(capacity))
    }

    /// The answer for `key`, unless it has expired.
    pub(crate) fn get<Q: Hash + Equivalent<K> + ?Sized>(&self, key: &Q) -> Option<V> {
        let (answer, expires) = self.0.as_ref()?.get(key)?;
        (Instant::now() < expires).then_some(answer)
    }

    pub(crate) fn insert(&self, key: K, answer: V, expires: Instant) {
        if let Some(cache) = &self.0 {
            cache.insert(key, (answer, expires));
        }
    }
}

/// A cache of the most recent `capacity` entries; `None` if that is zero.
///
/// Answers and tokens expire, so an entry that was used often, but long ago, is worth no more than a
/// new one: only a tenth of the capacity is for frequent entries, and evicted keys are not tracked.
/// With the library's defaults, expired entries would hold almost all of the capacity forever.
pub(crate) fn recent_cache<K: Eq + Hash, V: Clone>(capacity: usize) -> Option<Cache<K, V>> {
    let options = OptionsBuilder::new()
        .estimated_items_capacity(capacity)
        .weight_capacity(capacity as u64)
        .hot_allocation(0.1)
        .ghost_allocation(0.0)
        .build()
        .ok()?;
    let cache =
        || Cache::with_options(options, UnitWeighter, Default::default(), Default::default());
    (capacity > 0).then(cache)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn answers_are_valid_until_they_expire() {
        let cache = AnswerCache::<Box<str>, u8>::new(10);
        let expires = Instant::now() + Duration::from_secs(10);
        cache.insert("a".into(), 1, expires);
        tokio::time::advance(Duration::from_millis(9_999)).await;
        assert_eq!(cache.get("a"), Some(1));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(cache.get("a"), None);
        let off = AnswerCache::<Box<str>, u8>::new(0);
        off.insert("a".into(), 1, expires + Duration::from_secs(10));
        assert_eq!(off.get("a"), None);
    }
}
