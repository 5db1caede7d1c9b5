//! A public key made ready for one algorithm, so that it is parsed and judged once.

use std::fmt;

use aws_lc_rs::signature::{
    self, EcdsaVerificationAlgorithm, ParsedPublicKey, RsaParameters, RsaPublicKeyComponents,
};
use callgate::keys::Ed25519Key;

use super::{Algorithm, roca::is_roca};

/// Why a public key is not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    /// The algorithm is for another kind of key.
    #[error("its kind of key cannot be used with that algorithm")]
    Mismatch,
    /// Too small to be safe, or too large to be fast.
    #[error("an RSA modulus must have 2048 to 8192 bits")]
    ModulusSize,
    /// An even modulus has a factor that everybody knows.
    #[error("its RSA modulus is even")]
    EvenModulus,
    /// 1 signs nothing, an even one is impossible, a huge one is slow.
    #[error("an RSA exponent must be odd, at least 3 and below 2^32")]
    Exponent,
    /// Made by a library whose keys can be factored.
    #[error("its RSA key can be factored (ROCA, CVE-2017-15361): replace it at the provider")]
    Roca,
    /// Coordinates that are short, long, or no point of the curve.
    #[error("it is not a point of its curve in full-length coordinates")]
    Point,
    /// The library does not take it.
    #[error("the cryptographic library refuses it")]
    Refused,
}

/// Checks signatures of one algorithm by one key.
pub struct Verifier {
    algorithm: Algorithm,
    key: Key,
}

enum Key {
    Parsed(Box<ParsedPublicKey>),
    Ed25519(Box<Ed25519Key>),
}

impl Verifier {
    /// For an RSA key of this modulus and exponent, big-endian.
    ///
    /// # Errors
    /// If the numbers are none of a safe key, or the algorithm is not one of RSA.
    pub fn rsa(algorithm: Algorithm, n: &[u8], e: &[u8]) -> Result<Self, BadKey> {
        let parameters = rsa_parameters(algorithm).ok_or(BadKey::Mismatch)?;
        let (n, e) = (without_leading_zeros(n), without_leading_zeros(e));
        check_rsa(n, e)?;
        let parsed = RsaPublicKeyComponents { n, e }.to_parsed_public_key(parameters);
        Ok(Self { algorithm, key: Key::Parsed(Box::new(parsed.map_err(|_| BadKey::Refused)?)) })
    }

    /// For a point of the algorithm's curve, each coordinate in its full length (RFC 7518 section
    /// 6.2.1.2).
    ///
    /// # Errors
    /// If it is no such point, or the algorithm is not one of ECDSA.
    pub fn ec(algorithm: Algorithm, x: &[u8], y: &[u8]) -> Result<Self, BadKey> {
        let (parameters, length) = ec_parameters(algorithm).ok_or(BadKey::Mismatch)?;
        if x.len() != length || y.len() != length {
            return Err(BadKey::Point);
        }
        let point = [&[4], x, y].concat();
        let parsed = ParsedPublicKey::new(parameters, point).map_err(|_| BadKey::Point)?;
        Ok(Self { algorithm, key: Key::Parsed(Box::new(parsed)) })
    }

    /// For an Ed25519 key.
    ///
    /// # Errors
    /// If the bytes are no point of the curve, or one of small order, which verifies what nobody
    /// signed.
    pub fn ed25519(x: &[u8]) -> Result<Self, BadKey> {
        let bytes = x.try_into().map_err(|_| BadKey::Point)?;
        let key = Ed25519Key::from_bytes(bytes).map_err(|_| BadKey::Point)?;
        Ok(Self { algorithm: Algorithm::EdDsa, key: Key::Ed25519(Box::new(key)) })
    }

    /// The one algorithm.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// True if this key made `signature` over `message`. Ed25519 is checked strictly: small-order
    /// and non-canonical values are refused.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.key {
            Key::Parsed(key) => key.verify_sig(message, signature).is_ok(),
            Key::Ed25519(key) => key.verifies(message, signature),
        }
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Verifier({})", self.algorithm)
    }
}

fn rsa_parameters(algorithm: Algorithm) -> Option<&'static RsaParameters> {
    match algorithm {
        Algorithm::Rs256 => Some(&signature::RSA_PKCS1_2048_8192_SHA256),
        Algorithm::Rs384 => Some(&signature::RSA_PKCS1_2048_8192_SHA384),
        Algorithm::Rs512 => Some(&signature::RSA_PKCS1_2048_8192_SHA512),
        Algorithm::Ps256 => Some(&signature::RSA_PSS_2048_8192_SHA256),
        Algorithm::Ps384 => Some(&signature::RSA_PSS_2048_8192_SHA384),
        Algorithm::Ps512 => Some(&signature::RSA_PSS_2048_8192_SHA512),
        Algorithm::Es256 | Algorithm::Es384 | Algorithm::EdDsa => None,
    }
}

/// The curve and hash, and the length of a coordinate.
fn ec_parameters(algorithm: Algorithm) -> Option<(&'static EcdsaVerificationAlgorithm, usize)> {
    match algorithm {
        Algorithm::Es256 => Some((&signature::ECDSA_P256_SHA256_FIXED, 32)),
        Algorithm::Es384 => Some((&signature::ECDSA_P384_SHA384_FIXED, 48)),
        Algorithm::Rs256
        | Algorithm::Rs384
        | Algorithm::Rs512
        | Algorithm::Ps256
        | Algorithm::Ps384
        | Algorithm::Ps512
        | Algorithm::EdDsa => None,
    }
}

// RFC 7518 section 2 wants the shortest form; some providers add the sign byte of ASN.1.
fn without_leading_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeros..).unwrap_or_default()
}

fn check_rsa(n: &[u8], e: &[u8]) -> Result<(), BadKey> {
    let bits = n.len() * 8 - n.first().map_or(0, |first| first.leading_zeros() as usize);
    if !(2048..=8192).contains(&bits) {
        return Err(BadKey::ModulusSize);
    }
    let is_even = |number: &[u8]| number.last().is_none_or(|last| last % 2 == 0);
    if is_even(n) {
        return Err(BadKey::EvenModulus);
    }
    if is_even(e) || e == [1] || e.len() > 4 {
        return Err(BadKey::Exponent);
    }
    match is_roca(n) {
        true => Err(BadKey::Roca),
        false => Ok(()),
    }
}
