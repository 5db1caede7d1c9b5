//! The bare cryptography that a decision cannot do without.

use std::{collections::BTreeMap, hint::black_box, time::Duration};

use aws_lc_rs::{
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
        KeyPair as _, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RsaKeyPair,
    },
};
use callgate::{
    clock::UnixTime,
    draft::{MadeUpServer, Presented, RequestDraft},
    keys::{CurveKey, KeyKind, KeyPair, ServerKey, SharedKey, VerifyingKey},
    secret::Secret,
};

use crate::{Failure, cpu::thread_time};

/// The length of a signed answer, in bytes; a user JWT is about half of it.
const ANSWER: usize = 1400;
/// The length of what a bearer token's signature covers, in bytes.
const TOKEN: usize = 250;

/// One operation, again and again.
type Operation = Box<dyn FnMut() -> Result<(), Failure>>;

/// Operations, timed in turn so that all have the same weather; the best round of each counts.
pub(crate) struct Floor {
    operations: Vec<(&'static str, Operation)>,
    best: BTreeMap<&'static str, f64>,
}

impl Floor {
    /// Prepares keys and messages of the usual size.
    pub(crate) fn new() -> Result<Self, Failure> {
        let xkey = CurveKey::generate()?;
        let server = MadeUpServer::new()?;
        let issuer = callgate::keys::AccountSigner::generate()?;
        let presented =
            Presented { token: Some(Secret::new("t".repeat(40))), ..Presented::default() };
        let issuer = callgate::keys::Signer::public_key(&issuer).clone();
        let draft = RequestDraft::new(presented);
        let request = draft.sign_as(&server, &issuer, Some(xkey.public_key()), UnixTime::now())?;
        let shared = xkey.shared_with(server.xkey().public_key())?;
        let plain = shared.open(&request.payload)?.to_vec();
        let server_key: ServerKey = server.id().parse()?;
        let operations = vec![
            ("verify", verify_request(&plain, server_key.verifying()?)?),
            ("sign", sign()?),
            ("open", open(shared.clone(), request.payload)),
            ("seal", seal(shared)),
            ("RS256", rs256()?),
            ("ES256", es256()?),
            ("EdDSA", eddsa()?),
        ];
        Ok(Self { operations, best: BTreeMap::new() })
    }

    /// Times each operation once more.
    pub(crate) fn round(&mut self, count: usize) -> Result<(), Failure> {
        for (name, operation) in &mut self.operations {
            let started = thread_time();
            for _ in 0..count {
                operation()?;
            }
            let each = micros(thread_time().saturating_sub(started), count);
            let best = self.best.entry(name).or_insert(f64::MAX);
            *best = best.min(each);
        }
        Ok(())
    }

    /// Microseconds of one operation.
    pub(crate) fn of(&self, name: &str) -> f64 {
        self.best.get(name).copied().unwrap_or_default()
    }

    /// What every decision needs: the request opened and verified, two signatures, the answer
    /// sealed.
    pub(crate) fn sum(&self) -> f64 {
        self.of("verify") + 2.0 * self.of("sign") + self.of("open") + self.of("seal")
    }

    /// All operations.
    pub(crate) fn all(&self) -> &BTreeMap<&'static str, f64> {
        &self.best
    }
}

/// Microseconds for each of `count`.
pub(crate) fn micros(spent: Duration, count: usize) -> f64 {
    spent.as_secs_f64() * 1e6 / count.max(1) as f64
}

fn verify_request(plain: &[u8], key: VerifyingKey) -> Result<Operation, Failure> {
    let text = std::str::from_utf8(plain)?;
    let (signed, signature) = text.rsplit_once('.').ok_or("no JWT")?;
    let signature = data_encoding::BASE64URL_NOPAD.decode(signature.as_bytes())?;
    let signed = signed.as_bytes().to_vec();
    Ok(Box::new(move || good(key.verifies(black_box(&signed), &signature))))
}

fn good(valid: bool) -> Result<(), Failure> {
    if valid { Ok(()) } else { Err("a signature is not valid".into()) }
}

fn sign() -> Result<Operation, Failure> {
    let key = Ed25519KeyPair::generate()?;
    // Half the length of an answer with a user JWT in it: two signatures cover both.
    let message = vec![b'x'; ANSWER * 3 / 4];
    Ok(Box::new(move || {
        black_box(key.sign(black_box(&message)));
        Ok(())
    }))
}

fn open(shared: SharedKey, sealed: Vec<u8>) -> Operation {
    Box::new(move || shared.open(black_box(&sealed)).map(drop).map_err(Into::into))
}

fn seal(shared: SharedKey) -> Operation {
    let answer = vec![b'x'; ANSWER];
    Box::new(move || shared.seal(black_box(&answer)).map(drop).map_err(Into::into))
}

fn rs256() -> Result<Operation, Failure> {
    let pair = RsaKeyPair::generate(KeySize::Rsa2048)?;
    let mut signature = vec![0; pair.public_modulus_len()];
    let message = vec![b'x'; TOKEN];
    pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), &message, &mut signature)?;
    let public = pair.public_key().as_ref();
    let key = ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, public)?;
    Ok(Box::new(move || Ok(key.verify_sig(black_box(&message), &signature)?)))
}

fn es256() -> Result<Operation, Failure> {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?;
    let message = vec![b'x'; TOKEN];
    let signature = pair.sign(&SystemRandom::new(), &message)?;
    let key = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, pair.public_key().as_ref())?;
    Ok(Box::new(move || Ok(key.verify_sig(black_box(&message), signature.as_ref())?)))
}

/// By the same library as the request: a key that is already parsed.
fn eddsa() -> Result<Operation, Failure> {
    let pair = KeyPair::generate(KeyKind::Server)?;
    let message = vec![b'x'; TOKEN];
    let signature = pair.sign(&message)?;
    let key = pair.public_key().parse::<ServerKey>()?.verifying()?;
    Ok(Box::new(move || good(key.verifies(black_box(&message), &signature))))
}
