//! Strict verification of signatures, with keys that are decompressed once.

use std::{fmt, sync::Arc};

use ed25519_dalek::Verifier;
use quick_cache::sync::Cache;

use super::{KeyError, PublicKey, Role, role};

/// The `y` of each point of small order, the sign of `x` left out (`EIGHT_TORSION` of
/// curve25519-dalek): orders 1, 2, 4, 8 and 8.
const SMALL_ORDER: [[u8; 32]; 5] = [
    with_ends(0x01, 0x00, 0x00),
    with_ends(0xec, 0xff, 0x7f),
    with_ends(0x00, 0x00, 0x00),
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98,
        0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53,
        0xfc, 0x05,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67,
        0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac,
        0x03, 0x7a,
    ],
];

const fn with_ends(first: u8, between: u8, last: u8) -> [u8; 32] {
    let mut bytes = [between; 32];
    bytes[0] = first;
    bytes[31] = last;
    bytes
}

/// An Ed25519 key, ready to verify signatures.
#[derive(Clone, Debug)]
pub struct Ed25519Key(ed25519_dalek::VerifyingKey);

impl Ed25519Key {
    /// The key of these bytes.
    ///
    /// # Errors
    /// If they are not a point on the curve, or a point of small order.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, KeyError> {
        let key =
            ed25519_dalek::VerifyingKey::from_bytes(bytes).map_err(|_| KeyError::NotAPoint)?;
        // RFC 8032 allows it, but a key of small order verifies forged signatures.
        if key.is_weak() {
            return Err(KeyError::NotAPoint);
        }
        Ok(Self(key))
    }

    /// True if `signature` (64 bytes) over `message` was made by this key, strictly (RFC 8032
    /// section 5.1.7, with small-order and non-canonical values refused).
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let Ok(signature) = ed25519_dalek::Signature::from_slice(signature) else { return false };
        // Together with the check of the key in `from_bytes`, these two are `verify_strict`: `verify`
        // encodes the expected R and compares bytes, so R is canonical and can only have small order
        // if it is one of eight encodings. Decompressing it to find out would cost a fifth more.
        !is_small_order(signature.r_bytes()) && self.0.verify(message, &signature).is_ok()
    }
}

/// A public nkey, decompressed and ready to verify signatures.
#[derive(Clone)]
pub struct VerifyingKey {
    text: Arc<str>,
    key: Ed25519Key,
}

impl VerifyingKey {
    pub(super) fn new(text: Arc<str>, bytes: &[u8; 32]) -> Result<Self, KeyError> {
        Ok(Self { text, key: Ed25519Key::from_bytes(bytes)? })
    }

    /// The text form of the key.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// True if `signature` over `message` was made by this key: [`Ed25519Key::verifies`].
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        self.key.verifies(message, signature)
    }
}

fn is_small_order(point: &[u8; 32]) -> bool {
    let mut y = *point;
    if let Some(last) = y.last_mut() {
        *last &= 0x7f;
    }
    SMALL_ORDER.contains(&y)
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Roles whose keys sign: all but curve keys.
pub(crate) trait Signs: Role {}

macro_rules! signs {
    ($($role:ty),*) => { $(
        impl Signs for $role {}

        impl PublicKey<$role> {
            /// Decompresses the key to verify signatures.
            ///
            /// # Errors
            /// If its bytes are not a point on the curve, or a point of small order.
            pub fn verifying(&self) -> Result<VerifyingKey, KeyError> {
                VerifyingKey::new(Arc::clone(&self.text), &self.bytes)
            }
        }
    )* };
}
signs!(role::AccountRole, role::UserRole, role::ServerRole, role::OperatorRole);

/// A bounded cache of decompressed keys.
#[derive(Debug)]
pub(crate) struct VerifyingKeys(Cache<[u8; 32], VerifyingKey>);

impl VerifyingKeys {
    pub(crate) fn new(most: usize) -> Self {
        Self(Cache::new(most))
    }

    /// Whether `key` signed `message`. Only a key with a valid signature is cached, so that invented
    /// keys cannot fill the cache without signing.
    ///
    /// # Errors
    /// If the key's bytes are not a point on the curve, or a point of small order.
    pub(crate) fn verified<R: Signs>(
        &self,
        key: &PublicKey<R>,
        message: &[u8],
        signature: &[u8],
    ) -> Result<bool, KeyError> {
        if let Some(cached) = self.0.get(key.bytes()) {
            return Ok(cached.verifies(message, signature));
        }
        let verifying = VerifyingKey::new(Arc::clone(&key.text), key.bytes())?;
        let valid = verifying.verifies(message, signature);
        if valid {
            self.0.insert(*key.bytes(), verifying);
        }
        Ok(valid)
    }
}

#[cfg(test)]
mod tests;
