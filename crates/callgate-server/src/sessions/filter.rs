//! Which sessions a command is about.

use std::{fmt, time::Duration};

use callgate::{clock::UnixTime, sanitize::excerpt};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use crate::{
    state::{Candidate, Target, Verdict},
    system::SessionKey,
};

/// Conditions that must all hold; without any, all sessions. Each value is compared as a whole.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Filter {
    pub(crate) target: Target,
    pub(crate) client_name: Option<String>,
    /// The server's name.
    pub(crate) server: Option<String>,
    #[serde(serialize_with = "write_key", deserialize_with = "read_key")]
    pub(crate) id: Option<SessionKey>,
    /// At least as long ago.
    pub(crate) older_than: Option<Duration>,
}

/// What a filter compares besides a [`Candidate`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts<'a> {
    pub(super) key: SessionKey,
    pub(super) server: &'a str,
    pub(super) client_name: &'a str,
    pub(super) since: UnixTime,
}

impl Filter {
    /// Whether there is no condition.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether all conditions hold. [`Verdict::Unknown`] if only a decision could answer, and there is none.
    pub(super) fn matches<S: AsRef<str>>(
        &self,
        facts: Facts<'_>,
        candidate: &Candidate<'_, S>,
        now: UnixTime,
    ) -> Verdict {
        let Self { target, client_name, server, id, older_than } = self;
        let is_named = client_name.as_ref().is_none_or(|name| name == facts.client_name);
        let is_on_server = server.as_ref().is_none_or(|name| name == facts.server);
        let is_it = id.is_none_or(|key| key == facts.key);
        let is_old = older_than.is_none_or(|age| facts.since.plus(age) <= now);
        match is_named && is_on_server && is_it && is_old {
            true => target.matches(candidate),
            false => Verdict::No,
        }
    }
}

/// As in user `alice`, server `nats-0`.
impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { target, client_name, server, id, older_than } = self;
        let parts = [
            Some(target.to_string()).filter(|text| !text.is_empty()),
            client_name.as_deref().map(|name| format!("client name `{}`", excerpt(name))),
            server.as_deref().map(|name| format!("server `{}`", excerpt(name))),
            id.map(|id| format!("session {id}")),
            older_than.map(|age| format!("older than {age:?}")),
        ];
        let parts: Vec<_> = parts.into_iter().flatten().collect();
        f.write_str(if parts.is_empty() { "everything" } else { "" })?;
        f.write_str(&parts.join(", "))
    }
}

fn write_key<S: Serializer>(key: &Option<SessionKey>, serializer: S) -> Result<S::Ok, S::Error> {
    key.map(|key| key.to_string()).serialize(serializer)
}

fn read_key<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SessionKey>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| text.parse().map_err(D::Error::custom)).transpose()
}
