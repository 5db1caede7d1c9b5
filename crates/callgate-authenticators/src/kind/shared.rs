//! What lives longer than one configuration.

use std::{
    any::{Any, TypeId},
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError, Weak},
};

type Key = (TypeId, String);

/// Things that a reload must not throw away, such as fetched signing keys.
///
/// A thing lives as long as some authenticator holds it. A new configuration is built while the
/// old one is still in force, so what both need is handed over, and what nobody needs goes.
#[derive(Default)]
pub struct Shared {
    things: Mutex<HashMap<Key, Weak<dyn Any + Send + Sync>>>,
}

impl Shared {
    /// With a password pool of this many threads.
    pub fn new(_password_workers: usize) -> Self {
        Self::default()
    }

    /// The thing of type `T` under `key`, made now if nobody holds one.
    ///
    /// `make` runs under a lock: it should only create, not load.
    pub fn obtain<T: Any + Send + Sync>(&self, key: &str, make: impl FnOnce() -> T) -> Arc<T> {
        let mut things = self.things.lock().unwrap_or_else(PoisonError::into_inner);
        things.retain(|_, thing| thing.strong_count() > 0);
        let key = (TypeId::of::<T>(), key.to_owned());
        let there = things.get(&key).and_then(Weak::upgrade).map(Arc::downcast::<T>);
        if let Some(Ok(there)) = there {
            return there;
        }
        let made = Arc::new(make());
        let weak = Arc::downgrade(&made);
        things.insert(key, weak);
        made
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shared")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thing_lives_as_long_as_somebody_holds_it() {
        let shared = Shared::default();
        let first = shared.obtain("a", || 1u32);
        assert_eq!(*shared.obtain("a", || 2u32), 1);
        assert_eq!(*shared.obtain("b", || 3u32), 3);
        assert_eq!(*shared.obtain("a", || 4u64), 4);
        drop(first);
        assert_eq!(*shared.obtain("a", || 5u32), 5);
    }
}
