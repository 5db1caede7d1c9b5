//! Signing with an nkey.

use std::fmt;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use zeroize::Zeroizing;

use super::{AccountKey, KeyError, KeyKind, Seed, encode_public, encode_seed};
use crate::secret::{NoRandomness, Secret};

/// Signing failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("signing failed: {0}")]
pub struct SignError(pub String);

/// Signs user JWTs and replies: a seed in memory ([`AccountSigner`]), or your own implementation.
///
/// Called twice for each reply, on the deciding thread: it must not block for long.
pub trait Signer: fmt::Debug + Send + Sync + 'static {
    /// The public key that verifies the signatures.
    fn public_key(&self) -> &AccountKey;

    /// The Ed25519 signature (64 bytes) over `message`.
    ///
    /// # Errors
    /// If the key cannot be used now. The client is then refused with `backend_unavailable`.
    fn sign(&self, message: &[u8]) -> Result<[u8; 64], SignError>;
}

/// A private signing key of any kind but curve.
pub struct KeyPair {
    kind: KeyKind,
    seed: Zeroizing<[u8; 32]>,
    key: Ed25519KeyPair,
}

impl KeyPair {
    /// A new key from the system's random numbers.
    ///
    /// # Errors
    /// If the system has no random numbers, or `kind` is [`KeyKind::Curve`], which cannot sign.
    pub fn generate(kind: KeyKind) -> Result<Self, KeyError> {
        let mut seed = Zeroizing::new([0u8; 32]);
        aws_lc_rs::rand::fill(seed.as_mut()).map_err(|_| NoRandomness)?;
        Self::new(kind, seed)
    }

    /// The key of a seed.
    ///
    /// # Errors
    /// If it is the seed of a curve key, which cannot sign.
    pub fn from_seed(seed: Seed) -> Result<Self, KeyError> {
        Self::new(seed.kind, seed.bytes)
    }

    fn new(kind: KeyKind, seed: Zeroizing<[u8; 32]>) -> Result<Self, KeyError> {
        if kind == KeyKind::Curve {
            return Err(KeyError::WrongKind {
                found: "a curve seed (SX…), which encrypts".to_owned(),
                wanted: "a seed of a signing key (SA…, SU…)".to_owned(),
            });
        }
        let key =
            Ed25519KeyPair::from_seed_unchecked(seed.as_ref()).map_err(|_| KeyError::NotAPoint)?;
        Ok(Self { kind, seed, key })
    }

    /// The kind of key.
    pub fn kind(&self) -> KeyKind {
        self.kind
    }

    /// The public key's text.
    pub fn public_key(&self) -> String {
        let mut bytes = [0u8; 32];
        bytes.copy_from_slice(self.key.public_key().as_ref());
        encode_public(self.kind, &bytes)
    }

    /// The seed's text.
    pub fn seed(&self) -> Secret {
        encode_seed(self.kind, &self.seed)
    }

    /// The Ed25519 signature over `message`.
    ///
    /// # Errors
    /// If the cryptographic library fails.
    pub fn sign(&self, message: &[u8]) -> Result<[u8; 64], SignError> {
        let failed = || SignError("the cryptographic library failed".to_owned());
        let signature = self.key.try_sign(message).map_err(|_| failed())?;
        signature.as_ref().try_into().map_err(|_| failed())
    }
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyPair({})", self.public_key())
    }
}

/// An account's private key, in memory.
pub struct AccountSigner {
    public: AccountKey,
    key: KeyPair,
}

impl AccountSigner {
    /// The signer of an account seed (`SA…`).
    ///
    /// # Errors
    /// If the text is anything else, says what it is.
    pub fn from_seed(seed: &Secret) -> Result<Self, KeyError> {
        Seed::find(seed.expose())?.try_into()
    }

    /// A new key from the system's random numbers.
    ///
    /// # Errors
    /// If the system has none.
    pub fn generate() -> Result<Self, KeyError> {
        Self::new(KeyPair::generate(KeyKind::Account)?)
    }

    fn new(key: KeyPair) -> Result<Self, KeyError> {
        Ok(Self { public: key.public_key().parse()?, key })
    }

    /// The seed's text.
    pub fn seed(&self) -> Secret {
        self.key.seed()
    }
}

impl TryFrom<Seed> for AccountSigner {
    type Error = KeyError;

    fn try_from(seed: Seed) -> Result<Self, KeyError> {
        Self::new(KeyPair::new(KeyKind::Account, seed.expect(KeyKind::Account)?)?)
    }
}

impl Signer for AccountSigner {
    fn public_key(&self) -> &AccountKey {
        &self.public
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64], SignError> {
        self.key.sign(message)
    }
}

impl fmt::Debug for AccountSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AccountSigner({})", self.public)
    }
}
