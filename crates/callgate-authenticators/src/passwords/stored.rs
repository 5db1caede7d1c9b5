//! The password of an entry, parsed and checked when the entry is loaded.

use std::fmt;

use callgate::secret::Secret;
use data_encoding::{BASE64, BASE64_NOPAD, Encoding, Specification};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{
    clear::digest,
    cost::{Cost, Digest, Scratch},
};

/// Why a text cannot be a stored password. Never contains the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoredError {
    /// Has the form of a hash but is not of a supported kind.
    #[error(
        "has the form of a hash but is not a complete hash of argon2id, scrypt, bcrypt ($2a$, $2b$, \
         $2y$), pbkdf2-sha256, pbkdf2-sha512 or Django's pbkdf2_sha256; if it is clear text, write it \
         as `password_plain`"
    )]
    UnknownForm,
    /// A variable that was not replaced by its value.
    #[error(
        "has the form of a variable that was not expanded; if it is clear text, write it as \
         `password_plain`"
    )]
    Variable,
    /// A supported kind, truncated or mistyped.
    #[error("is not a complete {0} hash; if it is clear text, write it as `password_plain`")]
    Incomplete(&'static str),
    /// Would overload the machine or protect nothing.
    #[error("{what} {rule}")]
    OutOfBounds {
        /// Which parameter.
        what: &'static str,
        /// Its bounds.
        rule: &'static str,
    },
}

/// The password of an entry.
#[derive(Clone)]
pub enum StoredPassword {
    /// A hash.
    Hashed {
        /// Its parameters.
        cost: Cost,
        /// Its salt.
        salt: Vec<u8>,
        /// The hash of the correct password.
        expected: Zeroizing<Vec<u8>>,
    },
    /// Clear text, as a keyed digest.
    Clear([u8; 32]),
}

impl StoredPassword {
    /// Parses a hash or clear text. A text in the form of a hash must be one.
    ///
    /// # Errors
    /// If it has the form of a hash but is not a complete one of a supported kind within bounds, or if it
    /// has the form of a variable.
    pub fn parse(text: &str) -> Result<Self, StoredError> {
        match form(text) {
            None => Ok(Self::clear(text)),
            Some(Form::Variable) => Err(StoredError::Variable),
            Some(Form::Hash) => Self::parse_hash(text),
        }
    }

    fn parse_phc(text: &str) -> Result<Self, StoredError> {
        let fields: Vec<&str> = text.strip_prefix('$').unwrap_or_default().split('$').collect();
        match fields.as_slice() {
            ["argon2id", rest @ ..] => argon2id(rest).ok_or(StoredError::Incomplete("argon2id"))?,
            ["scrypt", rest @ ..] => scrypt(rest).ok_or(StoredError::Incomplete("scrypt"))?,
            ["pbkdf2-sha256", rest @ ..] => {
                pbkdf2(Digest::Sha256, rest).ok_or(StoredError::Incomplete("pbkdf2-sha256"))?
            }
            ["pbkdf2-sha512", rest @ ..] => {
                pbkdf2(Digest::Sha512, rest).ok_or(StoredError::Incomplete("pbkdf2-sha512"))?
            }
            ["2a" | "2b" | "2y", rest @ ..] => {
                bcrypt(rest).ok_or(StoredError::Incomplete("bcrypt"))?
            }
            _ => return Err(StoredError::UnknownForm),
        }
        .within_bounds()
    }

    /// Parses a hash as other programs store it: the forms of [`StoredPassword::parse`], and those of
    /// Django (`pbkdf2_sha256$…`, `argon2$argon2id$…`) and mosquitto-go-auth (`PBKDF2$…`). Clear text is
    /// an error.
    ///
    /// # Errors
    /// If it is not a complete hash of a supported kind within bounds.
    pub fn parse_hash(text: &str) -> Result<Self, StoredError> {
        let fields: Vec<&str> = text.split('$').collect();
        let stored = match fields.as_slice() {
            ["", ..] => Self::parse_phc(text)?,
            ["argon2", "argon2id", rest @ ..] => {
                argon2id(rest).ok_or(StoredError::Incomplete("argon2id"))?.within_bounds()?
            }
            ["pbkdf2_sha256", rounds, salt, hash] => {
                let salt = salt.as_bytes().to_vec();
                padded_pbkdf2(Digest::Sha256, rounds, Some(salt), hash)
                    .ok_or(StoredError::Incomplete("pbkdf2_sha256"))?
                    .within_bounds()?
            }
            ["PBKDF2", digest @ ("sha256" | "sha512"), rounds, salt, hash] => {
                let digest = if *digest == "sha256" { Digest::Sha256 } else { Digest::Sha512 };
                padded_pbkdf2(digest, rounds, BASE64.decode(salt.as_bytes()).ok(), hash)
                    .ok_or(StoredError::Incomplete("PBKDF2"))?
                    .within_bounds()?
            }
            _ => return Err(StoredError::UnknownForm),
        };
        match stored.cost() {
            Some(_) => Ok(stored),
            None => Err(StoredError::UnknownForm),
        }
    }

