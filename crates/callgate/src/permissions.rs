//! The permissions of a client. The default denies everything.

mod mqtt;
mod templates;
mod warnings;

use std::time::Duration;

pub use self::{
    mqtt::mqtt_spelling,
    templates::{PermissionList, PermissionTemplates, TemplateError},
    warnings::PermissionWarning,
};

use crate::subject::{SubjectPattern, SubscribePattern};

/// Rules for one direction, publish or subscribe: a subject is allowed if an `allow` covers it and
/// no `deny` does.
///
/// An empty `allow` allows nothing. nats-server reads an empty allow list as "everything", so the
/// user JWT then denies `>` (`reply::user_claims::deny_all_unless_allowed`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules<T> {
    /// Allowed subjects.
    pub allow: Vec<T>,
    /// Subjects that stay denied. Prefer narrow allows: nats-server before 2.11.16, 2.12.7 and
    /// 2.14.0 has ways around a deny.
    pub deny: Vec<T>,
}

impl<T> Default for Rules<T> {
    fn default() -> Self {
        Self { allow: Vec::new(), deny: Vec::new() }
    }
}

/// Permission to reply to received messages: nats-server opens each reply subject for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Responses {
    /// Messages per reply subject; `None` means unlimited.
    pub max: Option<u32>,
    /// How long it stays open; `None` means unlimited.
    pub ttl: Option<Duration>,
}

impl Default for Responses {
    /// One message within two minutes, as in nats-server.
    fn default() -> Self {
        Self { max: Some(1), ttl: Some(Duration::from_secs(120)) }
    }
}

impl std::fmt::Display for Responses {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.max {
            Some(max) => write!(f, "max {max}, ")?,
            None => f.write_str("max without limit, ")?,
        }
        match self.ttl {
            Some(ttl) => write!(f, "ttl {ttl:?}"),
            None => f.write_str("ttl without limit"),
        }
    }
}

impl Responses {
    /// The smaller of both limits, for each of `max` and `ttl`.
    pub(crate) fn narrowest(self, other: Self) -> Self {
        Self { max: smaller(self.max, other.max), ttl: smaller(self.ttl, other.ttl) }
    }
}

/// The smaller one; `None` means unlimited.
fn smaller<T: Ord>(left: Option<T>, right: Option<T>) -> Option<T> {
    match (left, right) {
        (Some(left), Some(right)) => Some(left.min(right)),
        (one, None) => one,
        (None, other) => other,
    }
}

/// The permissions of one client. The default allows nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Permissions {
    /// Subjects that it may publish to.
    pub publish: Rules<SubjectPattern>,
    /// Subjects that it may subscribe to.
    pub subscribe: Rules<SubscribePattern>,
    /// Whether it may reply to received messages.
    pub responses: Option<Responses>,
}

/// What a client may do inside its account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// Everything inside the account.
    Unrestricted,
    /// Only what the permissions allow.
    Limited(Permissions),
    /// What the template of the account's scoped signing key of this name allows (operator mode only).
    Scoped(String),
}

impl Default for Access {
    fn default() -> Self {
        Self::Limited(Permissions::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn narrowest_responses_treat_none_as_unlimited() {
        let without = Responses { max: None, ttl: None };
        let two = Responses { max: Some(2), ttl: Some(Duration::from_secs(5)) };
        let three = Responses { max: Some(3), ttl: Some(Duration::from_secs(1)) };
        assert_eq!(without.narrowest(two), two);
        let both = Responses { max: Some(2), ttl: Some(Duration::from_secs(1)) };
        assert_eq!(two.narrowest(three), both);
    }
}
