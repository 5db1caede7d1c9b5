//! Tokens whose signature was checked, so that a reconnect storm costs no second check.
//!
//! A token is found by its SHA-256. That needs no secret key: a token carries a signature that
//! nobody can guess, so its digest tells nothing, and nobody can find two tokens of one digest.
//! Only what a signature check proves is remembered. Everything that can change (time, keys,
//! configuration) is judged on every hit; and a memory lives no longer than its configuration.

use std::{fmt, sync::Arc};

use aws_lc_rs::digest::{SHA256, digest};
use quick_cache::{Weighter, sync::Cache};
use serde_json::{Map, Value};

use crate::{jwks::JsonWebKey, jws::RegisteredClaims};

/// A larger token counts as several, so that the number bounds memory too.
const ORDINARY_SIZE: usize = 2048;

/// A token's SHA-256.
pub(crate) type TokenDigest = [u8; 32];

/// A token whose signature was good when it was checked, by this key.
#[derive(Debug)]
pub(crate) struct Verified {
    /// Whose answer it was.
    pub(crate) authenticator: Arc<str>,
    /// Its issuer.
    pub(crate) issuer: Arc<str>,
    /// What signed it.
    pub(crate) key: Arc<JsonWebKey>,
    /// What every token has.
    pub(crate) registered: RegisteredClaims,
    /// All that it says.
    pub(crate) claims: Map<String, Value>,
    /// How long the token was.
    pub(crate) size: usize,
}

/// Tokens that were verified under one configuration, of all issuers.
pub(crate) struct Remembered {
    tokens: Option<Cache<TokenDigest, Arc<Verified>, BySize>>,
}

#[derive(Clone)]
struct BySize;

impl Weighter<TokenDigest, Arc<Verified>> for BySize {
    fn weight(&self, _: &TokenDigest, verified: &Arc<Verified>) -> u64 {
        verified.size.div_ceil(ORDINARY_SIZE).max(1) as u64
    }
}

impl Remembered {
    /// Room for this many tokens; none switches it off.
    pub(crate) fn new(tokens: usize) -> Self {
        let cache = || Cache::with_weighter(tokens, tokens as u64, BySize);
        Self { tokens: (tokens > 0).then(cache) }
    }

    pub(crate) fn digest(token: &str) -> TokenDigest {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
        bytes
    }

    pub(crate) fn find(&self, digest: &TokenDigest) -> Option<Arc<Verified>> {
        self.tokens.as_ref()?.get(digest)
    }

    pub(crate) fn remember(&self, digest: TokenDigest, verified: Arc<Verified>) {
        if let Some(tokens) = &self.tokens {
            tokens.insert(digest, verified);
        }
    }

    pub(crate) fn forget(&self, digest: &TokenDigest) {
        if let Some(tokens) = &self.tokens {
            tokens.remove(digest);
        }
    }

    /// How many are remembered.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.tokens.as_ref().map_or(0, Cache::len)
    }
}

impl fmt::Debug for Remembered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Remembered")
    }
}
