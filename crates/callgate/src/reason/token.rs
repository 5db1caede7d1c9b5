//! What a refused token says about itself, and which check it failed.

use data_encoding::BASE64URL_NOPAD;
use serde_json::{Map, Value};

use crate::json::parse_strict;

/// How deep the claims of a token may be nested.
const MAX_DEPTH: usize = 16;

/// The check that a token failed, for refusals with [`Reason::BadToken`](super::Reason::BadToken). The
/// names are stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Cause {
    /// Not a token: not a JWT, or one that cannot be read.
    Malformed,
    /// No authenticator accepts its issuer.
    Issuer,
    /// No key of the issuer signed it, or not with an accepted algorithm.
    Signature,
    /// A claim is missing, has the wrong type, or has a value that is not accepted.
    Claims,
    /// Anything else.
    Other,
}

impl Cause {
    /// Every cause, for metrics and documentation.
    pub const ALL: [Cause; 5] =
        [Self::Malformed, Self::Issuer, Self::Signature, Self::Claims, Self::Other];

    /// The stable name used in logs, metrics and `explain`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Issuer => "issuer",
            Self::Signature => "signature",
            Self::Claims => "claims",
            Self::Other => "other",
        }
    }
}

/// The issuer and the user that a refused token names. Not sanitized.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenClaims {
    /// `iss`, if it is a text.
    pub issuer: Option<String>,
    /// `sub`, if it is a text.
    pub user: Option<String>,
    /// True if the issuer's signature was verified. Otherwise anyone can have written the claims.
    pub proven: bool,
}

impl TokenClaims {
    /// Reads a token without verifying anything; `None` if it is not a JWT or names neither.
    pub(crate) fn read(token: &str, proven: bool) -> Option<Self> {
        Self::of(&unverified_claims(token)?, proven)
    }

    /// Takes them from claims; `None` if there are neither.
    pub(crate) fn of(claims: &Map<String, Value>, proven: bool) -> Option<Self> {
        let text = |name: &str| claims.get(name).and_then(Value::as_str).map(str::to_owned);
        let found = Self { issuer: text("iss"), user: text("sub"), proven };
        (found.issuer.is_some() || found.user.is_some()).then_some(found)
    }
}

/// The claims in a JWT, without any check of its signature.
pub(crate) fn unverified_claims(token: &str) -> Option<Map<String, Value>> {
    let claims = token.split('.').nth(1)?;
    let claims = BASE64URL_NOPAD.decode(claims.as_bytes()).ok()?;
    match parse_strict(&claims, MAX_DEPTH).ok()? {
        Value::Object(claims) => Some(claims),
        _ => None,
    }
}
