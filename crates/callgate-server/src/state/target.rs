//! What a lock or a filter matches.

use std::{fmt, net::IpAddr};

use callgate::{clock::UnixTime, connection::ConnectionKind, sanitize::excerpt};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::stored;

/// Conditions that must all hold. Each value is compared as a whole: `*` is not a wildcard.
///
/// Its JSON form is stored in the bucket and printed by the commands; an unknown member is an error.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Target {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) user: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) authenticator: Option<String>,
    /// By name, in both modes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) account: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "stored::network")]
    pub(crate) source: Option<IpNet>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) group: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) role: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "stored::kind")]
    pub(crate) kind: Option<ConnectionKind>,
    /// Only credentials issued before this time; one without a time counts as issued before.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "stored::time")]
    pub(crate) issued_before: Option<UnixTime>,
    /// Says that no other condition is intended. It matches everything.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) everyone: bool,
}

/// What is known of a login or a connection. `None` means unknown, unless it says otherwise.
///
/// `S` is the text of a group or role, such as `String` or `Arc<str>`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidate<'a, S = String> {
    /// The user name as servers show it: with the authenticator's `user_prefix`.
    pub(crate) user: Option<&'a str>,
    /// The user name in its source, if a decision is known.
    pub(crate) source_user: Option<&'a str>,
    pub(crate) authenticator: Option<&'a str>,
    /// By name, in both modes.
    pub(crate) account: Option<&'a str>,
    /// `None` if the client has no IP address: it is then in no network.
    pub(crate) ip: Option<IpAddr>,
    pub(crate) groups: Option<&'a [S]>,
    pub(crate) roles: Option<&'a [S]>,
    pub(crate) kind: Option<ConnectionKind>,
    pub(crate) issued_at: IssuedAt,
}

#[cfg(test)]
impl<'a> Candidate<'a> {
    /// A login of this user at the authenticator `staff`, without an address.
    pub(crate) fn of_staff(user: &'a str) -> Self {
        Self {
            user: Some(user),
            source_user: None,
            authenticator: Some("staff"),
            account: Some("APP"),
            ip: None,
            groups: Some(&[]),
            roles: Some(&[]),
            kind: None,
            issued_at: IssuedAt::Known(None),
        }
    }
}

/// When a credential was issued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IssuedAt {
    /// As far as the credential says.
    Known(Option<UnixTime>),
    /// Only a decision knows.
    Unknown,
}

/// Whether a target matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verdict {
    No,
    /// Everything known matches, but a condition remains that only a decision can answer.
    Unknown,
    Yes,
}

impl Target {
    /// Whether there is no condition, not even [`Target::everyone`].
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether the address and the kind of a connection decide alone.
    pub(crate) fn is_early(&self) -> bool {
        let Self {
            user,
            authenticator,
            account,
            source,
            group,
            role,
            kind,
            issued_before,
            everyone,
        } = self;
        let needs_decision = user.is_some()
            || authenticator.is_some()
            || account.is_some()
            || group.is_some()
            || role.is_some()
            || issued_before.is_some()
            || *everyone;
        !needs_decision && (source.is_some() || kind.is_some())
    }

    /// Whether all conditions hold.
    pub(crate) fn matches<S: AsRef<str>>(&self, candidate: &Candidate<'_, S>) -> Verdict {
        let Self {
            user,
            authenticator,
            account,
            source,
            group,
            role,
            kind,
            issued_before,
            everyone: _,
        } = self;
        [
            user.as_deref().map(|user| is_user(user, candidate)),
            authenticator.as_deref().map(|name| is(name, candidate.authenticator)),
            account.as_deref().map(|name| is(name, candidate.account)),
            source.map(|network| candidate.ip.is_some_and(|ip| contains(network, ip)).into()),
            group.as_deref().map(|name| is_among(name, candidate.groups)),
            role.as_deref().map(|name| is_among(name, candidate.roles)),
            kind.map(|kind| candidate.kind.map_or(Verdict::Unknown, |it| (it == kind).into())),
            issued_before.map(|time| candidate.issued_at.is_before(time)),
        ]
        .into_iter()
        .flatten()
        .min()
        .unwrap_or(Verdict::Yes)
    }
}

impl IssuedAt {
    fn is_before(self, time: UnixTime) -> Verdict {
        match self {
            Self::Known(issued) => issued.is_none_or(|issued| issued < time).into(),
            Self::Unknown => Verdict::Unknown,
        }
    }
}

impl From<bool> for Verdict {
    fn from(matches: bool) -> Self {
        if matches { Self::Yes } else { Self::No }
    }
}

/// As in `user `alice`, authenticator `staff``, in one line.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            user,
            authenticator,
            account,
            source,
            group,
            role,
            kind,
            issued_before,
            everyone,
        } = self;
        let quoted = |name: &str, value: &Option<String>| {
            value.as_deref().map(|value| format!("{name} `{}`", excerpt(value)))
        };
        let parts = [
            everyone.then(|| "everyone".to_owned()),
            quoted("user", user),
            quoted("authenticator", authenticator),
            quoted("account", account),
            source.map(|network| format!("source {}", stored::show_network(network))),
            quoted("group", group),
            quoted("role", role),
            kind.map(|kind| format!("kind {kind}")),
            issued_before.map(|time| format!("issued before {time}")),
        ];
        f.write_str(&parts.into_iter().flatten().collect::<Vec<_>>().join(", "))
    }
}

/// Reads an address or a network; an address is a network of one.
pub(crate) fn parse_network(text: &str) -> Option<IpNet> {
    stored::read_network(text)
}

/// Reads a time such as `2026-11-29T10:00:00Z`.
pub(crate) fn parse_time(text: &str) -> Option<UnixTime> {
    stored::read_time(text)
}

fn contains(network: IpNet, ip: IpAddr) -> bool {
    network.contains(&ip.to_canonical()) || network.contains(&ip)
}

fn is_user<S>(user: &str, candidate: &Candidate<'_, S>) -> Verdict {
    let Candidate { user: shown, source_user, .. } = candidate;
    match (shown, source_user) {
        (None, None) => Verdict::Unknown,
        (shown, own) => {
            (shown.is_some_and(|it| it == user) || own.is_some_and(|it| it == user)).into()
        }
    }
}

fn is(name: &str, known: Option<&str>) -> Verdict {
    known.map_or(Verdict::Unknown, |known| (known == name).into())
}

fn is_among<S: AsRef<str>>(name: &str, known: Option<&[S]>) -> Verdict {
    known.map_or(Verdict::Unknown, |known| known.iter().any(|it| it.as_ref() == name).into())
}

fn is_false(value: &bool) -> bool {
    !*value
}

#[cfg(test)]
mod tests;
