//! The answer to an authorization request (nats-io/jwt v2 `authorization_claims.go`).

use serde::Serialize;

use super::jwt::{self, SignJwtError};
use crate::{
    clock::UnixTime,
    keys::{AccountKey, ServerKey, Signer, UserKey},
};

#[derive(Serialize)]
struct ResponseClaims<'a> {
    iat: i64,
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    nats: Response<'a>,
}

#[derive(Serialize)]
struct Response<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    jwt: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    issuer_account: Option<&'a str>,
    #[serde(rename = "type")]
    kind: &'static str,
    version: u8,
}

/// What an answer says: exactly one of the two.
pub(crate) enum Answer<'a> {
    /// A signed user JWT.
    User(&'a str),
    /// A text for the server's log; the client sees `Authorization Violation`.
    Error(&'static str),
}

/// To whom an answer goes: it is good for this connection at this server only.
pub(crate) struct Addressee<'a> {
    pub(crate) server: &'a ServerKey,
    pub(crate) user: &'a UserKey,
}

/// Signs an answer. `issuer_account` is named when a signing key of that account signs.
pub(crate) fn sign(
    answer: &Answer<'_>,
    to: &Addressee<'_>,
    now: UnixTime,
    signer: &dyn Signer,
    issuer_account: Option<&AccountKey>,
) -> Result<String, SignJwtError> {
    let (jwt, error) = match answer {
        Answer::User(jwt) => (Some(*jwt), None),
        Answer::Error(text) => (None, Some(*text)),
    };
    let nats = Response {
        jwt,
        error,
        issuer_account: issuer_account.map(AccountKey::as_str),
        kind: "authorization_response",
        version: 2,
    };
    let claims = ResponseClaims {
        iat: now.seconds(),
        iss: signer.public_key().as_str(),
        sub: to.user.as_str(),
        aud: to.server.as_str(),
        nats,
    };
    jwt::sign(&claims, signer)
}
