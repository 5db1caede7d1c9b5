//! Permissions as they are stored with a session.

use std::{str::FromStr, time::Duration};

use callgate::{
    permissions::{Access, Permissions, Responses, Rules},
    subject::SubjectError,
};
use serde::{Deserialize, Serialize};

/// What a client was granted.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum StoredAccess {
    #[serde(rename = "u")]
    Unrestricted,
    #[serde(rename = "l")]
    Limited(StoredPermissions),
    #[serde(rename = "s")]
    Scoped(String),
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoredPermissions {
    #[serde(default, rename = "p", skip_serializing_if = "Vec::is_empty")]
    publish: Vec<String>,
    #[serde(default, rename = "P", skip_serializing_if = "Vec::is_empty")]
    publish_deny: Vec<String>,
    #[serde(default, rename = "s", skip_serializing_if = "Vec::is_empty")]
    subscribe: Vec<String>,
    #[serde(default, rename = "S", skip_serializing_if = "Vec::is_empty")]
    subscribe_deny: Vec<String>,
    /// Messages, and milliseconds.
    #[serde(default, rename = "r", skip_serializing_if = "Option::is_none")]
    responses: Option<(Option<u32>, Option<u64>)>,
}

impl StoredAccess {
    pub(super) fn of(access: &Access) -> Self {
        match access {
            Access::Unrestricted => Self::Unrestricted,
            Access::Limited(permissions) => Self::Limited(StoredPermissions::of(permissions)),
            Access::Scoped(scope) => Self::Scoped(scope.clone()),
        }
    }

    /// `None` if a subject cannot be read.
    pub(super) fn read(self) -> Option<Access> {
        Some(match self {
            Self::Unrestricted => Access::Unrestricted,
            Self::Limited(permissions) => Access::Limited(permissions.read()?),
            Self::Scoped(scope) => Access::Scoped(scope),
        })
    }
}

impl StoredPermissions {
    pub(super) fn of(permissions: &Permissions) -> Self {
        let Permissions { publish, subscribe, responses } = permissions;
        let responses = responses.map(|Responses { max, ttl }| {
            let milliseconds = |ttl: Duration| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
            (max, ttl.map(milliseconds))
        });
        Self {
            publish: texts(&publish.allow),
            publish_deny: texts(&publish.deny),
            subscribe: texts(&subscribe.allow),
            subscribe_deny: texts(&subscribe.deny),
            responses,
        }
    }

    /// `None` if a subject cannot be read.
    pub(super) fn read(self) -> Option<Permissions> {
        let Self { publish, publish_deny, subscribe, subscribe_deny, responses } = self;
        let responses = responses.map(|(max, milliseconds)| Responses {
            max,
            ttl: milliseconds.map(Duration::from_millis),
        });
        Some(Permissions {
            publish: Rules { allow: parsed(&publish)?, deny: parsed(&publish_deny)? },
            subscribe: Rules { allow: parsed(&subscribe)?, deny: parsed(&subscribe_deny)? },
            responses,
        })
    }
}

fn texts(rules: &[impl ToString]) -> Vec<String> {
    rules.iter().map(ToString::to_string).collect()
}

fn parsed<T: FromStr<Err = SubjectError>>(texts: &[String]) -> Option<Vec<T>> {
    texts.iter().map(|text| text.parse().ok()).collect()
}
