//! Why a change ends a session.

use std::fmt;

use callgate::authn::GoneCause;

/// Why a change ends a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Cause {
    /// What vouched for the client no longer exists.
    Gone(GoneCause),
    /// The configuration has no such authenticator.
    AuthenticatorRemoved,
    /// The account is no longer listed.
    AccountRemoved,
    /// The client would be refused, be placed in another account, lack a permission, or stay connected for a
    /// shorter time.
    GrantSmaller,
    /// The grant would differ in another way.
    GrantDiffers,
    /// The decision cannot be evaluated again.
    NotJudged,
}

impl Cause {
    /// Every cause, for metrics.
    pub(crate) const ALL: [Self; 11] = [
        Self::Gone(GoneCause::UserRemoved),
        Self::Gone(GoneCause::UserDisabled),
        Self::Gone(GoneCause::UserExpired),
        Self::Gone(GoneCause::CredentialChanged),
        Self::Gone(GoneCause::ServiceAccountGone),
        Self::Gone(GoneCause::KeyRemoved),
        Self::AuthenticatorRemoved,
        Self::AccountRemoved,
        Self::GrantSmaller,
        Self::GrantDiffers,
        Self::NotJudged,
    ];

    /// The stable name used in logs, metrics and `callgate revocations`.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Gone(cause) => cause.as_str(),
            Self::AuthenticatorRemoved => "authenticator_removed",
            Self::AccountRemoved => "account_removed",
            Self::GrantSmaller => "grant_smaller",
            Self::GrantDiffers => "grant_differs",
            Self::NotJudged => "not_judged",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
