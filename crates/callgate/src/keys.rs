//! Role-typed nkeys: a key of one kind cannot stand where another kind belongs.
//!
//! The text form is base32 without padding of a prefix byte, 32 key bytes and a CRC-16
//! (nats-io/nkeys `strkey.go`). Seeds carry two prefix bytes.

use std::{fmt, marker::PhantomData, str::FromStr, sync::Arc};

use data_encoding::{BASE32_NOPAD, BASE64URL_NOPAD};
use zeroize::Zeroizing;

use crate::secret::{NoRandomness, Secret};

mod curve;
mod signing;
mod verifying;

pub(crate) use curve::is_sealed;
pub use curve::{CurveError, CurveKey, SharedKey};
pub use signing::{AccountSigner, KeyPair, SignError, Signer};
pub(crate) use verifying::VerifyingKeys;
pub use verifying::{Ed25519Key, VerifyingKey};

const PREFIX_SEED: u8 = 18 << 3;

/// The role of an nkey, which determines its first letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyKind {
    /// `O…`
    Operator,
    /// `A…`
    Account,
    /// `U…`
    User,
    /// `N…`
    Server,
    /// `C…`
    Cluster,
    /// `X…`: an X25519 key for encryption, called xkey by nats-server.
    Curve,
}

impl KeyKind {
    const ALL: [KeyKind; 6] =
        [Self::Operator, Self::Account, Self::User, Self::Server, Self::Cluster, Self::Curve];

    const fn prefix(self) -> u8 {
        match self {
            Self::Operator => 14 << 3,
            Self::Account => 0,
            Self::User => 20 << 3,
            Self::Server => 13 << 3,
            Self::Cluster => 2 << 3,
            Self::Curve => 23 << 3,
        }
    }

    /// The first letter of a public key of this kind; its seed begins with `S` and this letter.
    pub const fn letter(self) -> char {
        match self {
            Self::Operator => 'O',
            Self::Account => 'A',
            Self::User => 'U',
            Self::Server => 'N',
            Self::Cluster => 'C',
            Self::Curve => 'X',
        }
    }

    fn from_prefix(prefix: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.prefix() == prefix)
    }
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Operator => "operator",
            Self::Account => "account",
            Self::User => "user",
            Self::Server => "server",
            Self::Cluster => "cluster",
            Self::Curve => "curve",
        })
    }
}

impl KeyKind {
    /// Describes a seed of this kind, for example "an account seed (SA…)".
    pub fn seed_in_words(self) -> String {
        describe(self, true)
    }
}

impl FromStr for KeyKind {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        Self::ALL.into_iter().find(|kind| kind.to_string() == text).ok_or(KeyError::UnknownKind)
    }
}

/// Why a text is not the expected key. Never contains the text, which may be a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not base32, or the wrong length.
    #[error("this is not an nkey (base32 text such as `{0}…`)")]
    NotAnNkey(String),
    /// A typo, or an incomplete copy.
    #[error("the nkey's checksum does not match: it is truncated or mistyped")]
    Checksum,
    /// A key of another role.
    #[error("this is {found}, but {wanted} is needed here")]
    WrongKind {
        /// The kind of key that the text is.
        found: String,
        /// The expected kind of key.
        wanted: String,
    },
    /// The bytes are not a point on the curve, or are a point of small order.
    #[error("the nkey's bytes are not a usable public key")]
    NotAPoint,
    /// The system's random number generator failed.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
    /// Not the name of a kind.
    #[error("unknown kind of key: use account, user, curve, server or operator")]
    UnknownKind,
}

fn describe(kind: KeyKind, seed: bool) -> String {
    let article = if matches!(kind, KeyKind::Operator | KeyKind::Account) { "an" } else { "a" };
    match seed {
        true => format!("{article} {kind} seed (S{}…)", kind.letter()),
        false => format!("{article} {kind} public key ({}…)", kind.letter()),
    }
}

/// CRC-16/XMODEM, as nats-io/nkeys computes it.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0u16, |crc, byte| {
        let [high, _] = crc.to_be_bytes();
        (crc << 8) ^ CRC16.get(usize::from(high ^ byte)).copied().unwrap_or_default()
    })
}

