//! Creates service tokens, for `callgate token`.

use std::time::Duration;

use callgate::{
    clock::UnixTime,
    keys::{KeyKind, KeyPair, Seed},
};
use data_encoding::BASE64URL_NOPAD;
use serde::Serialize;

/// The header that every JWT library supports.
const HEADER: &[u8] = br#"{"typ":"JWT","alg":"EdDSA"}"#;

/// Why no token was created. Never contains the seed.
#[derive(Debug, thiserror::Error)]
pub enum MintError {
    /// The seed is of a kind that does not sign service tokens.
    #[error(
        "a service signs its tokens with a user seed (SU…) or an account seed (SA…), not with a {0} seed"
    )]
    Kind(KeyKind),
    /// The user is empty.
    #[error("the user must not be empty")]
    NoUser,
    /// The lifetime is less than a second.
    #[error("the token's lifetime must be at least one second")]
    NoLifetime,
    /// The audience is empty.
    #[error("the audience is empty: name it, or omit it")]
    NoAudience,
    /// The seed is malformed.
    #[error(transparent)]
    Key(#[from] callgate::keys::KeyError),
    /// The signature failed.
    #[error(transparent)]
    Sign(#[from] callgate::keys::SignError),
    /// The claims cannot be encoded.
    #[error("cannot encode the claims as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

#[derive(Serialize)]
struct Claims<'a> {
    sub: &'a str,
    iss: &'a str,
    iat: i64,
    exp: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    aud: Option<&'a str>,
}

/// Creates a token for `user`, valid from `now` for `ttl`, signed with `seed`.
///
/// # Errors
/// If the seed is of another kind, or if user, lifetime or audience are empty.
pub fn mint_service_token(
    seed: Seed,
    user: &str,
    ttl: Duration,
    audience: Option<&str>,
    now: UnixTime,
) -> Result<String, MintError> {
    let key = KeyPair::from_seed(seed)?;
    match key.kind() {
        KeyKind::User | KeyKind::Account => {}
        kind @ (KeyKind::Operator | KeyKind::Server | KeyKind::Cluster | KeyKind::Curve) => {
            return Err(MintError::Kind(kind));
        }
    }
    if user.is_empty() {
        return Err(MintError::NoUser);
    }
    if ttl.as_secs() == 0 {
        return Err(MintError::NoLifetime);
    }
    if audience.is_some_and(str::is_empty) {
        return Err(MintError::NoAudience);
    }
    let issuer = key.public_key();
    let claims = serde_json::to_vec(&Claims {
        sub: user,
        iss: &issuer,
        iat: now.seconds(),
        exp: now.plus(ttl).seconds(),
        aud: audience,
    })?;
    let mut token = BASE64URL_NOPAD.encode(HEADER);
    token.push('.');
    BASE64URL_NOPAD.encode_append(&claims, &mut token);
    let signature = key.sign(token.as_bytes())?;
    token.push('.');
    BASE64URL_NOPAD.encode_append(&signature, &mut token);
    Ok(token)
}
