//! Keys that sign bearer tokens, also such that a good provider would never sign.

use std::fmt;
use std::sync::LazyLock;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair as _, RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaEncoding, RsaKeyPair,
};
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};

/// A key pair with its id and the one algorithm that it is for.
pub struct SigningKey {
    id: String,
    algorithm: String,
    private: Private,
}

enum Private {
    Rsa(Box<RsaKeyPair>, &'static dyn RsaEncoding),
    Ec(EcdsaKeyPair, &'static str, usize),
    Ed(Ed25519KeyPair),
}

static RANDOM: LazyLock<SystemRandom> = LazyLock::new(SystemRandom::new);

impl SigningKey {
    /// A new key for one of [`super::ALGORITHMS`].
    ///
    /// # Panics
    /// For any other.
    pub fn generate(id: &str, algorithm: &str) -> Self {
        let rsa = || Box::new(RsaKeyPair::generate(KeySize::Rsa2048).expect("a key"));
        let private = match algorithm {
            "RS256" => Private::Rsa(rsa(), &RSA_PKCS1_SHA256),
            "PS256" => Private::Rsa(rsa(), &RSA_PSS_SHA256),
            "ES256" => {
                let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING);
                Private::Ec(pair.expect("a key"), "P-256", 32)
            }
            "ES384" => {
                let pair = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING);
                Private::Ec(pair.expect("a key"), "P-384", 48)
            }
            "EdDSA" => Private::Ed(Ed25519KeyPair::generate().expect("a key")),
            other => panic!("no key can be made for {other}"),
        };
        SigningKey { id: id.to_owned(), algorithm: algorithm.to_owned(), private }
    }

    /// What it signs with.
    pub fn algorithm(&self) -> &str {
        &self.algorithm
    }

    /// The public key.
    pub fn jwk(&self) -> Value {
        let mut jwk = match &self.private {
            Private::Rsa(pair, _) => {
                let public = pair.public_key();
                let n = text(public.modulus().big_endian_without_leading_zero());
                let e = text(public.exponent().big_endian_without_leading_zero());
                json!({ "kty": "RSA", "n": n, "e": e })
            }
            Private::Ec(pair, curve, size) => {
                let (x, y) = pair.public_key().as_ref()[1..].split_at(*size);
                json!({ "kty": "EC", "crv": curve, "x": text(x), "y": text(y) })
            }
            Private::Ed(pair) => {
                json!({ "kty": "OKP", "crv": "Ed25519", "x": text(pair.public_key().as_ref()) })
            }
        };
        jwk["kid"] = json!(self.id);
        jwk["alg"] = json!(self.algorithm);
        jwk["use"] = json!("sig");
        jwk
    }

    /// A token with the header that belongs to it.
    pub fn token(&self, claims: &Value) -> String {
        let header = json!({ "typ": "at+jwt", "alg": self.algorithm, "kid": self.id });
        self.token_with(&header, claims)
    }

    /// A token with any header.
    pub fn token_with(&self, header: &Value, claims: &Value) -> String {
        let part = |value: &Value| text(value.to_string().as_bytes());
        let signed = format!("{}.{}", part(header), part(claims));
        let signature = self.sign(signed.as_bytes());
        format!("{signed}.{}", text(&signature))
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        match &self.private {
            Private::Rsa(pair, encoding) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(*encoding, &*RANDOM, message, &mut signature).expect("it signs");
                signature
            }
            Private::Ec(pair, ..) => {
                pair.sign(&*RANDOM, message).expect("it signs").as_ref().to_vec()
            }
            Private::Ed(pair) => pair.sign(message).as_ref().to_vec(),
        }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SigningKey").field(&self.id).finish()
    }
}

fn text(bytes: &[u8]) -> String {
    BASE64URL_NOPAD.encode(bytes)
}
