//! Signs user JWTs and authorization responses.
//!
//! Configuration mode and operator mode are two types: they differ in which key signs and in how the
//! account is named, and nats-server rejects a mistake in either.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    ReplyContext,
    response::{self, Response},
    user_claims::{User, UserClaims},
};
use crate::{
    clock::UnixTime,
    connection::ConnectionKind,
    jwt::{self, MAX_USER_CLAIMS, MAX_USER_JWT, SignJwtError},
    keys::{AccountKey, Signer},
    permissions::Access,
    policy::{
        Grant,
        scope::{literal_name, literal_tag},
    },
    reason::{Denial, Reason},
    sanitize::excerpt,
};

/// Signs, in one of the two modes of nats-server.
#[derive(Debug)]
pub(crate) enum Minter {
    /// nats-server has the issuer's public key in its configuration.
    Configuration(ConfigurationMinter),
    /// Accounts are JWTs signed by an operator.
    Operator(OperatorMinter),
}

/// Signs everything with one issuer; accounts are plain names.
#[derive(Debug)]
pub(crate) struct ConfigurationMinter {
    /// The account nkey configured as `auth_callout.issuer`.
    pub(crate) issuer: Arc<dyn Signer>,
}

/// Signs each user with a key of its account.
#[derive(Debug)]
pub(crate) struct OperatorMinter {
    /// The callout account.
    pub(crate) callout_account: AccountKey,
    /// Its key or one of its signing keys: signs the responses.
    pub(crate) issuer: Arc<dyn Signer>,
    /// The accounts for users, by name.
    pub(crate) accounts: BTreeMap<String, AccountKeys>,
}

/// The keys of one account in operator mode.
#[derive(Debug)]
pub struct AccountKeys {
    /// The account.
    pub id: AccountKey,
    /// Its key, or one of its signing keys.
    pub signer: Arc<dyn Signer>,
    /// Scoped signing keys, by scope name.
    pub scoped: BTreeMap<String, Arc<dyn Signer>>,
}

impl Minter {
    /// The `sub` of every request for this callout.
    pub(crate) fn request_subject(&self) -> &AccountKey {
        match self {
            Self::Configuration(minter) => minter.issuer.public_key(),
            Self::Operator(minter) => &minter.callout_account,
        }
    }

    /// Whether `name` is the callout account, as far as the keys tell: only in operator mode.
    pub(crate) fn is_callout_account(&self, name: &str) -> bool {
        match self {
            Self::Configuration(_) => false,
            Self::Operator(minter) => {
                minter.accounts.get(name).is_some_and(|keys| keys.id == minter.callout_account)
            }
        }
    }

    /// Signs the user JWT of a grant.
    ///
    /// # Errors
    /// If the account or the scope has no key, the JWT is too large, or the signer fails.
    pub(crate) fn user_jwt(&self, grant: &Grant, context: &ReplyContext) -> Result<String, Denial> {
        if let Access::Scoped(scope) = grant.access() {
            literal_under_scope(scope, grant)?;
        }
        let Placed { signer, aud, issuer_account } = self.place(grant)?;
        // A leaf node keeps the denies of a sentinel unless permissions replace them (nats-server
        // client.go: RegisterNkeyUser resets only those of the connection itself).
        let leaf_node = context.ids.connection == Some(ConnectionKind::LeafNode);
        let explicit = leaf_node && issuer_account.is_some();
        let claims = UserClaims {
            jti: &context.ids.request,
            iat: context.now.seconds(),
            iss: signer.public_key().as_str(),
            name: grant.user(),
            sub: context.user.as_str(),
            aud,
            exp: grant.expires_at().map(UnixTime::seconds),
            nats: User::new(grant.access(), grant.tags(), issuer_account, explicit),
        };
        jwt::sign_within(&claims, MAX_USER_CLAIMS, signer).map_err(|error| match error {
            SignJwtError::TooLarge(_) => Denial::new(
                Reason::GrantTooLarge,
                format!("the user JWT would be larger than {MAX_USER_JWT} bytes"),
            ),
            SignJwtError::Sign(_) | SignJwtError::Json(_) => {
                Denial::new(Reason::BackendUnavailable, error.to_string())
            }
        })
    }

