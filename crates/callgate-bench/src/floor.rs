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
    keys::{CurveKey, KeyKind, KeyPair, ServerKey, SharedKey, VerifyingKey},
    simulation::SimulatedServer,
};

use callgate_testkit::cpu::thread_time;

use crate::Failure;

/// The length of a signed answer, in bytes; a user JWT is about half of it.
const ANSWER: usize = 1400;
/// The length of what a bearer token's signature covers, in bytes.
const TOKEN: usize = 250;

/// One operation, again and again.
pub(crate) type Operation = Box<dyn FnMut() -> Result<(), Failure>>;

/// Operations, timed in turn so that all run under the same conditions.
pub(crate) struct Floor {
    operations: Vec<(&'static str, Operation)>,
    spent: BTreeMap<&'static str, Spent>,
}

/// CPU time, and for how many times.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Spent {
    time: Duration,
    count: usize,
}

impl Spent {
    pub(crate) fn add(&mut self, time: Duration, count: usize) {
        self.time += time;
        self.count += count;
    }

    /// Microseconds each.
    pub(crate) fn micros(&self) -> f64 {
        self.time.as_secs_f64() * 1e6 / self.count.max(1) as f64
    }
}

impl Floor {
    /// Prepares keys and messages of the usual size.
    pub(crate) fn new() -> Result<Self, Failure> {
        let server = SimulatedServer::new()?;
        let shared = CurveKey::generate()?.shared_with(server.xkey().public_key())?;
        let operations = vec![
            ("sign", sign()?),
            ("seal", seal(shared)),
            ("RS256", rs256()?),
            ("ES256", es256()?),
            ("EdDSA", eddsa()?),
        ];
        Ok(Self { operations, spent: BTreeMap::new() })
    }

    /// Times each operation once more.
    pub(crate) fn round(&mut self, count: usize) -> Result<(), Failure> {
        for (name, operation) in &mut self.operations {
            let started = thread_time();
            for _ in 0..count {
                operation()?;
            }
            let spent = self.spent.entry(name).or_default();
            spent.add(thread_time().saturating_sub(started), count);
        }
        Ok(())
    }

    /// Adds an operation that was timed elsewhere.
    pub(crate) fn add(&mut self, name: &'static str, Spent { time, count }: Spent) {
        self.spent.entry(name).or_default().add(time, count);
    }

    /// Microseconds of one operation.
    pub(crate) fn of(&self, name: &str) -> f64 {
        self.spent.get(name).map_or(0.0, Spent::micros)
    }

    /// What every answer needs in addition to the opened and verified request: two signatures, and the
    /// answer sealed.
    pub(crate) fn answer(&self) -> f64 {
        2.0 * self.of("sign") + self.of("seal")
    }

    /// All operations, in microseconds.
    pub(crate) fn all(&self) -> BTreeMap<&'static str, f64> {
        self.spent.iter().map(|(name, spent)| (*name, spent.micros())).collect()
    }
}

/// Opens one request, and verifies its signature, with keys that are known, and nothing else.
pub(crate) fn open_and_verify(
    shared: SharedKey,
    sealed: Vec<u8>,
    key: VerifyingKey,
) -> Result<[(&'static str, Operation); 2], Failure> {
    let plain = shared.open(&sealed)?.to_vec();
    let (signed, signature) = std::str::from_utf8(&plain)?.rsplit_once('.').ok_or("no JWT")?;
    let signature = data_encoding::BASE64URL_NOPAD.decode(signature.as_bytes())?;
    let signed = signed.as_bytes().to_vec();
    let open = move || {
        black_box(shared.open(black_box(&sealed))?);
        Ok(())
    };
    let verify = move || good(key.verifies(black_box(&signed), &signature));
    Ok([("open", Box::new(open)), ("verify", Box::new(verify))])
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
