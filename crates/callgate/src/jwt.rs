//! The outer form of a NATS JWT: three parts, signed with Ed25519 by an nkey.

use std::{borrow::Cow, io};

use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};

use crate::{
    keys::{SignError, Signer},
    secret::Wiped,
};

/// `{"typ":"JWT","alg":"ed25519-nkey"}`
const HEADER: &str = "eyJ0eXAiOiJKV1QiLCJhbGciOiJlZDI1NTE5LW5rZXkifQ";
const ALGORITHM: &str = "ed25519-nkey";
/// Capacity for the claims of a user with a few permissions, in bytes. Small enough for the thread
/// cache of glibc (1,032 bytes at most).
const CLAIMS_CAPACITY: usize = 1000;

/// In bytes; a larger user JWT is neither signed nor sent.
pub(crate) const MAX_USER_JWT: usize = 32 * 1024;
/// The most bytes of JSON in a JWT, next to its header, its signature and two dots.
pub(crate) const MAX_USER_CLAIMS: usize = (MAX_USER_JWT - HEADER.len() - 86 - 2) / 4 * 3;

/// The value of a numeric limit in a JWT that means "no limit".
pub(crate) const NO_LIMIT: i64 = -1;

/// Why a text is not a NATS JWT. Never contains the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum JwtError {
    /// Not three parts of base64url without padding.
    #[error("not a JWT: three parts of base64url, joined by dots, are expected")]
    Form,
    /// The header is not that of an nkey-signed JWT.
    #[error("the JWT's header is not typ JWT, alg {ALGORITHM}")]
    Header,
    /// The claims are not the expected JSON.
    #[error("the JWT's claims cannot be read: {0}")]
    Claims(String),
}

#[derive(Deserialize)]
struct Header {
    typ: String,
    alg: String,
}

/// The parts of a JWT; nothing in them is verified yet.
pub(crate) struct Parts<'a> {
    signed: &'a [u8],
    claims: Wiped,
    signature: Vec<u8>,
}

impl<'a> Parts<'a> {
    /// Splits a token and checks that its header is that of an nkey-signed JWT.
    pub(crate) fn split(token: &'a [u8]) -> Result<Self, JwtError> {
        // From both ends, because the claims are long; a dot in them is not valid base64url.
        let first = token.iter().position(|byte| *byte == b'.').ok_or(JwtError::Form)?;
        let last = token.iter().rposition(|byte| *byte == b'.').ok_or(JwtError::Form)?;
        let (header, signed) = (token.get(..first), token.get(..last));
        let (claims, signature) = (token.get(first + 1..last), token.get(last + 1..));
        let (Some(header), Some(signed), Some(claims), Some(signature)) =
            (header, signed, claims, signature)
        else {
            return Err(JwtError::Form);
        };
        if header != HEADER.as_bytes() {
            check_header(header)?;
        }
        let decode = |part: &[u8]| BASE64URL_NOPAD.decode(part).map_err(|_| JwtError::Form);
        Ok(Self { signed, claims: decode(claims)?.into(), signature: decode(signature)? })
    }

    /// Deserializes the claims.
    pub(crate) fn claims<'de, T: Deserialize<'de>>(&'de self) -> Result<T, JwtError> {
        serde_json::from_slice(&self.claims).map_err(|error| JwtError::Claims(position(&error)))
    }

    /// The signed bytes and the signature.
    pub(crate) fn signed(&self) -> (&[u8], &[u8]) {
        (self.signed, &self.signature)
    }
}

/// serde's messages may quote a value, which may be a password: keep only the kind and the position.
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

/// Why a JWT could not be signed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SignJwtError {
    #[error(transparent)]
    Sign(#[from] SignError),
    #[error("claims cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// The claims are larger than this many bytes.
    #[error("the claims are larger than {0} bytes")]
    TooLarge(usize),
}

/// Serializes claims and signs them. Larger claims than `max` bytes of JSON are neither serialized
/// completely nor signed.
pub(crate) fn sign_within(
    claims: &impl Serialize,
    max: usize,
    signer: &dyn Signer,
) -> Result<String, SignJwtError> {
    let mut json = Limited { written: Vec::with_capacity(CLAIMS_CAPACITY), max, exceeded: false };
    let result = serde_json::to_writer(&mut json, claims);
    if json.exceeded {
        return Err(SignJwtError::TooLarge(max));
    }
    result?;
    sign_json(&json.written, |message| signer.sign(message))
}

/// Stops at a number of bytes.
struct Limited {
    written: Vec<u8>,
    max: usize,
    exceeded: bool,
}

