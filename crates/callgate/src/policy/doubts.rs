//! What in permissions works, and probably not as their writer thinks.

use std::{collections::BTreeSet, fmt};

use super::{
    PermissionTemplates,
    permissions::{Permissions, Rules},
};
use crate::subject::{SubjectPattern, SubscribePattern};

/// Something doubtful in permissions. Its text says what happens, and what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Doubt {
    /// A side denies and allows nothing.
    OnlyDeny,
    /// A side denies beside what it allows.
    Deny,
    /// `responses`, and whoever may answer can also ask himself.
    NoBoundary,
    /// An allow to subscribe ends in `.*`.
    LastStar,
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OnlyDeny => {
                "a side with only `deny` grants nothing: write `allow = [\">\"]` to mean all but that"
            }
            Self::Deny => {
                "servers before 2.11.16, 2.12.7 and 2.14.0 can be talked around a deny: prefer narrow \
                 allows"
            }
            Self::NoBoundary => {
                "what may be published to overlaps what may be subscribed to, so the client can choose \
                 the reply subject that opens: `responses` is no boundary"
            }
            Self::LastStar => {
                "nats-server lets a subscription to `….>` pass an allow that ends in `.*`, and delivers \
                 all of it"
            }
        })
    }
}

impl Doubt {
    /// The doubt about a side with so many allows and denies.
    pub(super) fn of_side(allows: usize, denies: usize) -> Option<Self> {
        match (allows, denies) {
            (_, 0) => None,
            (0, _) => Some(Self::OnlyDeny),
            (_, _) => Some(Self::Deny),
        }
    }
}

impl Permissions {
    /// What in them, together with those that have templates, is doubtful: for loaders, to warn about.
    pub fn doubts(&self, templates: Option<&PermissionTemplates>) -> BTreeSet<Doubt> {
        let widened = templates.map(|templates| templates.widened(self));
        let all: &Self = widened.as_ref().unwrap_or(self);
        let Self { publish, subscribe, responses } = all;
        let no_boundary = responses.is_some() && overlap(&publish.allow, &subscribe.allow);
        let mut last_star = subscribe.allow.iter().map(|allow| allow.subject().as_str());
        [
            side(publish),
            side(subscribe),
            no_boundary.then_some(Doubt::NoBoundary),
            last_star.any(|allow| allow.ends_with(".*")).then_some(Doubt::LastStar),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

fn side<T>(rules: &Rules<T>) -> Option<Doubt> {
    Doubt::of_side(rules.allow.len(), rules.deny.len())
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
            (["x.>", ""], ["x.a", ""], true, vec![Doubt::NoBoundary]),
            (["", "a"], ["x", ""], false, vec![Doubt::OnlyDeny]),
            (["x", ""], ["x.>", "x.a"], false, vec![Doubt::Deny]),
            (["x", ""], ["x.*", ""], false, vec![Doubt::LastStar]),
            (["x", "a"], ["*.*", "b"], true, vec![Doubt::Deny, Doubt::LastStar]),
        ] {
            let found = permissions(publish, subscribe, responses).doubts(None);
            assert_eq!(found, BTreeSet::from_iter(expected), "{publish:?} {subscribe:?}");
        }
    }
}
