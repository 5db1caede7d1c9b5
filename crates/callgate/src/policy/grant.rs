//! What a client gets: the resolved result of a decision.

use crate::{authn::Origin, clock::UnixTime, policy::permissions::Access};

/// A resolved grant. Only policy makes one, and what is minted is exactly this.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    pub(crate) account: String,
    pub(crate) account_origin: Origin,
    pub(crate) user: String,
    pub(crate) access: Access,
    pub(crate) expires_at: Option<UnixTime>,
    pub(crate) tags: Vec<String>,
}

impl Grant {
    /// The account, by its name in the configuration.
    pub fn account(&self) -> &str {
        &self.account
    }

    /// Who chose the account.
    pub fn account_origin(&self) -> Origin {
        self.account_origin
    }

    /// The name of the connection's user, as servers will log it.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// What it may do.
    pub fn access(&self) -> &Access {
        &self.access
    }

    /// When the session ends; `None` only if somebody said out loud that it need not.
    pub fn expires_at(&self) -> Option<UnixTime> {
        self.expires_at
    }

    /// Tags of the user JWT.
    pub fn tags(&self) -> &[String] {
        &self.tags
    }
}
