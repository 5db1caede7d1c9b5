//! Remembers which key signed a token, so that a reconnect storm causes no repeated signature checks.
//!
//! Nothing else is remembered. The claims are read from the presented token and judged on every login,
//! and a cache lives no longer than its configuration.
//!
//! The cache key is 120 bits of the token's digest, keyed with a secret of this process. Without that
//! secret, 120 bits would be too few: an attacker who gets tokens signed could search for two
//! tokens with the same digest, and have the second one accepted for the first.

use std::{fmt, sync::Arc};

use quick_cache::sync::Cache;

use crate::{jwks::JsonWebKey, network::recent_cache, passwords::digest};

/// The cache key of a token, valid for one authenticator in this process.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct TokenDigest([u8; DIGEST_BYTES]);

/// The longest digest with which a cache entry takes 40 bytes; one byte more makes it 48.
const DIGEST_BYTES: usize = 15;

impl TokenDigest {
    /// The digest of a token, for one authenticator.
    pub(crate) fn of(authenticator: &str, token: &str) -> Self {
        let whole = digest(&[authenticator.as_bytes(), token.as_bytes()]);
        let mut part = [0; DIGEST_BYTES];
        part.iter_mut().zip(whole).for_each(|(to, from)| *to = from);
        Self(part)
    }
}

impl fmt::Debug for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenDigest([redacted])")
    }
}

/// The keys that signed the most recent tokens of all issuers, under one configuration.
pub(crate) struct VerifiedTokenCache(Option<Cache<TokenDigest, Arc<JsonWebKey>>>);

impl VerifiedTokenCache {
    /// Holds at most `capacity` tokens; zero turns it off.
    pub(crate) fn new(capacity: usize) -> Self {
        Self(recent_cache(capacity))
    }

    /// The key that signed the token, if its signature was verified.
    pub(crate) fn get(&self, token: &TokenDigest) -> Option<Arc<JsonWebKey>> {
        self.0.as_ref()?.get(token)
    }

    pub(crate) fn insert(&self, token: TokenDigest, key: Arc<JsonWebKey>) {
        if let Some(cache) = &self.0 {
            cache.insert(token, key);
        }
    }

    pub(crate) fn remove(&self, token: &TokenDigest) {
        if let Some(cache) = &self.0 {
            cache.remove(token);
        }
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.0.as_ref().map_or(0, Cache::len)
    }
}

impl fmt::Debug for VerifiedTokenCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VerifiedTokenCache")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{jwks::Reading, jws::Algorithm, test_issuer::TestKey};

    fn key() -> Arc<JsonWebKey> {
        match JsonWebKey::read(&TestKey::new("k", Algorithm::EdDsa).jwk(), &Algorithm::ALL) {
            Reading::Key(key) => Arc::new(key),
            other => panic!("{other:?}"),
        }
    }

    fn numbered(n: usize) -> TokenDigest {
        let mut bytes = [0; DIGEST_BYTES];
        bytes[..8].copy_from_slice(&(n as u64).to_le_bytes());
        TokenDigest(bytes)
    }

    #[test]
    fn digests_differ_between_authenticators() {
        let of = TokenDigest::of;
        assert_eq!(of("a", "token"), of("a", "token"));
        for other in [of("b", "token"), of("a", "tokem"), of("at", "oken"), of("", "atoken")] {
            assert!(other != of("a", "token"));
        }
    }

    #[test]
    fn number_of_tokens_is_bounded() {
        let key = key();
        for (capacity, max) in [(0, 0), (1, 1), (100, 128)] {
            let cache = VerifiedTokenCache::new(capacity);
            (0..1000).for_each(|n| cache.insert(numbered(n), Arc::clone(&key)));
            assert!(cache.len() <= max, "{capacity}: {}", cache.len());
            assert_eq!(cache.len() == 0, capacity == 0);
        }
    }

    /// The figure in docs/operations.md, before and after evictions.
    #[test]
    fn token_takes_less_than_sixty_bytes() {
        const CAPACITY: usize = 100_000;
        let key = key();
        let cache = VerifiedTokenCache::new(CAPACITY);
        for n in 0..3 * CAPACITY {
            cache.insert(numbered(n), Arc::clone(&key));
            if (n + 1) % CAPACITY == 0 {
                let used = cache.0.as_ref().unwrap().memory_used().total();
                let each = used / cache.len();
                assert!(each < 60, "after {n} tokens: {each} bytes each");
            }
        }
    }

    #[test]
    fn expired_tokens_make_room_for_current_ones() {
        const CLIENTS: usize = 9_000;
        let key = key();
        let cache = VerifiedTokenCache::new(10_000);
        // Every hour, each client presents a new token, once or twice.
        for n in 0..20 * CLIENTS {
            cache.insert(numbered(n), Arc::clone(&key));
            if n % 3 == 0 {
                cache.get(&numbered(n));
            }
        }
        // All clients reconnect simultaneously with their latest token.
        let latest = 19 * CLIENTS..20 * CLIENTS;
        let known = latest.filter(|n| cache.get(&numbered(*n)).is_some()).count();
        assert!(known > CLIENTS * 9 / 10, "{known} of {CLIENTS}");
    }
}
