//! What lives longer than one configuration.

use std::{
    any::{Any, TypeId},
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError, Weak},
    thread,
};

use crate::passwords::{CostsInForce, PasswordPool, Verified};

type Key = (TypeId, String);

/// Things that a reload must not throw away, such as fetched signing keys.
///
/// A thing lives as long as some authenticator holds it. A new configuration is built while the
/// old one is still in force, so what both need is handed over, and what nobody needs goes.
pub struct Shared {
    password_pool: PasswordPool,
    verified_passwords: Verified,
    password_costs: Arc<CostsInForce>,
    things: Mutex<HashMap<Key, Weak<dyn Any + Send + Sync>>>,
}

impl Shared {
    /// With a password pool of this many threads, which start when the first password comes.
    pub fn new(password_workers: usize) -> Self {
        Self {
            password_pool: PasswordPool::new(password_workers),
            verified_passwords: Verified::default(),
            password_costs: Arc::default(),
            things: Mutex::default(),
        }
    }

    /// Where passwords are hashed.
    pub fn password_pool(&self) -> &PasswordPool {
        &self.password_pool
    }

    /// Which passwords were right a short while ago.
    pub fn verified_passwords(&self) -> &Verified {
        &self.verified_passwords
    }

    /// Which hash parameters are in force.
    pub fn password_costs(&self) -> &Arc<CostsInForce> {
        &self.password_costs
    }

    /// Measures what the sets of hash parameters in force take: the dearest at once, which takes as long
    /// as one login, the others on the pool's threads while nobody waits there. Call it after they have
    /// changed. Does nothing if there is only one.
    pub fn measure_passwords(&self) {
        if self.password_costs.all().len() > 1 {
            self.password_costs.measure_dearest();
            let costs = Arc::clone(&self.password_costs);
            self.password_pool.when_idle(move |scratch| costs.measure_one(scratch));
        }
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

impl Default for Shared {
    /// With as many password threads as there are cores.
    fn default() -> Self {
        Self::new(thread::available_parallelism().map_or(1, usize::from))
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
        let shared = Shared::new(1);
        let first = shared.obtain("a", || 1u32);
        assert_eq!(*shared.obtain("a", || 2u32), 1);
        assert_eq!(*shared.obtain("b", || 3u32), 3);
        assert_eq!(*shared.obtain("a", || 4u64), 4);
        drop(first);
        assert_eq!(*shared.obtain("a", || 5u32), 5);
    }
}
