//! Permissions as they are stored with a session.

use std::{borrow::Cow, str::FromStr, time::Duration};

use callgate::{
    permissions::{Access, Permissions, Responses, Rules},
    subject::SubjectError,
};
use serde::{Deserialize, Serialize};

use crate::subject_text::{publish_text, subscribe_text};

/// What a client was granted.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum StoredAccess<'a> {
    #[serde(rename = "u")]
    Unrestricted,
    #[serde(rename = "l")]
    Limited(StoredPermissions<'a>),
    #[serde(rename = "s")]
    Scoped(Cow<'a, str>),
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoredPermissions<'a> {
    #[serde(default, rename = "p", skip_serializing_if = "Vec::is_empty")]
    publish: Vec<Cow<'a, str>>,
    #[serde(default, rename = "P", skip_serializing_if = "Vec::is_empty")]
    publish_deny: Vec<Cow<'a, str>>,
    #[serde(default, rename = "s", skip_serializing_if = "Vec::is_empty")]
    subscribe: Vec<Cow<'a, str>>,
    #[serde(default, rename = "S", skip_serializing_if = "Vec::is_empty")]
    subscribe_deny: Vec<Cow<'a, str>>,
    /// Messages, and milliseconds.
    #[serde(default, rename = "r", skip_serializing_if = "Option::is_none")]
    responses: Option<(Option<u32>, Option<u64>)>,
}

impl<'a> StoredAccess<'a> {
    pub(super) fn of(access: &'a Access) -> Self {
        match access {
            Access::Unrestricted => Self::Unrestricted,
            Access::Limited(permissions) => Self::Limited(StoredPermissions::of(permissions)),
            Access::Scoped(scope) => Self::Scoped(scope.into()),
        }
    }

    /// `None` if a subject cannot be read.
    pub(super) fn read(self) -> Option<Access> {
        Some(match self {
            Self::Unrestricted => Access::Unrestricted,
            Self::Limited(permissions) => Access::Limited(permissions.read()?),
            Self::Scoped(scope) => Access::Scoped(scope.into_owned()),
        })
    }
}

impl<'a> StoredPermissions<'a> {
    pub(super) fn of(permissions: &'a Permissions) -> Self {
        let Permissions { publish, subscribe, responses } = permissions;
        let responses = responses.map(|Responses { max, ttl }| {
            let milliseconds = |ttl: Duration| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
            (max, ttl.map(milliseconds))
        });
        Self {
            publish: publish.allow.iter().map(publish_text).collect(),
            publish_deny: publish.deny.iter().map(publish_text).collect(),
            subscribe: subscribe.allow.iter().map(subscribe_text).collect(),
            subscribe_deny: subscribe.deny.iter().map(subscribe_text).collect(),
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

fn parsed<T: FromStr<Err = SubjectError>>(texts: &[Cow<'_, str>]) -> Option<Vec<T>> {
    texts.iter().map(|text| text.parse().ok()).collect()
}
