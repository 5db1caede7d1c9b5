//! Secrets that cannot be printed by accident and are zeroed when dropped.

use std::{fmt, mem, ops::Deref};

use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// The system's random number generator failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the system has no random numbers")]
pub struct NoRandomness;

/// A password, token or seed. `Debug` shows `[redacted]`; there is no `Display`.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// A new random password of 160 bits, as 40 letters from `a` to `p`.
    ///
    /// Without digits, it can be used unquoted in a nats-server.conf, in YAML or as a variable.
    /// nats-server before 2.15 misreads an unquoted `$PASSWORD` whose value is `3k4…` or `12e5…`: it
    /// parses a number with a suffix, and fails.
    ///
    /// # Errors
    /// If the system has no random numbers.
    pub fn random() -> Result<Self, NoRandomness> {
        let mut bytes = Zeroizing::new([0u8; 20]);
        aws_lc_rs::rand::fill(bytes.as_mut()).map_err(|_| NoRandomness)?;
        let letter = |half: u8| char::from(b'a' + half);
        Ok(Self(bytes.iter().flat_map(|byte| [letter(byte >> 4), letter(byte & 0xF)]).collect()))
    }

    /// The text. The name stands out in a review.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether the text is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Compares in time that depends only on the lengths.
    pub fn matches(&self, other: &str) -> bool {
        self.0.as_bytes().ct_eq(other.as_bytes()).into()
    }
}

impl Zeroize for Secret {
    fn zeroize(&mut self) {
        wipe(&mut mem::take(&mut self.0).into_bytes());
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.zeroize();
    }
}

impl ZeroizeOnDrop for Secret {}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

/// Bytes that contain secrets, zeroed when dropped. `Debug` does not show them.
pub struct Wiped(Vec<u8>);

impl From<Vec<u8>> for Wiped {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl Deref for Wiped {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.0
    }
}

impl AsRef<[u8]> for Wiped {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Wiped {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

impl ZeroizeOnDrop for Wiped {}

impl fmt::Debug for Wiped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Overwrites the whole allocation. `Zeroize` does so byte by byte, which takes as long as decrypting
/// a request; this is one `memset` that the compiler cannot remove.
fn wipe(bytes: &mut Vec<u8>) {
    bytes.clear();
    bytes.resize(bytes.capacity(), 0);
    zeroize::optimization_barrier(bytes.as_slice());
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn debug_never_shows_the_secret() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "[redacted]");
    }

    #[test]
    fn random_passwords_are_letters_only() {
        let mut seen = HashSet::new();
        for _ in 0..10_000 {
            let password = Secret::random().unwrap();
            assert_eq!(password.expose().len(), 40);
            assert!(password.expose().chars().all(|c| ('a'..='p').contains(&c)));
            seen.extend(password.expose().char_indices());
        }
        assert_eq!(seen.len(), 40 * 16, "every letter occurs at every position");
    }

    #[test]
    fn wiping_overwrites_the_whole_allocation() {
        let mut bytes = Vec::with_capacity(100);
        bytes.extend_from_slice(&[7; 64]);
        bytes.truncate(3);
        let address = bytes.as_ptr();
        wipe(&mut bytes);
        assert_eq!((bytes.as_ptr(), bytes.len()), (address, bytes.capacity()), "not reallocated");
        assert!(bytes.iter().all(|byte| *byte == 0));
        let mut secret = Secret::new("hunter2");
        secret.zeroize();
        assert!(secret.is_empty());
    }

    #[test]
    fn comparison_is_exact() {
        assert!(Secret::new("abc").matches("abc"));
        for other in ["", "ab", "abcd", "ABC"] {
            assert!(!Secret::new("abc").matches(other));
        }
    }
}
