//! The outer form of a NATS JWT: three parts, and an Ed25519 signature by an nkey.

use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::keys::{SignError, Signer, VerifyingKey};

/// `{"typ":"JWT","alg":"ed25519-nkey"}`
const HEADER: &str = "eyJ0eXAiOiJKV1QiLCJhbGciOiJlZDI1NTE5LW5rZXkifQ";
const ALGORITHM: &str = "ed25519-nkey";

/// Why a text is not a NATS JWT. Never contains the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum JwtError {
    /// Not three parts of base64url without padding.
    #[error("not a JWT: three parts of base64url, joined by dots, are expected")]
    Form,
    /// The header is not that of an nkey-signed JWT.
    #[error("the JWT's header is not typ JWT, alg {ALGORITHM}")]
    Header,
    /// The claims are not the JSON that is expected.
    #[error("the JWT's claims cannot be read: {0}")]
    Claims(String),
}

#[derive(Deserialize)]
struct Header {
    typ: String,
    alg: String,
}

/// A JWT taken apart; nothing in it is verified yet.
pub(crate) struct Parts<'a> {
    signed: &'a [u8],
    claims: Zeroizing<Vec<u8>>,
    signature: Vec<u8>,
}

impl<'a> Parts<'a> {
    /// Takes a token apart and checks that its header is that of an nkey-signed JWT.
    pub(crate) fn split(token: &'a [u8]) -> Result<Self, JwtError> {
        let mut parts = token.split(|byte| *byte == b'.');
        let (Some(header), Some(claims), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(JwtError::Form);
        };
        let signed = token.get(..header.len() + 1 + claims.len()).ok_or(JwtError::Form)?;
        if header != HEADER.as_bytes() {
            check_header(header)?;
        }
        let decode = |part: &[u8]| BASE64URL_NOPAD.decode(part).map_err(|_| JwtError::Form);
        Ok(Self { signed, claims: Zeroizing::new(decode(claims)?), signature: decode(signature)? })
    }

    /// The claims' JSON, of whatever type the caller names.
    pub(crate) fn claims<T: for<'de> Deserialize<'de>>(&self) -> Result<T, JwtError> {
        serde_json::from_slice(&self.claims).map_err(|error| JwtError::Claims(position(&error)))
    }

    /// True if `key` signed it.
    pub(crate) fn is_signed_by(&self, key: &VerifyingKey) -> bool {
        key.verifies(self.signed, &self.signature)
    }
}

/// serde's messages may quote a value, and a value may be a password: keep the kind and the place.
fn position(error: &serde_json::Error) -> String {
    format!("{:?} error at byte {}", error.classify(), error.column())
}

fn check_header(header: &[u8]) -> Result<(), JwtError> {
    let json = BASE64URL_NOPAD.decode(header).map_err(|_| JwtError::Form)?;
    let header: Header = serde_json::from_slice(&json).map_err(|_| JwtError::Header)?;
    match header.typ.eq_ignore_ascii_case("JWT") && header.alg == ALGORITHM {
        true => Ok(()),
        false => Err(JwtError::Header),
    }
}

/// Why a JWT could not be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SignJwtError {
    #[error(transparent)]
    Sign(#[from] SignError),
    #[error("claims cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// Writes and signs a JWT.
pub(crate) fn sign(claims: &impl Serialize, signer: &dyn Signer) -> Result<String, SignJwtError> {
    sign_with(claims, |message| signer.sign(message))
}

/// The same with any key.
pub(crate) fn sign_with(
    claims: &impl Serialize,
    sign: impl FnOnce(&[u8]) -> Result<[u8; 64], SignError>,
) -> Result<String, SignJwtError> {
    let json = serde_json::to_vec(claims)?;
    let mut token = String::with_capacity(HEADER.len() + json.len() * 4 / 3 + 96);
    token.push_str(HEADER);
    token.push('.');
    BASE64URL_NOPAD.encode_append(&json, &mut token);
    let signature = sign(token.as_bytes())?;
    token.push('.');
    BASE64URL_NOPAD.encode_append(&signature, &mut token);
    Ok(token)
}

/// True for a text in the form of a signed JWT, whoever signed it and how: three parts, of which
/// the first is a JSON object in base64url. The signature may be missing: `alg: none` is a token
/// too, and a bad one.
pub fn looks_like_jwt(text: &str) -> bool {
    let mut parts = text.split('.');
    let (Some(header), Some(claims), Some(signature), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    let base64url = |part: &str| {
        part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'='))
    };
    // Every JSON object that begins with `{"` is `eyJ…` in base64; `{ "` and `{\n` differ.
    let object = header.starts_with("ey") || header.starts_with("ew");
    object && !claims.is_empty() && [header, claims, signature].into_iter().all(base64url)
}

/// True if the text is a NATS user JWT by its claims. Nothing is verified: it only decides that
/// such a text is no credential for a callout (the sentinel in operator mode is one).
pub(crate) fn is_nats_user(text: &str) -> bool {
    #[derive(Deserialize)]
    struct Claims {
        nats: Nats,
    }
    #[derive(Deserialize)]
    struct Nats {
        #[serde(rename = "type")]
        kind: String,
    }
    let Some(claims) = text.split('.').nth(1) else { return false };
    let Ok(json) = BASE64URL_NOPAD.decode(claims.as_bytes()).map(Zeroizing::new) else {
        return false;
    };
    serde_json::from_slice::<Claims>(&json).is_ok_and(|claims| claims.nats.kind == "user")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::{AccountSigner, KeyKind, parse_public};

    #[test]
    fn what_is_signed_is_verified_and_nothing_else() {
        let signer = AccountSigner::generate().unwrap();
        let key = parse_public(signer.public_key().as_str(), &[KeyKind::Account]).unwrap();
        let token = sign(&serde_json::json!({"a": 1}), &signer).unwrap();
        assert!(Parts::split(token.as_bytes()).unwrap().is_signed_by(&key));
        let other = sign(&serde_json::json!({"a": 2}), &signer).unwrap();
        let mixed =
            format!("{}.{}", other.rsplit_once('.').unwrap().0, token.rsplit_once('.').unwrap().1);
        assert!(!Parts::split(mixed.as_bytes()).unwrap().is_signed_by(&key));
    }

    #[test]
    fn other_headers_and_forms_are_refused() {
        let header = |json: &str| BASE64URL_NOPAD.encode(json.as_bytes());
        for header in [
            header(r#"{"typ":"JWT","alg":"none"}"#),
            header(r#"{"typ":"JWT","alg":"HS256"}"#),
            header(r#"{"typ":"JWT","alg":"ed25519-nkey","alg":"none"}"#),
            header(r#"{"alg":"ed25519-nkey"}"#),
            "!".to_owned(),
        ] {
            assert!(Parts::split(format!("{header}.e30.AAAA").as_bytes()).is_err());
        }
        for form in ["", "a", "a.b", "a.b.c.d", &format!("{HEADER}.e30=.AAAA")] {
            assert!(Parts::split(form.as_bytes()).is_err(), "{form}");
        }
    }

    #[test]
    fn a_jwt_is_recognised_by_its_form() {
        for text in ["eyJhbGciOiJub25lIn0.e30.", "eyJh.eyJz.c2ln", "ewogIC.e30.AA"] {
            assert!(looks_like_jwt(text), "{text}");
        }
        for text in ["", "..", "a.b.c", "eyJh.eyJz", "eyJh..x", "pass.wo.rd", "eyJh.e!.x"] {
            assert!(!looks_like_jwt(text), "{text}");
        }
    }
}