impl io::Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.written.len() + bytes.len() > self.max {
            self.exceeded = true;
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.written.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Serializes claims and signs them with any key.
pub(crate) fn sign_with(
    claims: &impl Serialize,
    sign: impl FnOnce(&[u8]) -> Result<[u8; 64], SignError>,
) -> Result<String, SignJwtError> {
    let mut json = Vec::with_capacity(CLAIMS_CAPACITY);
    serde_json::to_writer(&mut json, claims)?;
    sign_json(&json, sign)
}

/// Signs claims that are already JSON.
pub(crate) fn sign_json(
    json: &[u8],
    sign: impl FnOnce(&[u8]) -> Result<[u8; 64], SignError>,
) -> Result<String, SignJwtError> {
    let mut token = String::with_capacity(HEADER.len() + json.len() * 4 / 3 + 96);
    token.push_str(HEADER);
    token.push('.');
    BASE64URL_NOPAD.encode_append(json, &mut token);
    let signature = sign(token.as_bytes())?;
    token.push('.');
    BASE64URL_NOPAD.encode_append(&signature, &mut token);
    Ok(token)
}

/// Whether a text has the form of a signed JWT, regardless of signer and algorithm: three parts, the
/// first of them a JSON object in base64url. The signature may be empty: `alg: none` is a token, too,
/// and an invalid one.
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

/// Whether the claims of a text are those of a NATS user JWT. Nothing is verified: a NATS user JWT,
/// such as the sentinel in operator mode, is never a credential for a callout.
pub fn is_nats_user(text: &str) -> bool {
    #[derive(Deserialize)]
    struct Claims<'a> {
        #[serde(borrow)]
        nats: Nats<'a>,
    }
    #[derive(Deserialize)]
    struct Nats<'a> {
        #[serde(borrow, rename = "type")]
        kind: Cow<'a, str>,
    }
    let Some(claims) = text.split('.').nth(1) else { return false };
    let Ok(json) = BASE64URL_NOPAD.decode(claims.as_bytes()).map(Wiped::from) else {
        return false;
    };
    may_have_nats_member(&json)
        && serde_json::from_slice::<Claims<'_>>(&json).is_ok_and(|c| c.nats.kind == "user")
}

/// False if no member of this JSON can be named `nats`, which is faster than parsing it. JSON with an
/// escape, or that is not UTF-8, may have one.
fn may_have_nats_member(json: &[u8]) -> bool {
    let Ok(json) = std::str::from_utf8(json) else { return true };
    let is_name = |rest: &str| rest.trim_ascii_start().starts_with(':');
    json.contains('\\') || json.split("\"nats\"").skip(1).any(is_name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::{AccountSigner, KeyKind, VerifyingKey, parse_public};

    #[test]
    fn signature_covers_exactly_what_was_signed() {
        let signer = AccountSigner::generate().unwrap();
        let key = parse_public(signer.public_key().as_str(), &[KeyKind::Account]).unwrap();
        let token = sign_within(&serde_json::json!({"a": 1}), 100, &signer).unwrap();
        assert!(is_signed_by(&token, &key));
        let other = sign_within(&serde_json::json!({"a": 2}), 100, &signer).unwrap();
        let mixed =
            format!("{}.{}", other.rsplit_once('.').unwrap().0, token.rsplit_once('.').unwrap().1);
        assert!(!is_signed_by(&mixed, &key));
    }

    fn is_signed_by(token: &str, key: &VerifyingKey) -> bool {
        let parts = Parts::split(token.as_bytes()).unwrap();
        let (signed, signature) = parts.signed();
        key.verifies(signed, signature)
    }

    /// Signs nothing.
    #[derive(Debug)]
    struct NeverSigns(crate::keys::AccountKey);

    impl Signer for NeverSigns {
        fn public_key(&self) -> &crate::keys::AccountKey {
            &self.0
        }

        fn sign(&self, _message: &[u8]) -> Result<[u8; 64], SignError> {
            panic!("claims that are too large must not be signed")
        }
    }

    #[test]
    fn claims_beyond_the_limit_are_not_signed() {
        let key: crate::keys::AccountKey =
            nkeys::KeyPair::new_account().public_key().parse().unwrap();
        for length in [95, 1_000_000] {
            let claims = serde_json::json!({ "a": "x".repeat(length) });
            let result = sign_within(&claims, 100, &NeverSigns(key.clone()));
            assert!(matches!(result, Err(SignJwtError::TooLarge(100))), "{result:?}");
        }
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
        for form in [
            "",
            "a",
            "a.b",
            "a.b.c.d",
            HEADER,
            &format!("{HEADER}.e30"),
            &format!("{HEADER}.e30=.AAAA"),
            &format!("{HEADER}.e30.AAAA.AAAA"),
            &format!("{HEADER}..e30.AAAA"),
        ] {
            assert!(Parts::split(form.as_bytes()).is_err(), "{form}");
        }
    }

    #[test]
    fn nats_user_jwt_is_recognized_by_its_claims() {
        let token = |json: &str| format!("x.{}.y", BASE64URL_NOPAD.encode(json.as_bytes()));
        for json in [
            r#"{"nats":{"type":"user"}}"#,
            r#"{ "aud" : "nats" , "nats" : { "type" : "user" } }"#,
            "{\"nats\"\n\t\r :{\"type\":\"user\"}}",
            r#"{"n\u0061ts":{"type":"\u0075ser"}}"#,
        ] {
            assert!(is_nats_user(&token(json)), "{json}");
        }
        let not_utf8 = BASE64URL_NOPAD.encode(b"{\"x\":\"\xff\",\"nats\":{\"type\":\"user\"}}");
        assert!(is_nats_user(&format!("x.{not_utf8}.y")));
        for json in [
            r#"{"aud":"nats"}"#,
            r#"{"nats":{"type":"account"}}"#,
            r#"{"x":{"nats":{"type":"user"}}}"#,
            r#"{"a\"nats":{"type":"user"}}"#,
            "",
        ] {
            assert!(!is_nats_user(&token(json)), "{json}");
        }
    }

    #[test]
    fn jwt_is_recognized_by_its_form() {
        for text in ["eyJhbGciOiJub25lIn0.e30.", "eyJh.eyJz.c2ln", "ewogIC.e30.AA"] {
            assert!(looks_like_jwt(text), "{text}");
        }
        for text in ["", "..", "a.b.c", "eyJh.eyJz", "eyJh..x", "pass.wo.rd", "eyJh.e!.x"] {
            assert!(!looks_like_jwt(text), "{text}");
        }
    }
}
