//! Resources that survive a reload of the configuration.

use std::{
    any::{Any, TypeId},
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError, Weak},
    thread,
};

use crate::passwords::{PasswordPool, Verified};

type Key = (TypeId, String);

/// Resources that survive a reload, such as the password pool and fetched signing keys.
///
/// An object lives as long as an authenticator holds it. The new configuration is built while the
/// old one is in force, so objects that both use are kept and the others are dropped.
pub struct SharedResources {
    password_pool: PasswordPool,
    verified_passwords: Verified,
    objects: Mutex<HashMap<Key, Weak<dyn Any + Send + Sync>>>,
}

impl SharedResources {
    /// Creates a password pool with this many threads, which start with the first password.
    pub fn new(password_workers: usize) -> Self {
        Self {
            password_pool: PasswordPool::new(password_workers),
            verified_passwords: Verified::default(),
            objects: Mutex::default(),
        }
    }

    /// The threads that hash passwords.
    pub fn password_pool(&self) -> &PasswordPool {
        &self.password_pool
    }

    /// Recently verified passwords.
    pub fn verified_passwords(&self) -> &Verified {
        &self.verified_passwords
    }

    /// The object of type `T` under `key`; creates it if no authenticator holds one.
    ///
    /// `create` runs under a lock and must not load anything.
    pub fn obtain<T: Any + Send + Sync>(&self, key: &str, create: impl FnOnce() -> T) -> Arc<T> {
        let mut objects = self.objects.lock().unwrap_or_else(PoisonError::into_inner);
        objects.retain(|_, object| object.strong_count() > 0);
        let key = (TypeId::of::<T>(), key.to_owned());
        let existing = objects.get(&key).and_then(Weak::upgrade).map(Arc::downcast::<T>);
        if let Some(Ok(existing)) = existing {
            return existing;
        }
        let created = Arc::new(create());
        let weak = Arc::downgrade(&created);
        objects.insert(key, weak);
        created
    }
}

impl Default for SharedResources {
    /// One password thread for each core.
    fn default() -> Self {
        Self::new(thread::available_parallelism().map_or(1, usize::from))
    }
}

impl fmt::Debug for SharedResources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedResources").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn object_lives_as_long_as_it_is_held() {
        let shared = SharedResources::new(1);
        let first = shared.obtain("a", || 1u32);
        assert_eq!(*shared.obtain("a", || 2u32), 1);
        assert_eq!(*shared.obtain("b", || 3u32), 3);
        assert_eq!(*shared.obtain("a", || 4u64), 4);
        drop(first);
        assert_eq!(*shared.obtain("a", || 5u32), 5);
    }
}