/// The contribution of each byte to the checksum.
#[expect(clippy::indexing_slicing, reason = "in a constant, where a panic fails the build")]
const CRC16: [u16; 256] = {
    let mut table = [0u16; 256];
    let mut byte = 0;
    while byte < table.len() {
        let (mut crc, mut bit) = ((byte as u16) << 8, 0);
        while bit < 8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

enum Decoded {
    Public(KeyKind, [u8; 32]),
    Seed(KeyKind, Zeroizing<[u8; 32]>),
}

/// The longest form, a seed: two prefix bytes, the key, the checksum.
const MAX_BYTES: usize = 36;

fn decode(text: &str, example: &str) -> Result<Decoded, KeyError> {
    let not_an_nkey = || KeyError::NotAnNkey(example.to_owned());
    let mut raw = Zeroizing::new([0; MAX_BYTES]);
    let raw = from_base32(text, &mut raw).ok_or_else(not_an_nkey)?;
    let Some((body, checksum)) = raw.split_last_chunk::<2>() else { return Err(not_an_nkey()) };
    if crc16(body) != u16::from_le_bytes(*checksum) {
        return Err(if matches!(body.len(), 33 | 34) { KeyError::Checksum } else { not_an_nkey() });
    }
    match body {
        [prefix, key @ ..] if key.len() == 32 => {
            let kind = KeyKind::from_prefix(*prefix).ok_or_else(not_an_nkey)?;
            Ok(Decoded::Public(kind, key.try_into().map_err(|_| not_an_nkey())?))
        }
        [first, second, key @ ..] if key.len() == 32 && first & 0xF8 == PREFIX_SEED => {
            let prefix = (first & 7) << 5 | (second & 0xF8) >> 3;
            let kind = KeyKind::from_prefix(prefix).ok_or_else(not_an_nkey)?;
            Ok(Decoded::Seed(kind, Zeroizing::new(key.try_into().map_err(|_| not_an_nkey())?)))
        }
        _ => Err(not_an_nkey()),
    }
}

/// Decodes into `raw`, without a second copy of a possible seed.
fn from_base32<'a>(text: &str, raw: &'a mut [u8; MAX_BYTES]) -> Option<&'a [u8]> {
    let length = BASE32_NOPAD.decode_len(text.len()).ok()?;
    let raw = raw.get_mut(..length)?;
    BASE32_NOPAD.decode_mut(text.as_bytes(), raw).ok()?;
    Some(raw)
}

fn encode_public(kind: KeyKind, key: &[u8; 32]) -> String {
    let mut raw = Vec::with_capacity(35);
    raw.push(kind.prefix());
    raw.extend_from_slice(key);
    raw.extend_from_slice(&crc16(&raw).to_le_bytes());
    BASE32_NOPAD.encode(&raw)
}

fn encode_seed(kind: KeyKind, key: &[u8; 32]) -> Secret {
    let prefix = kind.prefix();
    let mut raw = Zeroizing::new(Vec::with_capacity(36));
    raw.extend_from_slice(&[PREFIX_SEED | prefix >> 5, (prefix & 31) << 3]);
    raw.extend_from_slice(key);
    let checksum = crc16(&raw).to_le_bytes();
    raw.extend_from_slice(&checksum);
    Secret::new(BASE32_NOPAD.encode(&raw))
}

/// A seed of any kind: the private half of a key, as stored in a file or variable.
pub struct Seed {
    kind: KeyKind,
    bytes: Zeroizing<[u8; 32]>,
}

impl Seed {
    /// Parses the text form.
    ///
    /// # Errors
    /// If the text is not a seed, says what it is instead, without repeating it.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        match decode(text, "SA")? {
            Decoded::Seed(kind, bytes) => Ok(Self { kind, bytes }),
            Decoded::Public(kind, _) => Err(KeyError::WrongKind {
                found: describe(kind, false),
                wanted: "a seed (S…)".to_owned(),
            }),
        }
    }

    /// Finds the seed in a file: the first line that is one. Files of `nsc` and `nk` and credentials
    /// files have it between comment lines.
    ///
    /// # Errors
    /// If there is none, says what the first line of the text is instead.
    pub fn find(text: &str) -> Result<Self, KeyError> {
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let first = lines.clone().next().unwrap_or_default();
        lines.find_map(|line| Self::parse(line).ok()).map_or_else(|| Self::parse(first), Ok)
    }

    /// The kind of key.
    pub fn kind(&self) -> KeyKind {
        self.kind
    }

    fn expect(self, wanted: KeyKind) -> Result<Zeroizing<[u8; 32]>, KeyError> {
        if self.kind == wanted {
            return Ok(self.bytes);
        }
        let (found, wanted) = (describe(self.kind, true), describe(wanted, true));
        Err(KeyError::WrongKind { found, wanted })
    }
}

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Seed({}, [redacted])", self.kind)
    }
}

