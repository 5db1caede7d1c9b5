//! What a source says today about an identity that it vouched for before.

use std::fmt;

use super::Identity;
use crate::clock::UnixTime;

/// How to look at an identity again ([`Authenticator::reassess`](super::Authenticator::reassess)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reassessment {
    /// The current time.
    pub now: UnixTime,
    /// Whether a signing key that is no longer in the issuer's key set counts as withdrawn. Ordinary
    /// rotation looks the same.
    pub withdrawn_keys: bool,
}

/// What a source says today about an identity that it vouched for before.
#[derive(Debug, Clone, PartialEq)]
pub enum Standing {
    /// The identity as a login with the same credential would find it now.
    Current(Box<Identity>),
    /// What the client was admitted for no longer exists.
    Gone(GoneCause),
    /// The source cannot answer.
    Unknown,
}

/// What no longer exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GoneCause {
    /// The user's entry was removed.
    UserRemoved,
    /// The user's entry is disabled.
    UserDisabled,
    /// The user's entry has expired.
    UserExpired,
    /// The password, token or nkey was replaced or removed.
    CredentialChanged,
    /// The service account was deleted, or deleted and created again.
    ServiceAccountGone,
    /// The key that signed the credential is no longer accepted.
    KeyRemoved,
}

impl GoneCause {
    /// Every cause, for metrics and documentation.
    pub const ALL: [Self; 6] = [
        Self::UserRemoved,
        Self::UserDisabled,
        Self::UserExpired,
        Self::CredentialChanged,
        Self::ServiceAccountGone,
        Self::KeyRemoved,
    ];

    /// The stable name used in logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UserRemoved => "user_removed",
            Self::UserDisabled => "user_disabled",
            Self::UserExpired => "user_expired",
            Self::CredentialChanged => "credential_changed",
            Self::ServiceAccountGone => "service_account_gone",
            Self::KeyRemoved => "key_removed",
        }
    }
}

impl fmt::Display for GoneCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
