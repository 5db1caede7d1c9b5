//! JSON Web Signatures in compact form, parsed strictly: everything but exactly one signed JSON object
//! is an error.
//!
//! RFC 7515 leaves much to implementations; RFC 8725 describes the resulting attacks. Here a token
//! chooses neither a key nor a URL nor an algorithm: `jwk`, `jku`, `x5c` and `x5u` are ignored, and
//! `alg` only selects from what the key's type and the configuration allow.

mod algorithm;
pub(crate) mod claims;
mod roca;
mod verifier;

pub use algorithm::{Algorithm, UnknownAlgorithm};
pub use claims::{MAX_SUBJECT, RegisteredClaims, TimeRules};
pub use verifier::{BadKey, Verifier};

use callgate::json::parse_strict;
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Map, Value};

/// Maximum length of a token, in bytes.
pub const MAX_TOKEN: usize = 16 * 1024;
/// Maximum length of a header, in bytes of JSON.
pub const MAX_HEADER: usize = 2 * 1024;
/// Maximum length of a key id, in bytes.
pub const MAX_KID: usize = 256;
const MAX_HEADER_DEPTH: usize = 8;
const MAX_CLAIMS_DEPTH: usize = 16;

/// Header members that change what is signed or how the rest is read. They are not supported, so
/// tokens with them are refused (RFC 7515 section 4.1.11, RFC 7797, RFC 7516).
const UNSUPPORTED_MEMBERS: [&str; 4] = ["crit", "b64", "zip", "enc"];

/// Why a text is not a token. Never contains the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JwsError {
    /// Longer than [`MAX_TOKEN`].
    #[error("the token is longer than {MAX_TOKEN} bytes")]
    TooLong,
    /// Not three parts, or an empty one.
    #[error("not a signed JWT: expected three non-empty parts separated by dots")]
    Form,
    /// A part that is not canonical base64url.
    #[error("the token's {0} is not base64url without padding")]
    Encoding(&'static str),
    /// A header that is not strict JSON with the right members.
    #[error("the token's header is not valid: {0}")]
    Header(String),
    /// Claims that are not one strict JSON object.
    #[error("the token's claims are not valid: {0}")]
    Claims(String),
}

/// A token split at its dots; nothing in it is decoded or verified.
#[derive(Clone, Copy)]
pub struct Compact<'t> {
    whole: &'t str,
    header: &'t str,
    claims: &'t str,
    signature: &'t str,
    signed: &'t str,
}

impl<'t> Compact<'t> {
    /// Splits a token.
    ///
    /// # Errors
    /// If it is too long or does not have three parts.
    pub fn split(token: &'t str) -> Result<Self, JwsError> {
        if token.len() > MAX_TOKEN {
            return Err(JwsError::TooLong);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(JwsError::Form)?;
        let (header, claims) = signed.split_once('.').ok_or(JwsError::Form)?;
        let parts = [header, claims, signature];
        if parts.into_iter().any(str::is_empty) || claims.contains('.') {
            return Err(JwsError::Form);
        }
        Ok(Self { whole: token, header, claims, signature, signed })
    }

    /// The whole token.
    pub fn as_str(&self) -> &'t str {
        self.whole
    }

    /// The header, decoded and checked.
    ///
    /// # Errors
    /// If it is not strict JSON, has no `alg`, or has a member that changes the token's meaning.
    pub fn header(&self) -> Result<Header, JwsError> {
        if self.header.len() > MAX_HEADER.div_ceil(3) * 4 {
            return Err(JwsError::Header(format!("it is longer than {MAX_HEADER} bytes")));
        }
        let json = decode(self.header, "header")?;
        let members = object(&json, MAX_HEADER_DEPTH).map_err(JwsError::Header)?;
        Header::read(&members)
    }

    /// The claims: a JSON object without duplicate members and without deep nesting. Not verified.
    ///
    /// # Errors
    /// If they are anything else.
    pub fn claims(&self) -> Result<Map<String, Value>, JwsError> {
        let json = decode(self.claims, "claims")?;
        object(&json, MAX_CLAIMS_DEPTH).map_err(JwsError::Claims)
    }

    /// The signature's bytes.
    ///
    /// # Errors
    /// If they are not canonical base64url.
    pub fn signature(&self) -> Result<Vec<u8>, JwsError> {
        decode(self.signature, "signature")
    }

    /// The bytes that are signed.
    pub fn signed(&self) -> &'t [u8] {
        self.signed.as_bytes()
    }
}

/// Splits a token and decodes its claims. Nothing in it is verified.
pub(crate) fn unverified(token: &str) -> Result<(Compact<'_>, Map<String, Value>), JwsError> {
    let compact = Compact::split(token)?;
    let claims = compact.claims()?;
    Ok((compact, claims))
}

impl std::fmt::Debug for Compact<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Compact([redacted])")
    }
}

/// The relevant members of a token's header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The algorithm's name, unchecked.
    pub algorithm: String,
    /// The id of the key, an opaque text.
    pub key_id: Option<String>,
    /// The token's media type.
    pub kind: Option<String>,
}

impl Header {
    fn read(members: &Map<String, Value>) -> Result<Self, JwsError> {
        if let Some(name) = UNSUPPORTED_MEMBERS.into_iter().find(|name| members.contains_key(*name))
        {
            return Err(JwsError::Header(format!("`{name}` is not supported")));
        }
        let algorithm =
            text(members, "alg")?.ok_or_else(|| JwsError::Header("`alg` is missing".to_owned()))?;
        let key_id = text(members, "kid")?;
        if key_id.as_ref().is_some_and(|id| id.len() > MAX_KID) {
            return Err(JwsError::Header(format!("`kid` is longer than {MAX_KID} bytes")));
        }
        Ok(Self { algorithm, key_id, kind: text(members, "typ")? })
    }

    /// True if `typ` is one of `allowed`; if absent, it counts as `JWT`.
    ///
    /// Media types are case-insensitive and may omit `application/` (RFC 7515 section 4.1.9).
    pub fn is_of_kind(&self, allowed: &[impl AsRef<str>]) -> bool {
        let kind = short_media_type(self.kind.as_deref().unwrap_or("JWT"));
        allowed.iter().any(|one| short_media_type(one.as_ref()).eq_ignore_ascii_case(kind))
    }
}

fn short_media_type(kind: &str) -> &str {
    const PREFIX: &str = "application/";
    match kind.split_at_checked(PREFIX.len()) {
        // The prefix may be omitted only if no other slash follows.
        Some((prefix, rest)) if prefix.eq_ignore_ascii_case(PREFIX) && !rest.contains('/') => rest,
        Some(_) | None => kind,
    }
}

fn text(members: &Map<String, Value>, name: &str) -> Result<Option<String>, JwsError> {
    match members.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(JwsError::Header(format!("`{name}` is not a string"))),
    }
}

// The decoder refuses padding, line breaks and trailing bits, so that a token has a single spelling.
fn decode(part: &str, name: &'static str) -> Result<Vec<u8>, JwsError> {
    BASE64URL_NOPAD.decode(part.as_bytes()).map_err(|_| JwsError::Encoding(name))
}

fn object(json: &[u8], max_depth: usize) -> Result<Map<String, Value>, String> {
    match parse_strict(json, max_depth) {
        Ok(Value::Object(members)) => Ok(members),
        Ok(_) => Err("not a JSON object".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod wycheproof_tests;
