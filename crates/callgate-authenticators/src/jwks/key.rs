//! One JSON Web Key (RFC 7517), reduced to what may verify tokens.

use data_encoding::{BASE64URL, BASE64URL_NOPAD};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::jws::{Algorithm, BadKey, MAX_KID, Verifier};

/// Members of private and symmetric keys only (RFC 7518 section 6).
const PRIVATE_MEMBERS: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// A public key, parsed once for each algorithm that it may be used with.
#[derive(Debug)]
pub struct JsonWebKey {
    id: Option<Box<str>>,
    fingerprint: [u8; 32],
    verifiers: Vec<Verifier>,
}

/// The result of reading one key of a set.
#[derive(Debug)]
pub enum Reading {
    /// It can verify tokens.
    Key(JsonWebKey),
    /// Not relevant here: for encryption, symmetric, or of an unsupported type or algorithm.
    Skipped(String),
    /// Meant for signatures, but not safe or malformed.
    Refused(String),
}

impl JsonWebKey {
    /// Reads one key. `allowed` are the algorithms that the issuer may use; the key is limited to
    /// those that its `kty`, `crv`, `alg`, `use` and `key_ops` permit. A null member counts as absent.
    pub fn read(jwk: &Value, allowed: &[Algorithm]) -> Reading {
        let Value::Object(members) = jwk else {
            return Reading::Refused("not a JSON object".to_owned());
        };
        let present = |(name, value): (&String, &Value)| {
            (!value.is_null()).then(|| (name.clone(), value.clone()))
        };
        match read(&members.iter().filter_map(present).collect(), allowed) {
            Ok(reading) => reading,
            Err(reason) => Reading::Refused(reason),
        }
    }

    /// The key id, an opaque text.
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// True if it may verify signatures of this algorithm.
    pub fn permits(&self, algorithm: Algorithm) -> bool {
        self.verifiers.iter().any(|verifier| verifier.algorithm() == algorithm)
    }

    /// True if it permits the algorithm and `signature` over `message` is valid.
    pub fn verifies(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        let verifier = self.verifiers.iter().find(|one| one.algorithm() == algorithm);
        verifier.is_some_and(|verifier| verifier.verifies(message, signature))
    }

    /// Names the key with its id and algorithms: another key has another name.
    pub(crate) fn name(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(self.fingerprint);
        hash.update(self.id.as_deref().unwrap_or_default());
        BASE64URL_NOPAD.encode(hash.finalize().first_chunk::<12>().map_or(&[], |start| start))
    }

    /// True if both are the same key with the same id and algorithms.
    pub fn is_same(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint && self.id == other.id
    }
}

fn read(members: &Map<String, Value>, allowed: &[Algorithm]) -> Result<Reading, String> {
    let skipped = |why: &str| Ok(Reading::Skipped(why.to_owned()));
    let kind = text(members, "kty")?.ok_or("`kty` is missing")?;
    if !matches!(kind, "RSA" | "EC" | "OKP") {
        return skipped(match kind {
            "oct" => "symmetric keys are not accepted: verifiers could sign",
            _ => "its `kty` is not supported",
        });
    }
    if !matches!(text(members, "use")?, None | Some("sig")) {
        return skipped("its `use` is not `sig`");
    }
    if !may_verify(members)? {
        return skipped("its `key_ops` do not contain `verify`");
    }
    if PRIVATE_MEMBERS.iter().any(|name| members.contains_key(*name)) {
        return Err(
            "it contains the private key, so that all readers of the set can sign: replace it"
                .into(),
        );
    }
    let id = text(members, "kid")?;
    if id.is_some_and(|id| id.len() > MAX_KID) {
        return Err(format!("its `kid` is longer than {MAX_KID} bytes"));
    }
    let possible = algorithms_of(kind, text(members, "crv")?);
    if possible.is_empty() {
        return skipped("its curve is not supported");
    }
    let matching = match text(members, "alg")? {
        None => possible.to_vec(),
        Some(name) => match name.parse::<Algorithm>() {
            Ok(one) if possible.contains(&one) => vec![one],
            Ok(_) => return Err("its `alg` does not match its `kty` and `crv`".to_owned()),
            Err(_) => return skipped("its `alg` is not a supported signature algorithm"),
        },
    };
    let usable: Vec<_> = matching.into_iter().filter(|one| allowed.contains(one)).collect();
    if usable.is_empty() {
        return skipped("the configuration allows none of its algorithms");
    }
    let material = Material::read(members, kind)?;
    let verifiers: Result<Vec<_>, _> = usable.iter().map(|one| material.verifier(*one)).collect();
    Ok(Reading::Key(JsonWebKey {
        id: id.map(Into::into),
        fingerprint: material.fingerprint(&usable),
        verifiers: verifiers.map_err(|error| error.to_string())?,
    }))
}

/// The numbers of a public key.
enum Material {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    Ec { x: Vec<u8>, y: Vec<u8> },
    Okp { x: Vec<u8> },
}

impl Material {
    fn read(members: &Map<String, Value>, kind: &str) -> Result<Self, String> {
        let bytes = |name: &str| {
            let text = text(members, name)?.ok_or_else(|| format!("`{name}` is missing"))?;
            // Some issuers pad the numbers, which RFC 7518 section 2 forbids.
            let encoding = if text.ends_with('=') { BASE64URL } else { BASE64URL_NOPAD };
            encoding.decode(text.as_bytes()).map_err(|_| format!("`{name}` is not base64url"))
        };
        match kind {
            "RSA" => Ok(Self::Rsa { n: bytes("n")?, e: bytes("e")? }),
            "EC" => Ok(Self::Ec { x: bytes("x")?, y: bytes("y")? }),
            _ => Ok(Self::Okp { x: bytes("x")? }),
        }
    }

    fn verifier(&self, algorithm: Algorithm) -> Result<Verifier, BadKey> {
        match self {
            Self::Rsa { n, e } => Verifier::rsa(algorithm, n, e),
            Self::Ec { x, y } => Verifier::ec(algorithm, x, y),
            Self::Okp { x } => Verifier::ed25519(x),
        }
    }

    fn fingerprint(&self, algorithms: &[Algorithm]) -> [u8; 32] {
        let mut hash = Sha256::new();
        let parts: [&[u8]; 2] = match self {
            Self::Rsa { n, e } => [n, e],
            Self::Ec { x, y } => [x, y],
            Self::Okp { x } => [x, &[]],
        };
        for part in parts {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        for algorithm in algorithms {
            hash.update(algorithm.as_str());
            hash.update(",");
        }
        hash.finalize().into()
    }
}

fn algorithms_of(kind: &str, curve: Option<&str>) -> &'static [Algorithm] {
    use Algorithm::{EdDsa, Es256, Es384, Ps256, Ps384, Ps512, Rs256, Rs384, Rs512};
    match (kind, curve) {
        ("RSA", _) => &[Rs256, Rs384, Rs512, Ps256, Ps384, Ps512],
        ("EC", Some("P-256")) => &[Es256],
        ("EC", Some("P-384")) => &[Es384],
        ("OKP", Some("Ed25519")) => &[EdDsa],
        _ => &[],
    }
}

fn may_verify(members: &Map<String, Value>) -> Result<bool, String> {
    match members.get("key_ops") {
        None => Ok(true),
        Some(Value::Array(operations)) => Ok(operations.iter().any(|one| one == "verify")),
        Some(_) => Err("`key_ops` is not a list".to_owned()),
    }
}

fn text<'m>(members: &'m Map<String, Value>, name: &str) -> Result<Option<&'m str>, String> {
    match members.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(format!("`{name}` is not a string")),
    }
}