/// A role that a public key can have. Implemented by the markers in [`role`] only.
pub trait Role:
    Clone + Copy + fmt::Debug + PartialEq + Eq + std::hash::Hash + Send + Sync + 'static
{
    /// The kind of key of this role.
    const KIND: KeyKind;
}

/// Markers for [`PublicKey`].
pub mod role {
    macro_rules! roles {
        ($($(#[$doc:meta])* $name:ident: $kind:ident),*) => { $(
            $(#[$doc])*
            #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
            pub struct $name;
            impl super::Role for $name {
                const KIND: super::KeyKind = super::KeyKind::$kind;
            }
        )* };
    }
    roles!(
        /// An operator.
        OperatorRole: Operator,
        /// An account, or one of its signing keys.
        AccountRole: Account,
        /// A connection or a user.
        UserRole: User,
        /// A server, as long as its process runs.
        ServerRole: Server,
        /// An X25519 key.
        CurveRole: Curve
    );
}

/// The public half of an nkey with role `R`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PublicKey<R: Role> {
    text: Arc<str>,
    bytes: [u8; 32],
    role: PhantomData<R>,
}

/// The key of an account (`A…`).
pub type AccountKey = PublicKey<role::AccountRole>;
/// The key of one connection or of a user (`U…`).
pub type UserKey = PublicKey<role::UserRole>;
/// The key of a server (`N…`), generated at each start.
pub type ServerKey = PublicKey<role::ServerRole>;
/// The key of an operator (`O…`).
pub type OperatorKey = PublicKey<role::OperatorRole>;
/// The public half of an xkey (`X…`).
pub type CurvePublicKey = PublicKey<role::CurveRole>;

impl<R: Role> PublicKey<R> {
    /// The key with these bytes, which are not checked, as in the text form.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self { text: encode_public(R::KIND, &bytes).into(), bytes, role: PhantomData }
    }

    /// The text form.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The key bytes without prefix and checksum.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.bytes
    }
}

impl<R: Role> FromStr for PublicKey<R> {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let mut letter = [0; 4];
        let example = R::KIND.letter().encode_utf8(&mut letter);
        let wrong = |found| KeyError::WrongKind { found, wanted: describe(R::KIND, false) };
        match decode(text, example)? {
            Decoded::Public(kind, bytes) if kind == R::KIND => {
                Ok(Self { text: text.into(), bytes, role: PhantomData })
            }
            Decoded::Public(kind, _) => Err(wrong(describe(kind, false))),
            Decoded::Seed(kind, _) => Err(wrong(describe(kind, true))),
        }
    }
}

impl<R: Role> fmt::Display for PublicKey<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl<R: Role> fmt::Debug for PublicKey<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Parses a public key whose role is not known in advance: accounts and users may both sign tokens.
///
/// # Errors
/// If the text is not a public key of one of the `allowed` kinds.
pub fn parse_public(text: &str, allowed: &[KeyKind]) -> Result<VerifyingKey, KeyError> {
    let wanted =
        || allowed.iter().map(|kind| describe(*kind, false)).collect::<Vec<_>>().join(" or ");
    let example = allowed.first().map_or('U', |kind| kind.letter()).to_string();
    match decode(text, &example)? {
        Decoded::Public(kind, bytes) if allowed.contains(&kind) => {
            VerifyingKey::new(encode_public(kind, &bytes).into(), &bytes)
        }
        Decoded::Public(kind, _) => {
            Err(KeyError::WrongKind { found: describe(kind, false), wanted: wanted() })
        }
        Decoded::Seed(kind, _) => {
            Err(KeyError::WrongKind { found: describe(kind, true), wanted: wanted() })
        }
    }
}

/// Decodes a signature of 64 bytes, base64url or standard base64, with or without padding:
/// clients differ (nats-server `auth.go` accepts both).
pub(crate) fn decode_signature(text: &str) -> Option<[u8; 64]> {
    if text.len() > 88 {
        return None;
    }
    let text: String = text
        .trim_end_matches('=')
        .chars()
        .map(|c| match c {
            '+' => '-',
            '/' => '_',
            other => other,
        })
        .collect();
    BASE64URL_NOPAD.decode(text.as_bytes()).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests;
