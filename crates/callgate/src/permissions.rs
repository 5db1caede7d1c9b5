//! What a client may do, in plain values. The default denies everything.

use std::time::Duration;

use crate::subject::{SubjectPattern, SubscribePattern};

/// Rules for one side: a subject is open if an `allow` covers it and no `deny` does.
///
/// An empty `allow` opens nothing; the wire form says so with a deny of `>`, because NATS reads
/// an empty list as "everything".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules<T> {
    /// What is open.
    pub allow: Vec<T>,
    /// What stays closed all the same. Prefer narrow allows: servers before 2.11.16, 2.12.7 and
    /// 2.14.0 could be talked around a deny.
    pub deny: Vec<T>,
}

impl<T> Default for Rules<T> {
    fn default() -> Self {
        Self { allow: Vec::new(), deny: Vec::new() }
    }
}

/// Leave to answer what one receives: the server opens each reply subject for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Responses {
    /// Messages per reply subject; `None` is without limit.
    pub max: Option<u32>,
    /// For how long; `None` is without limit.
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
    /// The narrower of both, in each respect.
    pub(crate) fn narrowest(self, other: Self) -> Self {
        Self { max: least(self.max, other.max), ttl: least(self.ttl, other.ttl) }
    }
}

/// The smaller one, where `None` is without limit and so the largest.
fn least<T: Ord>(left: Option<T>, right: Option<T>) -> Option<T> {
    match (left, right) {
        (Some(left), Some(right)) => Some(left.min(right)),
        (one, None) => one,
        (None, other) => other,
    }
}

/// Permissions of one client. The default allows nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Permissions {
    /// Subjects that it may publish to.
    pub publish: Rules<SubjectPattern>,
    /// Subjects that it may subscribe to.
    pub subscribe: Rules<SubscribePattern>,
    /// Whether it may answer what it receives.
    pub responses: Option<Responses>,
}

/// How far a client is let into its account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// Everything inside the account.
    Unrestricted,
    /// What the permissions say, and nothing else.
    Limited(Permissions),
    /// What the account's scoped signing key of this name says (operator mode only).
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
    fn the_narrowest_responses_count_no_limit_as_the_largest() {
        let without = Responses { max: None, ttl: None };
        let two = Responses { max: Some(2), ttl: Some(Duration::from_secs(5)) };
        let three = Responses { max: Some(3), ttl: Some(Duration::from_secs(1)) };
        assert_eq!(without.narrowest(two), two);
        let both = Responses { max: Some(2), ttl: Some(Duration::from_secs(1)) };
        assert_eq!(two.narrowest(three), both);
    }
}
