//! Signs the JWTs that operator mode is built on: of an operator, its accounts and fixed users.
//!
//! For set-up and tests. A running callout does not need them: it only signs users.

use crate::{
    clock::UnixTime,
    jwt::{self, SignJwtError},
    keys::{AccountKey, CurvePublicKey, KeyPair, SignError, UserKey},
    permissions::Rules,
    secret::Secret,
};

mod claims;

/// Why a JWT could not be signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JwtError {
    /// The signer failed.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The claims could not be serialized.
    #[error("the claims cannot be written as JSON: {0}")]
    Write(String),
}

impl From<SignJwtError> for JwtError {
    fn from(error: SignJwtError) -> Self {
        match error {
            SignJwtError::Sign(error) => Self::Sign(error),
            SignJwtError::Json(error) => Self::Write(error.to_string()),
            error @ SignJwtError::TooLarge(_) => Self::Write(error.to_string()),
        }
    }
}

/// Allowed and denied subjects. An empty `allow` allows nothing.
///
/// Plain texts, because the templates of a scoped signing key contain functions such as `{{name()}}`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rights {
    /// Publishing.
    pub publish: Rules<String>,
    /// Subscribing.
    pub subscribe: Rules<String>,
}

impl Rights {
    /// Allows publishing and subscribing to these subjects only.
    pub fn new<S: Into<String>>(
        publish: impl IntoIterator<Item = S>,
        subscribe: impl IntoIterator<Item = S>,
    ) -> Self {
        Self { publish: allow(publish), subscribe: allow(subscribe) }
    }
}

fn allow<S: Into<String>>(subjects: impl IntoIterator<Item = S>) -> Rules<String> {
    Rules { allow: subjects.into_iter().map(Into::into).collect(), deny: Vec::new() }
}

/// An operator, which signs accounts.
#[derive(Debug, Clone)]
pub struct Operator {
    /// A display name.
    pub name: String,
    /// The account of server events and of the server's own API. Without one nats-server 2.15.1
    /// crashes when it calls out in operator mode.
    pub system_account: AccountKey,
}

impl Operator {
    /// Signs the operator's JWT with its own key.
    ///
    /// # Errors
    /// If the key cannot sign.
    pub fn sign(&self, operator: &KeyPair, now: UnixTime) -> Result<String, JwtError> {
        let body = claims::operator(&self.system_account);
        let key = operator.public_key();
        sign(&self.name, &key, &key, body, now, |message| operator.sign(message))
    }
}

/// A signing key with a template: its users get the template's permissions, regardless of their JWT.
#[derive(Debug, Clone)]
pub struct Scope {
    /// The name of the role.
    pub role: String,
    /// The signing key.
    pub key: AccountKey,
    /// What its users may do; `{{name()}}` and `{{tag(x)}}` are expanded by the server.
    pub template: Rights,
}

/// Makes an account the callout account.
#[derive(Debug, Clone)]
pub struct ExternalAuthorization {
    /// The callout's own users: nats-server does not call out for them.
    pub auth_users: Vec<UserKey>,
    /// The accounts that users may be placed in.
    pub allowed_accounts: AllowedAccounts,
    /// The public key that requests are sealed for.
    pub xkey: Option<CurvePublicKey>,
}

/// The accounts that a callout may place users in.
#[derive(Debug, Clone)]
pub enum AllowedAccounts {
    /// In any account of the operator.
    Any,
    /// In these, and the callout account itself.
    Only(Vec<AccountKey>),
}

/// An account without limits, and without JetStream unless enabled.
#[derive(Debug, Clone)]
pub struct Account {
    /// A display name.
    pub name: String,
    /// Its key.
    pub key: AccountKey,
    /// Keys that sign its users.
    pub signing_keys: Vec<AccountKey>,
    /// Scoped signing keys.
    pub scopes: Vec<Scope>,
    /// Present in the callout account only.
    pub external_authorization: Option<ExternalAuthorization>,
    /// Whether it may use JetStream, without limit.
    pub jetstream: bool,
}

impl Account {
    /// An account that only its own key signs for.
    pub fn new(name: impl Into<String>, key: AccountKey) -> Self {
        Self {
            name: name.into(),
            key,
            signing_keys: Vec::new(),
            scopes: Vec::new(),
            external_authorization: None,
            jetstream: false,
        }
    }

    /// Signs the account's JWT with the operator's key.
    ///
    /// # Errors
    /// If the key cannot sign.
    pub fn sign(&self, operator: &KeyPair, now: UnixTime) -> Result<String, JwtError> {
        let (key, issuer) = (self.key.as_str(), operator.public_key());
        let body = claims::account(self);
        sign(&self.name, key, &issuer, body, now, |message| operator.sign(message))
    }
}

/// A user that the server admits by its JWT without calling out, or a sentinel.
#[derive(Debug, Clone)]
pub struct FixedUser {
    /// The name in logs.
    pub name: String,
    /// Its key.
    pub key: UserKey,
    /// What it may do; `None` is everything inside its account.
    pub rights: Option<Rights>,
    /// Whether the JWT alone suffices, without proof of the key: for sentinels, which only trigger the
    /// callout.
    pub bearer: bool,
    /// The account, if a signing key of it signs.
    pub issuer_account: Option<AccountKey>,
}

impl FixedUser {
    /// A user that is unrestricted inside its account.
    pub fn new(name: impl Into<String>, key: UserKey) -> Self {
        Self { name: name.into(), key, rights: None, bearer: false, issuer_account: None }
    }

    /// The credentials that every client presents so that the server calls out. They allow nothing.
    pub fn sentinel(key: UserKey) -> Self {
        Self { bearer: true, rights: Some(Rights::default()), ..Self::new("sentinel", key) }
    }

    /// Signs the user's JWT with its account's key, or a signing key of it.
    ///
    /// # Errors
    /// If the key cannot sign.
    pub fn sign(&self, account: &KeyPair, now: UnixTime) -> Result<String, JwtError> {
        let issuer = account.public_key();
        let body = claims::user(self);
        sign(&self.name, self.key.as_str(), &issuer, body, now, |message| account.sign(message))
    }
}

fn sign(
    name: &str,
    sub: &str,
    iss: &str,
    nats: impl serde::Serialize,
    now: UnixTime,
    signer: impl FnOnce(&[u8]) -> Result<[u8; 64], SignError>,
) -> Result<String, JwtError> {
    let claims = claims::Claims::new(name, sub, iss, now, nats);
    Ok(jwt::sign_with(&claims, signer)?)
}

/// The contents of a credentials file for NATS clients: a user's JWT and its seed.
pub fn credentials(jwt: &str, seed: &Secret) -> Secret {
    Secret::new(format!(
        "-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n\
         -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
        seed.expose()
    ))
}

#[cfg(test)]
mod tests;
