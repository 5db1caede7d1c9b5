//! What in permissions works, and probably not as their writer thinks.

use std::{collections::BTreeSet, fmt};

use super::{
    PermissionTemplates,
    permissions::{Permissions, Rules},
};
use crate::subject::{SubjectPattern, SubscribePattern};

/// Something doubtful in permissions. Its text says what happens, and what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PermissionWarning {
    /// A side denies and allows nothing.
    DenyWithoutAllow,
    /// A side denies beside what it allows.
    DenyBypass,
    /// `responses`, and whoever may answer can also ask himself.
    ChosenReplySubject,
    /// An allow to subscribe ends in `.*`.
    TrailingWildcard,
}

impl fmt::Display for PermissionWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DenyWithoutAllow => {
                "a side with only `deny` grants nothing: write `allow = [\">\"]` to mean all but that"
            }
            Self::DenyBypass => {
                "servers before 2.11.16, 2.12.7 and 2.14.0 can be talked around a deny: prefer narrow \
                 allows"
            }
            Self::ChosenReplySubject => {
                "what may be published to overlaps what may be subscribed to, so the client can choose \
                 the reply subject that opens: `responses` is no boundary"
            }
            Self::TrailingWildcard => {
                "nats-server lets a subscription to `….>` pass an allow that ends in `.*`, and delivers \
                 all of it"
            }
        })
    }
}

impl PermissionWarning {
    /// The doubt about a side with so many allows and denies.
    pub(super) fn of_side(allows: usize, denies: usize) -> Option<Self> {
        match (allows, denies) {
            (_, 0) => None,
            (0, _) => Some(Self::DenyWithoutAllow),
            (_, _) => Some(Self::DenyBypass),
        }
    }
}

impl Permissions {
    /// What in them, together with those that have templates, is doubtful: for loaders, to warn about.
    pub fn warnings(&self, templates: Option<&PermissionTemplates>) -> BTreeSet<PermissionWarning> {
        let widened = templates.map(|templates| templates.widened(self));
        let all: &Self = widened.as_ref().unwrap_or(self);
        let Self { publish, subscribe, responses } = all;
        let no_boundary = responses.is_some() && overlap(&publish.allow, &subscribe.allow);
        let mut last_star = subscribe.allow.iter().map(|allow| allow.subject().as_str());
        [
            side(publish),
            side(subscribe),
            no_boundary.then_some(PermissionWarning::ChosenReplySubject),
            last_star
                .any(|allow| allow.ends_with(".*"))
                .then_some(PermissionWarning::TrailingWildcard),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

fn side<T>(rules: &Rules<T>) -> Option<PermissionWarning> {
    PermissionWarning::of_side(rules.allow.len(), rules.deny.len())
}

/// True if something that one says is something that the same one hears.
pub(super) fn overlap(says: &[SubjectPattern], hears: &[SubscribePattern]) -> bool {
    says.iter().any(|own| hears.iter().any(|other| other.subject().overlaps(own)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::permissions::Responses;

    fn permissions(publish: [&str; 2], subscribe: [&str; 2], responses: bool) -> Permissions {
        fn list<T: std::str::FromStr<Err: fmt::Debug>>(text: &str) -> Vec<T> {
            text.split_whitespace().map(|one| one.parse().unwrap()).collect()
        }
        Permissions {
            publish: Rules { allow: list(publish[0]), deny: list(publish[1]) },
            subscribe: Rules { allow: list(subscribe[0]), deny: list(subscribe[1]) },
            responses: responses.then(Responses::default),
        }
    }

    #[test]
    fn what_is_doubtful_is_told_and_nothing_else() {
        for (publish, subscribe, responses, expected) in [
            (["", ""], ["", ""], false, vec![]),
            (["x.>", ""], ["x.>", ""], false, vec![]),
            (["x.>", ""], ["y.>", ""], true, vec![]),
            (["x.>", ""], ["x.a", ""], true, vec![PermissionWarning::ChosenReplySubject]),
            (["", "a"], ["x", ""], false, vec![PermissionWarning::DenyWithoutAllow]),
            (["x", ""], ["x.>", "x.a"], false, vec![PermissionWarning::DenyBypass]),
            (["x", ""], ["x.*", ""], false, vec![PermissionWarning::TrailingWildcard]),
            (
                ["x", "a"],
                ["*.*", "b"],
                true,
                vec![PermissionWarning::DenyBypass, PermissionWarning::TrailingWildcard],
            ),
        ] {
            let found = permissions(publish, subscribe, responses).warnings(None);
            assert_eq!(found, BTreeSet::from_iter(expected), "{publish:?} {subscribe:?}");
        }
    }
}