    /// The cost of hashes that begin with `prefix`, which ends after the parameters.
    pub fn cost_of_prefix(prefix: &str) -> Option<Cost> {
        let prefix = prefix.trim_end_matches('$');
        let bcrypt = format!("{prefix}${}", "O".repeat(53));
        let phc = format!("{prefix}${}${}", "A".repeat(22), "A".repeat(43));
        [phc, bcrypt].iter().find_map(|text| Self::parse(text).ok()?.cost())
    }

    /// Clear text, even if it begins like a hash.
    pub fn clear(text: &str) -> Self {
        Self::Clear(digest(&[text.as_bytes()]))
    }

    /// A password that is never correct; verifying it takes as long as with a hash of this cost, or
    /// as with clear text.
    pub(super) fn dummy(cost: Option<Cost>) -> Self {
        match cost {
            Some(cost) => {
                let expected = Zeroizing::new(vec![0; cost.length()]);
                Self::Hashed { cost, salt: vec![0; 16], expected }
            }
            None => Self::Clear([0; 32]),
        }
    }

    /// The parameters of the hash; `None` for clear text.
    pub fn cost(&self) -> Option<Cost> {
        match self {
            Self::Hashed { cost, .. } => Some(*cost),
            Self::Clear(_) => None,
        }
    }

    /// True if `password` is correct. Takes as long as the hash.
    pub fn verify(&self, password: &Secret, scratch: &mut Scratch) -> bool {
        let password = password.expose().as_bytes();
        match self {
            Self::Hashed { cost, salt, expected } => {
                let Some(hash) = cost.derive(password, salt, scratch) else { return false };
                let equal = bool::from(hash.ct_eq(expected.as_slice()));
                equal && !is_ambiguous(*cost, password)
            }
            Self::Clear(expected) => digest(&[password]).ct_eq(expected).into(),
        }
    }

    fn within_bounds(self) -> Result<Self, StoredError> {
        if let Self::Hashed { cost, salt, .. } = &self {
            cost.within_bounds()?;
            if !(8..=64).contains(&salt.len()) {
                let what = "the length of the salt";
                return Err(StoredError::OutOfBounds { what, rule: "must be 8 to 64 bytes" });
            }
        }
        Ok(self)
    }
}

/// bcrypt uses only 72 bytes and repeats the key with its final zero byte: a longer password, or
/// one that contains a zero byte, could match the hash of a different password.
fn is_ambiguous(cost: Cost, password: &[u8]) -> bool {
    matches!(cost, Cost::Bcrypt { .. }) && (password.len() > 72 || password.contains(&0))
}

/// What a text is if it is not clear text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// A hash, possibly of an unsupported kind.
    Hash,
    /// `$NAME` or `${NAME}`, or the `$$` by which files for Compose escape a dollar sign.
    Variable,
}

/// The form of a text; `None` for clear text.
pub(crate) fn form(text: &str) -> Option<Form> {
    if has_the_form_of_a_hash(text) {
        return Some(Form::Hash);
    }
    let name = text.strip_prefix('$')?;
    let braced = name.strip_prefix('{').and_then(|name| name.strip_suffix('}'));
    let is_name = |name: &str| {
        let mut bytes = name.bytes();
        bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
            && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
    };
    let is_variable = name.starts_with('$') || is_name(name) || braced.is_some_and(is_name);
    is_variable.then_some(Form::Variable)
}

/// True for `$word$…`, `{WORD}…`, `word$…$…` (Django, Werkzeug), `word:digits:…` (Werkzeug, nginx) and
/// `name:$…` (a line of htpasswd).
fn has_the_form_of_a_hash(text: &str) -> bool {
    begins_like_a_hash(text) || contains_a_hash(text)
}

fn contains_a_hash(text: &str) -> bool {
    let is_word = |word: &str| {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':');
        !word.is_empty() && word.bytes().all(plain)
    };
    let mut by_dollar = text.splitn(3, '$');
    let begins = by_dollar.next().is_some_and(is_word);
    let continues = by_dollar.next().is_some_and(|part| !part.is_empty());
    if begins && continues && by_dollar.next().is_some() {
        return true;
    }
    let Some((name, rest)) = text.split_once(':') else { return false };
    let digits = rest.split_once(':').is_some_and(|(digits, _)| {
        !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
    });
    is_word(name) && (digits || rest.starts_with('$'))
}