    /// In operator mode, the signing keys and the account. Only the server's own log says whether it
    /// accepts them; this is the text to compare with it.
    pub(crate) fn signers_of(&self, grant: &Grant) -> Option<String> {
        let Self::Operator(minter) = self else { return None };
        let Placed { signer, issuer_account, .. } = self.place(grant).ok()?;
        let scope = match grant.access() {
            Access::Scoped(scope) => format!(" for its scope `{scope}`"),
            Access::Unrestricted | Access::Limited(_) => String::new(),
        };
        Some(format!(
            "user of account {} signed by {}{scope}, answer signed by {}",
            issuer_account?,
            signer.public_key(),
            minter.issuer.public_key()
        ))
    }

    fn place<'a>(&'a self, grant: &'a Grant) -> Result<Placed<'a>, Denial> {
        match self {
            Self::Configuration(minter) => minter.place(grant),
            Self::Operator(minter) => minter.place(grant),
        }
    }

    /// Signs the response.
    ///
    /// # Errors
    /// If the signer fails.
    pub(crate) fn response(
        &self,
        response: &Response<'_>,
        context: &ReplyContext,
    ) -> Result<String, SignJwtError> {
        match self {
            Self::Configuration(minter) => {
                response::sign(response, context, minter.issuer.as_ref(), None)
            }
            Self::Operator(minter) => {
                let by_signing_key = minter.issuer.public_key() != &minter.callout_account;
                let account = by_signing_key.then_some(&minter.callout_account);
                response::sign(response, context, minter.issuer.as_ref(), account)
            }
        }
    }
}

/// How a user JWT names the account.
struct Placed<'a> {
    signer: &'a dyn Signer,
    aud: Option<&'a str>,
    issuer_account: Option<&'a str>,
}

impl ConfigurationMinter {
    fn place<'a>(&'a self, grant: &'a Grant) -> Result<Placed<'a>, Denial> {
        if let Access::Scoped(scope) = grant.access() {
            let detail = format!("scope `{scope}` needs a scoped signing key: use operator mode");
            return Err(Denial::new(Reason::PolicyError, detail));
        }
        // issuer_account must be absent here (auth_callout.go, processing of `arc`).
        let aud = Some(grant.account());
        Ok(Placed { signer: self.issuer.as_ref(), aud, issuer_account: None })
    }
}

impl OperatorMinter {
    fn place<'a>(&'a self, grant: &'a Grant) -> Result<Placed<'a>, Denial> {
        let account = grant.account();
        let keys = self.accounts.get(account).ok_or_else(|| {
            let detail = format!("no signing key is configured for the account `{account}`");
            Denial::new(Reason::AccountNotAllowed, detail)
        })?;
        let signer = match grant.access() {
            Access::Scoped(scope) => keys.scoped.get(scope).ok_or_else(|| {
                let detail = format!("the account `{account}` has no scoped signing key `{scope}`");
                Denial::new(Reason::PolicyError, detail)
            })?,
            Access::Unrestricted | Access::Limited(_) => &keys.signer,
        };
        Ok(Placed { signer: signer.as_ref(), aud: None, issuer_account: Some(keys.id.as_str()) })
    }
}

/// nats-server inserts name and tags into the templates of a scoped key without escaping them.
fn literal_under_scope(scope: &str, grant: &Grant) -> Result<(), Denial> {
    let literal = |what: &str, text: &str, checked: Result<(), &'static str>| {
        checked.map_err(|why| {
            let text = excerpt(text);
            let detail = format!("scope `{scope}`: the {what} `{text}` {why}");
            Denial::new(Reason::UnsafeTemplateValue, detail)
        })
    };
    literal("user name", grant.user(), literal_name(grant.user()))?;
    grant.tags().iter().try_for_each(|tag| literal("tag", tag, literal_tag(tag)))
}
