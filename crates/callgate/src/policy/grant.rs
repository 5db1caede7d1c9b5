//! The resolved result: what a user JWT is made of.

use super::permissions::Access;
use crate::{authn::Origin, clock::UnixTime, record::CeilingDropped};

/// What a client was granted. Only policy makes one, and minting trusts it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    pub(crate) account: String,
    pub(crate) account_origin: Origin,
    pub(crate) user: String,
    pub(crate) access: Access,
    pub(crate) expires_at: Option<UnixTime>,
    pub(crate) tags: Vec<String>,
    pub(crate) roles: Vec<String>,
    pub(crate) dropped: Dropped,
}

impl Grant {
    /// The account's name.
    pub fn account(&self) -> &str {
        &self.account
    }

    /// Who named the account.
    pub fn account_origin(&self) -> Origin {
        self.account_origin
    }

    /// The user, with the authenticator's prefix; the `name` of the JWT.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// What the client may do.
    pub fn access(&self) -> &Access {
        &self.access
    }

    /// When the session ends; `None` is never.
    pub fn expires_at(&self) -> Option<UnixTime> {
        self.expires_at
    }

    /// The tags of the JWT.
    pub fn tags(&self) -> &[String] {
        &self.tags
    }

    /// The roles that contributed, for the log.
    pub fn roles(&self) -> &[String] {
        &self.roles
    }

    /// How many subjects and roles the ceiling dropped.
    pub fn ceiling_dropped(&self) -> u32 {
        self.dropped.count
    }

    /// What the ceiling dropped, for the log: the first of them, escaped and cut.
    pub(crate) fn ceiling_dropped_texts(&self) -> &[String] {
        &self.dropped.texts
    }
}

impl From<Dropped> for CeilingDropped {
    fn from(dropped: Dropped) -> Self {
        Self { count: dropped.count, texts: dropped.texts }
    }
}

/// Counts what the ceiling dropped, and keeps the first few texts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Dropped {
    count: u32,
    texts: Vec<String>,
}

impl Dropped {
    /// More would only make the log long.
    const KEPT: usize = 16;

    pub(super) fn count(&self) -> u32 {
        self.count
    }

    pub(super) fn note(&mut self, what: &str, text: &str) {
        self.count = self.count.saturating_add(1);
        if self.texts.len() < Self::KEPT {
            self.texts.push(format!("{what} `{}`", shown(text)));
        }
    }
}

/// Text from outside, fit for a log: escaped, at most 128 characters.
pub(super) fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(128).flat_map(char::escape_debug).collect();
    if text.chars().nth(128).is_some() {
        shown.push('…');
    }
    shown
}
