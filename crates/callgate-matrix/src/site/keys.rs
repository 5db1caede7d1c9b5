//! Keys that both sides of a test need.

use callgate::{
    keys::{CurveKey, KeyKind, KeyPair, Seed},
    secret::Secret,
};
use callgate_testkit::Nkey;

/// A signing key, as text: made into whatever the user of it needs.
#[derive(Debug, Clone)]
pub struct Pair {
    /// The public key.
    pub public: String,
    seed: Secret,
}

impl Pair {
    /// A new key.
    pub fn generate(kind: KeyKind) -> Self {
        let pair = KeyPair::generate(kind).expect("a key");
        Self { public: pair.public_key(), seed: pair.seed() }
    }

    /// The key of a seed, such as another tool made.
    pub fn from_seed(seed: &str) -> Self {
        let key = KeyPair::from_seed(Seed::parse(seed.trim()).expect("a seed"));
        let key = key.expect("a signing key");
        Self { public: key.public_key(), seed: key.seed() }
    }

    /// The seed's text.
    pub fn seed(&self) -> &str {
        self.seed.expose()
    }

    /// For the library.
    pub fn key(&self) -> KeyPair {
        KeyPair::from_seed(Seed::parse(self.seed()).expect("a seed")).expect("a signing key")
    }

    /// For signing without the library.
    pub fn nkey(&self) -> Nkey {
        Nkey::from_seed(self.seed())
    }
}

/// A curve key, as text.
#[derive(Debug, Clone)]
pub struct Xkey {
    /// The public key.
    pub public: String,
    seed: Secret,
}

impl Xkey {
    /// A new key.
    pub fn generate() -> Self {
        let key = CurveKey::generate().expect("a key");
        Self { public: key.public_key().to_string(), seed: key.seed() }
    }

    /// The key of a seed, such as another tool made.
    pub fn from_seed(seed: &str) -> Self {
        let key = Seed::parse(seed.trim()).and_then(CurveKey::try_from).expect("a curve seed");
        Self { public: key.public_key().to_string(), seed: key.seed() }
    }

    /// The seed's text.
    pub fn seed(&self) -> &str {
        self.seed.expose()
    }

    /// For the library.
    pub fn key(&self) -> CurveKey {
        Seed::parse(self.seed()).and_then(CurveKey::try_from).expect("a curve seed")
    }
}
