//! Warnings about permissions that work, but probably not as intended.

use std::{collections::BTreeSet, fmt};

use super::{PermissionTemplates, Permissions, Rules};

/// A probable mistake in permissions. Its text says what happens and what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PermissionWarning {
    /// `deny` without `allow` in one direction.
    DenyWithoutAllow,
    /// `deny` besides `allow` in one direction.
    DenyBypass,
    /// `responses`, while the publish and subscribe permissions overlap.
    ChosenReplySubject,
    /// A subscribe allow ends in `.*`.
    TrailingWildcard,
}

impl fmt::Display for PermissionWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DenyWithoutAllow => {
                "`deny` without `allow` grants nothing: add `allow = [\">\"]` to allow everything else"
            }
            Self::DenyBypass => {
                "a deny can be bypassed on nats-server before 2.11.16, 2.12.7 and 2.14.0: prefer \
                 narrow allows"
            }
            Self::ChosenReplySubject => {
                "the publish and subscribe permissions overlap, so the client can choose the reply \
                 subject that opens: `responses` is not a boundary"
            }
            Self::TrailingWildcard => {
                "nats-server accepts a subscription to `….>` if an allow ends in `.*`, and delivers \
                 all of it"
            }
        })
    }
}

impl PermissionWarning {
    /// The warning about one direction with this many allows and denies.
    pub(crate) fn about_denies(allows: usize, denies: usize) -> Option<Self> {
        match (allows, denies) {
            (_, 0) => None,
            (0, _) => Some(Self::DenyWithoutAllow),
            (_, _) => Some(Self::DenyBypass),
        }
    }
}

impl Permissions {
    /// The warnings about these permissions together with `templates`.
    pub fn warnings(&self, templates: Option<&PermissionTemplates>) -> BTreeSet<PermissionWarning> {
        let widened = templates.map(|templates| templates.widened(self));
        let all: &Self = widened.as_ref().unwrap_or(self);
        let Self { publish, subscribe, responses } = all;
        let chosen_reply = responses.is_some() && all.publish_overlaps_subscribe();
        let mut subscribe_allows = subscribe.allow.iter().map(|allow| allow.subject().as_str());
        [
            about_denies(publish),
            about_denies(subscribe),
            chosen_reply.then_some(PermissionWarning::ChosenReplySubject),
            subscribe_allows
                .any(|allow| allow.ends_with(".*"))
                .then_some(PermissionWarning::TrailingWildcard),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// True if the client may publish to a subject that it may also subscribe to. It can then send
    /// itself a message with a reply subject of its choice, which `responses` opens.
    pub(crate) fn publish_overlaps_subscribe(&self) -> bool {
        let Self { publish, subscribe, responses: _ } = self;
        publish
            .allow
            .iter()
            .any(|own| subscribe.allow.iter().any(|subscribed| subscribed.subject().overlaps(own)))
    }
}

fn about_denies<T>(rules: &Rules<T>) -> Option<PermissionWarning> {
    PermissionWarning::about_denies(rules.allow.len(), rules.deny.len())
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
    fn only_probable_mistakes_cause_warnings() {
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