fn begins_like_a_hash(text: &str) -> bool {
    let word = |text: &str, end: char| {
        let word = text.split_once(end).map(|(word, _)| word);
        word.is_some_and(|word| {
            let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
            !word.is_empty() && word.bytes().all(plain)
        })
    };
    text.strip_prefix('$').is_some_and(|rest| word(rest, '$'))
        || text.strip_prefix('{').is_some_and(|rest| word(rest, '}'))
}

fn argon2id(fields: &[&str]) -> Option<StoredPassword> {
    let (version, rest) = match fields {
        [version, rest @ ..] if version.starts_with("v=") => (number("v", version)?, rest),
        // Version 1.0 of the format had no version field.
        rest => (16, rest),
    };
    let [parameters, salt, hash] = rest else { return None };
    let [memory, passes, lanes] = parameters.split(',').collect::<Vec<_>>().try_into().ok()?;
    let salt = decode(salt)?;
    let expected = Zeroizing::new(decode(hash)?);
    let cost = Cost::Argon2id {
        version,
        memory: number("m", memory)?,
        passes: number("t", passes)?,
        lanes: number("p", lanes)?,
        length: expected.len(),
    };
    Some(StoredPassword::Hashed { cost, salt, expected })
}

fn scrypt(fields: &[&str]) -> Option<StoredPassword> {
    let [parameters, salt, hash] = fields else { return None };
    let [log_n, r, p] = parameters.split(',').collect::<Vec<_>>().try_into().ok()?;
    let salt = decode(salt)?;
    let expected = Zeroizing::new(decode(hash)?);
    let log_n = u8::try_from(number("ln", log_n)?).ok()?;
    let r = number("r", r)?;
    let p = number("p", p)?;
    let cost = Cost::Scrypt { log_n, r, p, length: expected.len() };
    Some(StoredPassword::Hashed { cost, salt, expected })
}

fn pbkdf2(digest: Digest, fields: &[&str]) -> Option<StoredPassword> {
    let [parameters, salt, hash] = fields else { return None };
    let salt = decode(salt)?;
    let expected = Zeroizing::new(decode(hash)?);
    let length = expected.len();
    let rounds = match parameters.split(',').collect::<Vec<_>>().as_slice() {
        // passlib writes only the rounds.
        [rounds] => number("i", rounds).or_else(|| decimal(rounds))?,
        [rounds, stated] if usize::try_from(number("l", stated)?).ok()? == length => {
            number("i", rounds)?
        }
        _ => return None,
    };
    Some(StoredPassword::Hashed { cost: Cost::Pbkdf2 { digest, rounds, length }, salt, expected })
}

/// PBKDF2 with its hash in padded base64, as Django and mosquitto-go-auth write it.
fn padded_pbkdf2(
    digest: Digest,
    rounds: &str,
    salt: Option<Vec<u8>>,
    hash: &str,
) -> Option<StoredPassword> {
    let expected = Zeroizing::new(BASE64.decode(hash.as_bytes()).ok()?);
    let cost = Cost::Pbkdf2 { digest, rounds: decimal(rounds)?, length: expected.len() };
    Some(StoredPassword::Hashed { cost, salt: salt?, expected })
}

fn bcrypt(fields: &[&str]) -> Option<StoredPassword> {
    let [cost, salt_and_hash] = fields else { return None };
    if cost.len() != 2 || salt_and_hash.len() != 53 {
        return None;
    }
    let (salt, hash) = salt_and_hash.split_at_checked(22)?;
    let encoding = bcrypt_base64()?;
    let salt = encoding.decode(salt.as_bytes()).ok()?;
    let expected = Zeroizing::new(encoding.decode(hash.as_bytes()).ok()?);
    let cost = Cost::Bcrypt { cost: decimal(cost)? };
    Some(StoredPassword::Hashed { cost, salt, expected })
}

/// bcrypt's own base64. Implementations differ in the unused last bits, so these are ignored.
fn bcrypt_base64() -> Option<Encoding> {
    let mut specification = Specification::new();
    specification
        .symbols
        .push_str("./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789");
    specification.check_trailing_bits = false;
    specification.encoding().ok()
}

/// Base64 without padding; passlib writes `.` for `+`.
fn decode(text: &str) -> Option<Vec<u8>> {
    BASE64_NOPAD.decode(text.replace('.', "+").as_bytes()).ok()
}

fn number(name: &str, field: &str) -> Option<u32> {
    decimal(field.strip_prefix(name)?.strip_prefix('=')?)
}

fn decimal(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

impl fmt::Debug for StoredPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hashed { cost, .. } => write!(f, "Hashed({cost:?}, [redacted])"),
            Self::Clear(_) => f.write_str("Clear([redacted])"),
        }
    }
}
