//! An issuer's keys and tokens, for tests.

use std::sync::LazyLock;

use aws_lc_rs::{
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
        Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512,
        RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512, RsaKeyPair,
    },
};
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};

use crate::jws::Algorithm;

/// A signing key with its id.
pub(crate) struct TestKey {
    pub(crate) id: String,
    private: Private,
}

enum Private {
    // Generating a key is slow, so all tests share one.
    Rsa(&'static RsaKeyPair),
    Ec(Algorithm, EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

static RSA: LazyLock<RsaKeyPair> =
    LazyLock::new(|| RsaKeyPair::generate(KeySize::Rsa2048).unwrap());

impl TestKey {
    pub(crate) fn new(id: &str, algorithm: Algorithm) -> Self {
        let private = match algorithm {
            Algorithm::Es256 => Private::Ec(
                algorithm,
                EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap(),
            ),
            Algorithm::Es384 => Private::Ec(
                algorithm,
                EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap(),
            ),
            Algorithm::EdDsa => Private::Ed(Ed25519KeyPair::generate().unwrap()),
            Algorithm::Rs256
            | Algorithm::Rs384
            | Algorithm::Rs512
            | Algorithm::Ps256
            | Algorithm::Ps384
            | Algorithm::Ps512 => Private::Rsa(&RSA),
        };
        Self { id: id.to_owned(), private }
    }

    /// The public key, without `alg`.
    pub(crate) fn jwk(&self) -> Value {
        let text = |bytes: &[u8]| BASE64URL_NOPAD.encode(bytes);
        let id = &self.id;
        match &self.private {
            Private::Rsa(pair) => {
                let public = pair.public_key();
                let n = text(public.modulus().big_endian_without_leading_zero());
                let e = text(public.exponent().big_endian_without_leading_zero());
                json!({"kty": "RSA", "use": "sig", "kid": id, "n": n, "e": e})
            }
            Private::Ec(algorithm, pair) => {
                let curve = if *algorithm == Algorithm::Es256 { "P-256" } else { "P-384" };
                let (x, y) = pair.public_key().as_ref()[1..]
                    .split_at(if *algorithm == Algorithm::Es256 { 32 } else { 48 });
                json!({"kty": "EC", "crv": curve, "kid": id, "x": text(x), "y": text(y)})
            }
            Private::Ed(pair) => {
                let x = text(pair.public_key().as_ref());
                json!({"kty": "OKP", "crv": "Ed25519", "kid": id, "x": x})
            }
        }
    }

    /// The algorithm of tokens that name none.
    pub(crate) fn algorithm(&self) -> Algorithm {
        match &self.private {
            Private::Rsa(_) => Algorithm::Rs256,
            Private::Ec(algorithm, _) => *algorithm,
            Private::Ed(_) => Algorithm::EdDsa,
        }
    }

    pub(crate) fn sign(&self, algorithm: Algorithm, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.private {
            Private::Rsa(pair) => {
                let padding: &dyn aws_lc_rs::signature::RsaEncoding = match algorithm {
                    Algorithm::Rs256 => &RSA_PKCS1_SHA256,
                    Algorithm::Rs384 => &RSA_PKCS1_SHA384,
                    Algorithm::Rs512 => &RSA_PKCS1_SHA512,
                    Algorithm::Ps256 => &RSA_PSS_SHA256,
                    Algorithm::Ps384 => &RSA_PSS_SHA384,
                    Algorithm::Ps512 => &RSA_PSS_SHA512,
                    Algorithm::Es256 | Algorithm::Es384 | Algorithm::EdDsa => panic!("not RSA"),
                };
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(padding, &random, message, &mut signature).unwrap();
                signature
            }
            Private::Ec(_, pair) => pair.sign(&random, message).unwrap().as_ref().to_vec(),
            Private::Ed(pair) => pair.sign(message).as_ref().to_vec(),
        }
    }

    /// A token with these claims and a matching header.
    pub(crate) fn token(&self, claims: &Value) -> String {
        let algorithm = self.algorithm();
        let header = json!({"typ": "JWT", "alg": algorithm.as_str(), "kid": self.id});
        self.token_with(&header.to_string(), &claims.to_string())
    }

    /// A token with any header and claims, signed with this key's own algorithm.
    pub(crate) fn token_with(&self, header: &str, claims: &str) -> String {
        self.token_by(self.algorithm(), header, claims)
    }

    pub(crate) fn token_by(&self, algorithm: Algorithm, header: &str, claims: &str) -> String {
        let text = |bytes: &[u8]| BASE64URL_NOPAD.encode(bytes);
        let signed = format!("{}.{}", text(header.as_bytes()), text(claims.as_bytes()));
        let signature = self.sign(algorithm, signed.as_bytes());
        format!("{signed}.{}", text(&signature))
    }
}

/// A key set of these keys.
pub(crate) fn key_set(keys: &[&TestKey]) -> String {
    let keys: Vec<_> = keys.iter().map(|key| key.jwk()).collect();
    json!({ "keys": keys }).to_string()
}
