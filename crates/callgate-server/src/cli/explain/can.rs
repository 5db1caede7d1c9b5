//! `--can pub:SUBJECT` and `--can sub:SUBJECT`

use std::{fmt, str::FromStr};

use callgate::{
    permissions::Access,
    policy::AccessVerdict,
    subject::{Subject, SubjectError, SubjectPattern, SubscribePattern},
};

/// An operation to check: publish or subscribe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) enum AccessQuery {
    Publish(Subject),
    /// To every subject that a pattern matches.
    PublishAll(SubjectPattern),
    Subscribe(SubscribePattern),
}

/// Why a text is not a query.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(in crate::cli) enum AccessQueryError {
    #[error("begin with `pub:` or `sub:`, such as pub:orders.new")]
    Kind,
    #[error(transparent)]
    Subject(#[from] SubjectError),
}

impl AccessQuery {
    pub(in crate::cli) fn check(&self, access: &Access) -> AccessVerdict {
        match self {
            Self::Publish(subject) => access.can_publish(subject),
            Self::PublishAll(pattern) => access.can_publish_all(pattern),
            Self::Subscribe(pattern) => access.can_subscribe(pattern),
        }
    }

    /// Whether it is allowed, without the cost of naming the rule.
    pub(in crate::cli) fn is_allowed(&self, access: &Access) -> bool {
        match self {
            Self::Publish(subject) => access.allows_publish(subject),
            Self::PublishAll(pattern) => access.allows_publish_all(pattern),
            Self::Subscribe(pattern) => access.allows_subscribe(pattern),
        }
    }
}

impl FromStr for AccessQuery {
    type Err = AccessQueryError;

    fn from_str(text: &str) -> Result<Self, AccessQueryError> {
        match text.split_once(':') {
            Some(("pub", text)) => match text.parse() {
                Ok(subject) => Ok(Self::Publish(subject)),
                Err(_) => Ok(Self::PublishAll(text.parse()?)),
            },
            Some(("sub", subject)) => Ok(Self::Subscribe(subject.parse()?)),
            Some(_) | None => Err(AccessQueryError::Kind),
        }
    }
}

impl fmt::Display for AccessQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Publish(subject) => write!(f, "pub:{subject}"),
            Self::PublishAll(pattern) => write!(f, "pub:{pattern}"),
            Self::Subscribe(pattern) => write!(f, "sub:{pattern}"),
        }
    }
}
