//! Which key signed a token, so that a reconnect storm costs no second check of signatures.
//!
//! That is all that is remembered. What a token says is read anew from the token that is shown, and
//! judged on every hit; and a memory lives no longer than its configuration.
//!
//! A token is found by 120 bits of its digest under a key of this process. Not all 256 are needed
//! because of that key: somebody who has tokens of his own making signed could search a plain digest
//! of this length for two that look alike, and have the second pass for the first. Under a key that he
//! does not know he can only show tokens and hope.

use std::{fmt, sync::Arc};

use quick_cache::{OptionsBuilder, UnitWeighter, sync::Cache};

use crate::{jwks::JsonWebKey, passwords::digest};

/// What a token is found by: only for who was told to remember it, and only in this process.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct TokenDigest([u8; SIZE]);

/// The longest with which an entry of the cache takes 40 bytes; with one more it takes 48.
const SIZE: usize = 15;

impl TokenDigest {
    /// The digest of a token, for one authenticator.
    pub(crate) fn of(authenticator: &str, token: &str) -> Self {
        let whole = digest(&[authenticator.as_bytes(), token.as_bytes()]);
        let mut part = [0; SIZE];
        part.iter_mut().zip(whole).for_each(|(to, from)| *to = from);
        Self(part)
    }
}

impl fmt::Debug for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenDigest([redacted])")
    }
}

/// Tokens that were verified under one configuration, of all issuers.
pub(crate) struct VerifiedTokenCache {
    keys: Option<Cache<TokenDigest, Arc<JsonWebKey>>>,
}

impl VerifiedTokenCache {
    /// Room for this many tokens; none switches it off.
    pub(crate) fn new(tokens: usize) -> Self {
        Self { keys: last_tokens(tokens) }
    }

    /// The key that signed it, when that was checked.
    pub(crate) fn find(&self, token: &TokenDigest) -> Option<Arc<JsonWebKey>> {
        self.keys.as_ref()?.get(token)
    }

    pub(crate) fn remember(&self, token: TokenDigest, key: Arc<JsonWebKey>) {
        if let Some(keys) = &self.keys {
            keys.insert(token, key);
        }
    }

    pub(crate) fn forget(&self, token: &TokenDigest) {
        if let Some(keys) = &self.keys {
            keys.remove(token);
        }
    }

    /// How many are remembered.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.keys.as_ref().map_or(0, Cache::len)
    }
}

/// Room for something about each of the last so many tokens; none for none.
///
/// Tokens end. One that was shown often, but long ago, is no better than a new one: only a tenth of the
/// places is for those, and nothing tells of tokens that made room. With the cache's own settings, which
/// are for things that last, ended tokens would hold nearly all places for ever.
pub(crate) fn last_tokens<T: Clone>(tokens: usize) -> Option<Cache<TokenDigest, T>> {
    let options = OptionsBuilder::new()
        .estimated_items_capacity(tokens)
        .weight_capacity(tokens as u64)
        .hot_allocation(0.1)
        .ghost_allocation(0.0)
        .build()
        .ok()?;
    let cache =
        || Cache::with_options(options, UnitWeighter, Default::default(), Default::default());
    (tokens > 0).then(cache)
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
        let mut bytes = [0; SIZE];
        bytes[..8].copy_from_slice(&(n as u64).to_le_bytes());
        TokenDigest(bytes)
    }

    #[test]
    fn what_one_authenticator_verified_counts_for_no_other() {
        let of = TokenDigest::of;
        assert_eq!(of("a", "token"), of("a", "token"));
        for other in [of("b", "token"), of("a", "tokem"), of("at", "oken"), of("", "atoken")] {
            assert!(other != of("a", "token"));
        }
    }

    #[test]
    fn remembered_tokens_are_bounded_by_number() {
        let key = key();
        for (room, most) in [(0, 0), (1, 1), (100, 128)] {
            let remembered = VerifiedTokenCache::new(room);
            (0..1000).for_each(|n| remembered.remember(numbered(n), Arc::clone(&key)));
            assert!(remembered.len() <= most, "{room}: {}", remembered.len());
            assert_eq!(remembered.len() == 0, room == 0);
        }
    }

    /// The figure of docs/operations.md, also when others had to make room.
    #[test]
    fn a_remembered_token_takes_less_than_sixty_bytes() {
        let (room, key) = (100_000, key());
        let remembered = VerifiedTokenCache::new(room);
        for n in 0..3 * room {
            remembered.remember(numbered(n), Arc::clone(&key));
            if (n + 1) % room == 0 {
                let used = remembered.keys.as_ref().unwrap().memory_used().total();
                let each = used / remembered.len();
                assert!(each < 60, "after {n} tokens: {each} bytes each");
            }
        }
    }

    #[test]
    fn tokens_that_ended_make_room_for_those_of_today() {
        let (room, clients, key) = (10_000, 9_000, key());
        let remembered = VerifiedTokenCache::new(room);
        // Each hour each client shows a token of its own, once or twice.
        for n in 0..20 * clients {
            remembered.remember(numbered(n), Arc::clone(&key));
            if n % 3 == 0 {
                remembered.find(&numbered(n));
            }
        }
        // All come back at once with the last that they had.
        let last = 19 * clients..20 * clients;
        let known = last.filter(|n| remembered.find(&numbered(*n)).is_some()).count();
        assert!(known > clients * 9 / 10, "{known} of {clients}");
    }
}
