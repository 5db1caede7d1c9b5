//! Which key signed a token, so that a reconnect storm costs no second check of signatures.
//!
//! That is all that is remembered. What a token says is read anew from the token that is shown, and
//! judged on every hit; and a memory lives no longer than its configuration.
//!
//! A token is found by 128 bits of its digest under a key of this process. Half a digest is enough
//! because of that key: somebody who has tokens of his own making signed could search a plain one of
//! this length for two that look alike, and have the second pass for the first. Under a key that he
//! does not know he can only show tokens and hope.

use std::{fmt, sync::Arc};

use quick_cache::sync::Cache;

use crate::{jwks::JsonWebKey, passwords::digest};

/// What a token is found by: only for who was told to remember it, and only in this process.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct TokenDigest([u8; 16]);

impl TokenDigest {
    /// The digest of a token, for one authenticator.
    pub(crate) fn of(authenticator: &str, token: &str) -> Self {
        let whole = digest(&[authenticator.as_bytes(), token.as_bytes()]);
        let mut half = [0; 16];
        half.iter_mut().zip(whole).for_each(|(to, from)| *to = from);
        Self(half)
    }
}

impl fmt::Debug for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenDigest([redacted])")
    }
}

/// Tokens that were verified under one configuration, of all issuers.
pub(crate) struct Remembered {
    keys: Option<Cache<TokenDigest, Arc<JsonWebKey>>>,
}

impl Remembered {
    /// Room for this many tokens; none switches it off.
    pub(crate) fn new(tokens: usize) -> Self {
        Self { keys: (tokens > 0).then(|| Cache::new(tokens)) }
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

impl fmt::Debug for Remembered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Remembered")
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

    fn filled(room: usize, tokens: usize) -> Remembered {
        let (remembered, key) = (Remembered::new(room), key());
        for n in 0..tokens {
            remembered.remember(TokenDigest::of("a", &n.to_string()), Arc::clone(&key));
        }
        remembered
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
        for (room, most) in [(0, 0), (1, 1), (100, 128)] {
            let remembered = filled(room, 1000);
            assert!(remembered.len() <= most, "{room}: {}", remembered.len());
            assert_eq!(remembered.len() == 0, room == 0);
        }
    }
}
