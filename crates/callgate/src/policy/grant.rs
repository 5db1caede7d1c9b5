//! The result of a decision, from which the user JWT is made.

use crate::{
    authn::Origin, clock::UnixTime, permissions::Access, reason::CeilingDropped, sanitize::excerpt,
};

/// What a client is granted. Only a decision creates one, and the minter trusts it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    pub(crate) account: String,
    pub(crate) account_origin: Origin,
    pub(crate) user: String,
    pub(crate) access: Access,
    pub(crate) expires_at: Option<UnixTime>,
    pub(crate) tags: Vec<String>,
    pub(crate) roles: Vec<String>,
    pub(crate) bindings: Vec<usize>,
    pub(crate) dropped: CeilingDrops,
    /// The notes of the identity, for the log.
    pub(crate) notes: Vec<String>,
}

impl Grant {
    /// The account's name.
    pub fn account(&self) -> &str {
        &self.account
    }

    /// Whether the operator or outside data named the account.
    pub fn account_origin(&self) -> Origin {
        self.account_origin
    }

    /// The user, with the authenticator's prefix: the `name` in the JWT.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// What the client may do.
    pub fn access(&self) -> &Access {
        &self.access
    }

    /// When the session ends; `None` means never.
    pub fn expires_at(&self) -> Option<UnixTime> {
        self.expires_at
    }

    /// The tags of the JWT.
    pub fn tags(&self) -> &[String] {
        &self.tags
    }

    /// The roles that apply, for the log.
    pub fn roles(&self) -> &[String] {
        &self.roles
    }

    /// The bindings that apply, by their position in the configuration.
    pub fn bindings(&self) -> &[usize] {
        &self.bindings
    }

    /// How many subjects and roles the ceiling dropped.
    pub fn ceiling_dropped(&self) -> u32 {
        self.dropped.count
    }

    /// The first subjects and roles that the ceiling dropped, sanitized for the log.
    pub(crate) fn ceiling_dropped_texts(&self) -> &[String] {
        &self.dropped.texts
    }
}

impl From<CeilingDrops> for CeilingDropped {
    fn from(dropped: CeilingDrops) -> Self {
        Self { count: dropped.count, texts: dropped.texts }
    }
}

/// Counts the subjects and roles that the ceiling dropped, and keeps the first few texts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct CeilingDrops {
    count: u32,
    texts: Vec<String>,
}

impl CeilingDrops {
    const MAX_TEXTS: usize = 16;

    pub(super) fn count(&self) -> u32 {
        self.count
    }

    pub(super) fn add(&mut self, what: &str, text: &str) {
        self.count = self.count.saturating_add(1);
        if self.texts.len() < Self::MAX_TEXTS {
            self.texts.push(format!("{what} `{}`", excerpt(text)));
        }
    }
}
