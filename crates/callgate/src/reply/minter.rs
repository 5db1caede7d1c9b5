//! From a grant to a signed user JWT, and from there to the signed answer.
//!
//! Configuration mode and operator mode are two types: they differ in who signs and in how the
//! account is named, and a mistake in either is refused by the server.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    clock::UnixTime,
    connection::ConnectionKind,
    jwt::{self, SignJwtError},
    keys::{AccountKey, Signer, UserKey},
    permissions::Access,
    policy::{
        Grant,
        scope::{literal_name, literal_tag},
    },
    record::{Denial, Reason},
};

use super::{
    response::{self, Addressee, Answer},
    user_claims::{User, UserClaims},
};

/// The largest user JWT that is sent, in bytes.
const MAX_USER_JWT: usize = 32 * 1024;

/// Who signs, and for which accounts.
#[derive(Debug)]
pub(crate) enum Minter {
    /// The server has the issuer's public key in its configuration.
    Configuration(ConfigurationMinter),
    /// Accounts are JWTs of an operator.
    Operator(OperatorMinter),
}

/// Signs everything with the one issuer; accounts are names.
#[derive(Debug)]
pub(crate) struct ConfigurationMinter {
    /// The account nkey that nats-server has as `auth_callout.issuer`.
    pub(crate) issuer: Arc<dyn Signer>,
}

/// Signs each user with a key of the account it is placed in.
#[derive(Debug)]
pub(crate) struct OperatorMinter {
    /// The callout account.
    pub(crate) callout_account: AccountKey,
    /// Its key, or one of its signing keys: signs the answers.
    pub(crate) issuer: Arc<dyn Signer>,
    /// Accounts that users may be placed in, by name.
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

/// Whom a user JWT is for: one connection.
pub(crate) struct Recipient<'a> {
    /// The key that the server made for it.
    pub(crate) user: &'a UserKey,
    /// The request's id.
    pub(crate) id: &'a str,
    /// How it came.
    pub(crate) connection: Option<ConnectionKind>,
}

impl Minter {
    /// `sub` of every request that is meant for this callout.
    pub(crate) fn request_subject(&self) -> &AccountKey {
        match self {
            Self::Configuration(minter) => minter.issuer.public_key(),
            Self::Operator(minter) => &minter.callout_account,
        }
    }

    /// True if `name` is the callout account itself, by what only the minter knows.
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
    pub(crate) fn user_jwt(
        &self,
        grant: &Grant,
        to: &Recipient<'_>,
        now: UnixTime,
    ) -> Result<String, Denial> {
        if let Access::Scoped(scope) = grant.access() {
            literal_under_scope(scope, grant)?;
        }
        let (signer, aud, issuer_account) = self.place(grant)?;
        // A sentinel's denies stay with a leaf node unless permissions take their place
        // (nats-server client.go, RegisterNkeyUser resets only those of the connection itself).
        let leaf_node = to.connection == Some(ConnectionKind::LeafNode);
        let spell_out = leaf_node && issuer_account.is_some();
        let claims = UserClaims {
            jti: to.id,
            iat: now.seconds(),
            iss: signer.public_key().as_str(),
            name: grant.user(),
            sub: to.user.as_str(),
            aud,
            exp: grant.expires_at().map(UnixTime::seconds),
            nats: User::new(grant.access(), grant.tags(), issuer_account, spell_out),
        };
        let token = jwt::sign(&claims, signer).map_err(signing_failed)?;
        if token.len() > MAX_USER_JWT {
            return Err(Denial::new(
                Reason::GrantTooLarge,
                format!("the user JWT has {} bytes, at most {MAX_USER_JWT} are sent", token.len()),
            ));
        }
        Ok(token)
    }

    /// In operator mode, who signed for which account. Whether the server knows the key, and lets users
    /// be placed in the account, is said by its own log only: this is what to compare that with.
    pub(crate) fn signed_by(&self, grant: &Grant) -> Option<String> {
        let Self::Operator(minter) = self else { return None };
        let (signer, _, account) = self.place(grant).ok()?;
        let scope = match grant.access() {
            Access::Scoped(scope) => format!(" for its scope `{scope}`"),
            Access::Unrestricted | Access::Limited(_) => String::new(),
        };
        Some(format!(
            "user of account {} signed by {}{scope}, answer signed by {}",
            account?,
            signer.public_key(),
            minter.issuer.public_key()
        ))
    }

    fn place<'a>(&'a self, grant: &'a Grant) -> Result<Placement<'a>, Denial> {
        match (self, grant.access()) {
            (Self::Configuration(_), Access::Scoped(scope)) => Err(Denial::new(
                Reason::PolicyError,
                format!("the scope `{scope}` needs a scoped signing key, so operator mode"),
            )),
            (Self::Configuration(minter), _) => {
                // issuer_account must be absent here (auth_callout.go, processing of `arc`).
                Ok((minter.issuer.as_ref(), Some(grant.account()), None))
            }
            (Self::Operator(minter), access) => {
                let Some(keys) = minter.accounts.get(grant.account()) else {
                    return Err(Denial::new(
                        Reason::AccountNotAllowed,
                        format!("there is no signing key for the account `{}`", grant.account()),
                    ));
                };
                let signer = match access {
                    Access::Scoped(scope) => keys.scoped.get(scope).ok_or_else(|| {
                        let detail = format!(
                            "the account `{}` has no scoped signing key `{scope}`",
                            grant.account()
                        );
                        Denial::new(Reason::PolicyError, detail)
                    })?,
                    Access::Unrestricted | Access::Limited(_) => &keys.signer,
                };
                Ok((signer.as_ref(), None, Some(keys.id.as_str())))
            }
        }
    }

    /// Signs the answer.
    ///
    /// # Errors
    /// If the signer fails.
    pub(crate) fn answer(
        &self,
        answer: &Answer<'_>,
        to: &Addressee<'_>,
        now: UnixTime,
    ) -> Result<String, SignJwtError> {
        match self {
            Self::Configuration(minter) => {
                response::sign(answer, to, now, minter.issuer.as_ref(), None)
            }
            Self::Operator(minter) => {
                let by_signing_key = minter.issuer.public_key() != &minter.callout_account;
                let account = by_signing_key.then_some(&minter.callout_account);
                response::sign(answer, to, now, minter.issuer.as_ref(), account)
            }
        }
    }
}

/// The server puts them into the templates of the scoped key as they are.
fn literal_under_scope(scope: &str, grant: &Grant) -> Result<(), Denial> {
    let literal = |what: &str, text: &str, checked: Result<(), &'static str>| {
        checked.map_err(|why| {
            let text: String = text.chars().take(128).flat_map(char::escape_debug).collect();
            let detail = format!("scope `{scope}`: the {what} `{text}` {why}");
            Denial::new(Reason::UnsafeTemplateValue, detail)
        })
    };
    literal("user name", grant.user(), literal_name(grant.user()))?;
    grant.tags().iter().try_for_each(|tag| literal("tag", tag, literal_tag(tag)))
}

/// Signer, `aud` and `issuer_account`.
type Placement<'a> = (&'a dyn Signer, Option<&'a str>, Option<&'a str>);

fn signing_failed(error: SignJwtError) -> Denial {
    Denial::new(Reason::BackendUnavailable, error.to_string())
}
