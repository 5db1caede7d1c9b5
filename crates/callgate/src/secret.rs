//! A secret text that cannot be printed by accident and is wiped when it is dropped.

use std::fmt;

use data_encoding::BASE32_NOPAD;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::keys::KeyError;

/// A password, token or seed. `Debug` shows `[redacted]`; there is no `Display`.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Secret(String);

impl Secret {
    /// Takes a secret text into care.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// A new random password of 160 bits, as 32 lower-case letters and digits.
    ///
    /// # Errors
    /// If the system has no random numbers.
    pub fn random() -> Result<Self, KeyError> {
        let mut bytes = Zeroizing::new([0u8; 20]);
        aws_lc_rs::rand::fill(bytes.as_mut()).map_err(|_| KeyError::NoRandomness)?;
        Ok(Self(BASE32_NOPAD.encode(bytes.as_ref()).to_ascii_lowercase()))
    }

    /// The text itself. The name is long enough to be seen in a review.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// True if there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Compares in a time that depends on the lengths only.
    pub fn matches(&self, other: &str) -> bool {
        self.0.as_bytes().ct_eq(other.as_bytes()).into()
    }
}

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

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_never_shows_the_secret() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "[redacted]");
    }

    #[test]
    fn comparison_is_exact() {
        assert!(Secret::new("abc").matches("abc"));
        for other in ["", "ab", "abcd", "ABC"] {
            assert!(!Secret::new("abc").matches(other));
        }
    }
}
