//! Curve keys (xkeys), which seal and open the messages between server and callout.
//!
//! The form is `xkv1`, a nonce of 24 bytes, and an XSalsa20-Poly1305 box under the X25519 shared
//! key (nats-io/nkeys `xkeys.go`, the same as NaCl's `crypto_box`).

use std::fmt;

use dryoc::classic::{crypto_box, crypto_core::crypto_scalarmult_base};
use zeroize::Zeroizing;

use super::{CurvePublicKey, KeyError, KeyKind, Seed, encode_seed};
use crate::secret::{NoRandomness, Secret, Wiped};

const VERSION: &[u8; 4] = b"xkv1";
const NONCE_BYTES: usize = 24;
const MAC_BYTES: usize = 16;

/// Why a message could not be opened or sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CurveError {
    /// It does not begin with `xkv1`, or is too short.
    #[error("this is not an encrypted message of version xkv1")]
    NotSealed,
    /// Sealed for another key, or modified in transit.
    #[error("the message cannot be opened with this key")]
    DoesNotOpen,
    /// The other side's key would make the shared key predictable.
    #[error("the other side's curve key is not acceptable")]
    BadPeer,
    /// No random numbers for the nonce.
    #[error("the system has no random numbers")]
    NoRandomness,
}

/// Whether `message` has the form of a sealed message.
pub(crate) fn is_sealed(message: &[u8]) -> bool {
    message.starts_with(VERSION)
}

/// The private half of an xkey.
pub struct CurveKey {
    public: CurvePublicKey,
    secret: Zeroizing<[u8; 32]>,
}

impl CurveKey {
    /// The key of a curve seed (`SX…`).
    ///
    /// # Errors
    /// If the text is anything else, says what it is.
    pub fn from_seed(seed: &Secret) -> Result<Self, KeyError> {
        Seed::find(seed.expose())?.try_into()
    }

    /// Generates a key.
    ///
    /// # Errors
    /// If the system has no random numbers.
    pub fn generate() -> Result<Self, KeyError> {
        let mut secret = Zeroizing::new([0u8; 32]);
        aws_lc_rs::rand::fill(secret.as_mut()).map_err(|_| NoRandomness)?;
        Ok(Self::new(secret))
    }

    fn new(secret: Zeroizing<[u8; 32]>) -> Self {
        let mut public = [0u8; 32];
        crypto_scalarmult_base(&mut public, &secret);
        Self { public: CurvePublicKey::from_bytes(public), secret }
    }

    /// The public half.
    pub fn public_key(&self) -> &CurvePublicKey {
        &self.public
    }

    /// The seed's text.
    pub fn seed(&self) -> Secret {
        encode_seed(KeyKind::Curve, &self.secret)
    }

    /// The key shared with `peer`. This is the expensive step, so cache it per peer.
    ///
    /// # Errors
    /// If `peer` is a key of small order.
    pub fn shared_with(&self, peer: &CurvePublicKey) -> Result<SharedKey, CurveError> {
        crypto_box::crypto_box_beforenm(peer.bytes(), &self.secret)
            .map(|key| SharedKey(Zeroizing::new(key)))
            .map_err(|_| CurveError::BadPeer)
    }
}

impl TryFrom<Seed> for CurveKey {
    type Error = KeyError;

    fn try_from(seed: Seed) -> Result<Self, KeyError> {
        Ok(Self::new(seed.expect(KeyKind::Curve)?))
    }
}

impl fmt::Debug for CurveKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CurveKey({})", self.public)
    }
}

/// The key that two curve keys share, which seals and opens messages.
#[derive(Clone)]
pub struct SharedKey(Zeroizing<[u8; 32]>);

impl SharedKey {
    /// Opens a sealed message.
    ///
    /// # Errors
    /// If it is not a sealed message, or not for this key.
    pub fn open(&self, message: &[u8]) -> Result<Wiped, CurveError> {
        let sealed = message.strip_prefix(VERSION).ok_or(CurveError::NotSealed)?;
        let (nonce, sealed) =
            sealed.split_first_chunk::<NONCE_BYTES>().ok_or(CurveError::NotSealed)?;
        let length = sealed.len().checked_sub(MAC_BYTES).ok_or(CurveError::NotSealed)?;
        let mut plain = vec![0; length];
        crypto_box::crypto_box_open_easy_afternm(&mut plain, sealed, nonce, &self.0)
            .map_err(|_| CurveError::DoesNotOpen)?;
        Ok(plain.into())
    }

    /// Seals a message with a fresh random nonce.
    ///
    /// # Errors
    /// If the system has no random numbers.
    pub fn seal(&self, message: &[u8]) -> Result<Vec<u8>, CurveError> {
        let mut nonce = [0u8; NONCE_BYTES];
        aws_lc_rs::rand::fill(&mut nonce).map_err(|_| CurveError::NoRandomness)?;
        let head = VERSION.len() + NONCE_BYTES;
        let mut out = Vec::with_capacity(head + MAC_BYTES + message.len());
        out.extend_from_slice(VERSION);
        out.extend_from_slice(&nonce);
        out.resize(head + MAC_BYTES + message.len(), 0);
        let (_, body) = out.split_at_mut(head);
        crypto_box::crypto_box_easy_afternm(body, message, &nonce, &self.0)
            .map_err(|_| CurveError::NotSealed)?;
        Ok(out)
    }
}

impl fmt::Debug for SharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedKey([redacted])")
    }
}
