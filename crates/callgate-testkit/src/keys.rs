//! Throw-away nkeys and curve keys, made with the `nkeys` crate.

use std::fmt;

use nkeys::{KeyPair, XKey};

/// An Ed25519 nkey with its seed. `Debug` shows the public key only.
#[derive(Clone)]
pub struct Nkey {
    pair: KeyPair,
}

impl Nkey {
    /// A new account key (`A…`, seed `SA…`).
    pub fn account() -> Self {
        Nkey { pair: KeyPair::new_account() }
    }

    /// A new user key (`U…`, seed `SU…`).
    pub fn user() -> Self {
        Nkey { pair: KeyPair::new_user() }
    }

    /// A new server key (`N…`, seed `SN…`).
    pub fn server() -> Self {
        Nkey { pair: KeyPair::new_server() }
    }

    /// A new operator key (`O…`, seed `SO…`).
    pub fn operator() -> Self {
        Nkey { pair: KeyPair::new_operator() }
    }

    /// The key of a seed.
    ///
    /// # Panics
    /// If the seed is invalid.
    pub fn from_seed(seed: &str) -> Self {
        Nkey { pair: KeyPair::from_seed(seed).expect("a seed") }
    }

    /// The public key.
    pub fn public(&self) -> String {
        self.pair.public_key()
    }

    /// The seed.
    pub fn seed(&self) -> String {
        self.pair.seed().expect("made from a seed")
    }

    /// The 64 bytes of a signature.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.pair.sign(message).expect("made from a seed")
    }
}

impl fmt::Debug for Nkey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Nkey").field(&self.public()).finish()
    }
}

/// An X25519 curve key (`X…`, seed `SX…`). `Debug` shows the public key only.
#[derive(Clone)]
pub struct CurveKey {
    key: XKey,
}

impl CurveKey {
    /// A new key.
    pub fn generate() -> Self {
        CurveKey { key: XKey::new() }
    }

    /// The key of a seed.
    ///
    /// # Panics
    /// If the seed is invalid.
    pub fn from_seed(seed: &str) -> Self {
        CurveKey { key: XKey::from_seed(seed).expect("a curve seed") }
    }

    /// The public key.
    pub fn public(&self) -> String {
        self.key.public_key()
    }

    /// The seed.
    pub fn seed(&self) -> String {
        self.key.seed().expect("made from a seed")
    }

    /// Seals for the holder of a public curve key (`xkv1…`).
    ///
    /// # Panics
    /// If `recipient` is not a curve key.
    pub fn seal(&self, message: &[u8], recipient: &str) -> Vec<u8> {
        let recipient = XKey::from_public_key(recipient).expect("a public curve key");
        self.key.seal(message, &recipient).expect("sealing works")
    }

    /// Opens what the holder of a public curve key sealed for this one; `None` if it does not open.
    pub fn open(&self, sealed: &[u8], sender: &str) -> Option<Vec<u8>> {
        let sender = XKey::from_public_key(sender).ok()?;
        self.key.open(sealed, &sender).ok()
    }
}

impl fmt::Debug for CurveKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CurveKey").field(&self.public()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_round_trips_through_its_seed_and_hides_it() {
        for (key, prefix) in [
            (Nkey::account(), 'A'),
            (Nkey::user(), 'U'),
            (Nkey::server(), 'N'),
            (Nkey::operator(), 'O'),
        ] {
            assert!(key.public().starts_with(prefix));
            assert_eq!(Nkey::from_seed(&key.seed()).public(), key.public());
            assert!(!format!("{key:?}").contains(&key.seed()));
        }
    }

    #[test]
    fn only_the_recipient_opens_a_box() {
        let [sender, recipient, stranger] = [(); 3].map(|()| CurveKey::generate());
        let sealed = sender.seal(b"hello", &recipient.public());
        assert_eq!(recipient.open(&sealed, &sender.public()).as_deref(), Some(&b"hello"[..]));
        assert_eq!(stranger.open(&sealed, &sender.public()), None);
    }
}
