//! Compares two grants: what the newer one gains and loses.
//!
//! Subjects are compared as sets, so `foo.*` next to a `foo.>` is not a difference. The kind of connection is
//! not part of a grant: to compare what an identity may do over other kinds, resolve it for each of them.

mod subscriptions;
#[cfg(test)]
mod tests;

use std::{borrow::Cow, fmt};

use super::grant::Grant;
use crate::{
    clock::UnixTime,
    permissions::{Access, Permissions, Responses},
    subject::SubjectPattern,
    subject_set::{SubjectRange, SubjectSet},
};

/// The differences between two grants of the same identity.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GrantDifference {
    /// The account, if it differs.
    pub account: Option<Replaced<String>>,
    /// The scoped signing key that grants instead of permissions, if it differs. What its template allows
    /// is not known here.
    pub scope: Option<Replaced<Option<String>>>,
    /// Subjects to publish to.
    pub publish: SideDifference,
    /// Subjects to subscribe to.
    pub subscribe: SideDifference,
    /// Permission to reply to received messages.
    pub responses: ResponsesDifference,
    /// The end of the session, if it differs.
    pub end: Option<Replaced<Option<UnixTime>>>,
    /// The name in the user JWT, if it differs.
    pub user: Option<Replaced<String>>,
    /// The tags of the user JWT, if they differ.
    pub tags: Option<Replaced<Vec<String>>>,
}

/// An old and a new value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replaced<T> {
    /// Before.
    pub old: T,
    /// After.
    pub new: T,
}

/// The differences in one direction, publish or subscribe.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SideDifference {
    /// Subjects that only the new grant allows.
    pub gained: Vec<SubjectReach>,
    /// Subjects that only the old grant allows.
    pub lost: Vec<SubjectReach>,
}

/// Subjects, and the queue group in which a client may subscribe to them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SubjectReach {
    /// The subjects.
    pub range: SubjectRange,
    /// The queue group; `None` for publishing and for subscriptions without a group. `*` stands for every
    /// group that no rule names.
    pub queue: Option<SubjectPattern>,
}

/// The differences in replying to received messages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ResponsesDifference {
    /// What the new grant allows, if that is more in some respect.
    pub gained: Option<Responses>,
    /// What the old grant allows, if that is more in some respect.
    pub lost: Option<Responses>,
}

impl Grant {
    /// What `newer` gains and loses compared with this grant.
    pub fn difference(&self, newer: &Grant) -> GrantDifference {
        PastGrant::of(self).difference(newer)
    }
}

/// What was granted before, perhaps read from where it was stored. Nothing can be signed from it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PastGrant {
    /// The account's name.
    pub account: String,
    /// The name in the user JWT.
    pub user: String,
    /// What the client may do.
    pub access: Access,
    /// When the session ends; `None` means never.
    pub expires_at: Option<UnixTime>,
    /// The tags of the user JWT.
    pub tags: Vec<String>,
}

impl PastGrant {
    /// What this grant allows.
    pub fn of(grant: &Grant) -> Self {
        let Grant { account, user, access, expires_at, tags, .. } = grant;
        Self {
            account: account.clone(),
            user: user.clone(),
            access: access.clone(),
            expires_at: *expires_at,
            tags: tags.clone(),
        }
    }

    /// What `newer` gains and loses.
    pub fn difference(&self, newer: &Grant) -> GrantDifference {
        let Self { account, user, access, expires_at, tags } = self;
        GrantDifference {
            account: replaced(account, &newer.account),
            end: replaced(expires_at, &newer.expires_at),
            user: replaced(user, &newer.user),
            tags: replaced(tags, &newer.tags),
            ..access_difference(access, &newer.access)
        }
    }
}

impl GrantDifference {
    /// True if the grants allow exactly the same.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// True if the newer grant does not allow all that the older one allows: it is in another account, lacks a
    /// subject or a reply, or ends earlier. Another scoped signing key counts as well, since nothing is
    /// known about its template.
    pub fn loses(&self) -> bool {
        self.account.is_some()
            || self.scope.is_some()
            || !self.publish.lost.is_empty()
            || !self.subscribe.lost.is_empty()
            || self.responses.lost.is_some()
            || self.ends_earlier()
    }

