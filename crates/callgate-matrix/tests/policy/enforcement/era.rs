//! What denies do against messages, which changed over the versions of nats-server.

use callgate::subject::{SubjectPattern, SubscribePattern};
use callgate_testkit::nats_server::Version;

/// How a server treats messages for a wildcard subscription that a deny overlaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Era {
    /// Up to 2.11.15 and 2.12.6: only if some deny lies wholly within the subscription, and denies
    /// with a queue group withhold nothing.
    WithinOnly,
    /// 2.11.16, 2.12.7 and later of these lines: whatever a deny covers is withheld, but denies with
    /// a queue group withhold nothing.
    GroupsForgotten,
    /// From 2.14 on: whatever a deny covers that speaks of the subscription.
    Complete,
}

impl Era {
    pub(super) fn of(version: Version) -> Self {
        match (version.major, version.minor, version.patch) {
            (2, ..=10, _) | (2, 11, ..=15) | (2, 12, ..=6) => Self::WithinOnly,
            (2, 11..=12, _) => Self::GroupsForgotten,
            _ => Self::Complete,
        }
    }

    /// Is a message on `subject` kept from a connection whose only subscription is `wanted`?
    pub(super) fn withholds(
        self,
        denies: &[SubscribePattern],
        wanted: &SubscribePattern,
        subject: &SubjectPattern,
    ) -> bool {
        let counts = |deny: &&SubscribePattern| match (deny.queue(), wanted.queue()) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(denied), Some(queue)) => self == Self::Complete && denied.covers(queue),
        };
        let mut denies = denies.iter().filter(counts).map(SubscribePattern::subject);
        let noticed = match self {
            Self::WithinOnly => denies.clone().any(|deny| wanted.subject().covers(deny)),
            Self::GroupsForgotten | Self::Complete => true,
        };
        noticed && denies.any(|deny| deny.covers(subject))
    }
}