    /// True if the newer grant allows something that the older one does not.
    pub fn gains(&self) -> bool {
        self.account.is_some()
            || self.scope.is_some()
            || !self.publish.gained.is_empty()
            || !self.subscribe.gained.is_empty()
            || self.responses.gained.is_some()
            || (self.end.is_some() && !self.ends_earlier())
    }

    /// True if the newer grant ends earlier.
    pub fn ends_earlier(&self) -> bool {
        self.end.as_ref().is_some_and(|Replaced { old, new }| match (old, new) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(old), Some(new)) => new < old,
        })
    }
}

fn replaced<T: PartialEq + Clone>(old: &T, new: &T) -> Option<Replaced<T>> {
    (old != new).then(|| Replaced { old: old.clone(), new: new.clone() })
}

/// The differences between what two clients may do inside their accounts.
fn access_difference(old: &Access, new: &Access) -> GrantDifference {
    if old == new {
        return GrantDifference::default();
    }
    let scope = replaced(&old.scope(), &new.scope());
    let old = old.as_permissions().unwrap_or_default();
    let new = new.as_permissions().unwrap_or_default();
    let [publish, subscribe] = old.subject_difference(&new);
    GrantDifference {
        scope,
        publish,
        subscribe,
        responses: responses_difference(&old, &new),
        ..GrantDifference::default()
    }
}

impl Access {
    fn scope(&self) -> Option<String> {
        match self {
            Self::Scoped(scope) => Some(scope.clone()),
            Self::Unrestricted | Self::Limited(_) => None,
        }
    }

    /// The permissions as lists; `None` for a scoped signing key, whose template is not known here.
    pub fn as_permissions(&self) -> Option<Cow<'_, Permissions>> {
        match self {
            Self::Unrestricted => Some(Cow::Owned(Permissions::everything())),
            Self::Limited(permissions) => Some(Cow::Borrowed(permissions)),
            Self::Scoped(_) => None,
        }
    }
}

impl Permissions {
    /// What `newer` permissions gain and lose for publishing and for subscribing.
    pub fn subject_difference(&self, newer: &Permissions) -> [SideDifference; 2] {
        [
            publish_difference(self, newer),
            subscriptions::difference(&self.subscribe, &newer.subscribe),
        ]
    }

    /// The subjects that a client may publish to, without replies that `responses` permits.
    pub fn publish_set(&self) -> SubjectSet {
        SubjectSet::allowing(&self.publish.allow, &self.publish.deny)
    }
}

fn publish_difference(old: &Permissions, new: &Permissions) -> SideDifference {
    let old = old.publish_set();
    let new = new.publish_set();
    SideDifference { gained: new.minus(&old).reached(), lost: old.minus(&new).reached() }
}

/// A client that may publish to everything needs no permission to reply.
fn responses_difference(old: &Permissions, new: &Permissions) -> ResponsesDifference {
    let needs = |one: &Permissions| !SubjectSet::everything().is_within(&one.publish_set());
    let is_more = |left: Option<Responses>, right: Option<Responses>| match (left, right) {
        (None, _) => false,
        (Some(_), None) => true,
        (Some(left), Some(right)) => left.narrowest(right) != left,
    };
    let gained = new.responses.filter(|_| is_more(new.responses, old.responses) && needs(old));
    let lost = old.responses.filter(|_| is_more(old.responses, new.responses) && needs(new));
    ResponsesDifference { gained, lost }
}

/// Ranges as what a client without a queue group reaches.
trait Reached {
    fn reached(self) -> Vec<SubjectReach>;
}

impl Reached for Vec<SubjectRange> {
    fn reached(self) -> Vec<SubjectReach> {
        self.into_iter().map(|range| SubjectReach { range, queue: None }).collect()
    }
}

/// As in a rule, such as `jobs.* workers`, followed by what is excepted.
impl fmt::Display for SubjectReach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { range, queue } = self;
        let queue = queue.as_ref().map(|queue| format!(" {queue}")).unwrap_or_default();
        write!(f, "{}{queue}{}", range.subject, range.exceptions())
    }
}
