//! Why a client was admitted or refused, or its request dropped.

use std::{fmt, sync::Arc};

mod token;

pub(crate) use token::unverified_claims;
pub use token::{Cause, TokenClaims};

/// Why a client was admitted or refused, or its request dropped. The names are stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Reason {
    /// The client was admitted.
    Admitted,
    /// The client sent no credential that can be checked.
    NoCredential,
    /// The client sent several credentials; choosing one would be a guess.
    AmbiguousCredential,
    /// No authenticator knows the user name.
    UnknownUser,
    /// Wrong password for a known user.
    BadPassword,
    /// The signature is missing, wrong, or not over a nonce.
    BadSignature,
    /// No authenticator accepts the token.
    BadToken,
    /// The client certificate is not acceptable.
    BadCertificate,
    /// The client certificate has been revoked.
    CertificateRevoked,
    /// The code of the second factor is missing, wrong, or was used before.
    BadSecondFactor,
    /// The token has expired.
    TokenExpired,
    /// The token is valid for longer than allowed.
    TokenLifetime,
    /// The token is for another audience.
    WrongAudience,
    /// The user is disabled.
    UserDisabled,
    /// The user has expired.
    UserExpired,
    /// The Kubernetes service account is unknown, deleted, or was recreated.
    UnknownServiceAccount,
    /// The identity has neither a binding nor permissions.
    NoBinding,
    /// No account is named.
    NoAccount,
    /// Different accounts are named.
    AccountConflict,
    /// The identity must not be placed in this account.
    AccountNotAllowed,
    /// A scoped role was combined with another role.
    RoleConflict,
    /// A template value is not one literal subject token.
    UnsafeTemplateValue,
    /// The user JWT would be too large.
    GrantTooLarge,
    /// The client connects from a network that is not allowed.
    SourceNotAllowed,
    /// The kind of connection is not allowed.
    ConnectionTypeNotAllowed,
    /// Logins are not allowed at this time of day.
    OutsideHours,
    /// The policy could not be evaluated.
    PolicyError,
    /// A backend did not answer, or answered with an error.
    BackendUnavailable,
    /// There is more work than can be done in time.
    Overloaded,
    /// A lock matches the client.
    Locked,
    /// Too many logins with this name or from this source have failed.
    TooManyFailures,
    /// The locks may have changed without this replica knowing.
    StateUnavailable,
    /// No audit record of the admission could be stored.
    AuditUnavailable,
    /// Not a request: garbage, too large, badly signed, or with impossible times.
    BadRequest,
    /// A request for another callout.
    WrongAudienceRequest,
    /// Not encrypted although an xkey is configured.
    NotEncrypted,
    /// Encrypted for a key that is not configured.
    CannotDecrypt,
    /// Too old, or the clocks differ too much.
    StaleRequest,
    /// The server no longer waits for the reply.
    DeadlinePassed,
}

impl Reason {
    /// Every reason, for metrics and documentation.
    pub const ALL: [Reason; 39] = [
        Self::Admitted,
        Self::NoCredential,
        Self::AmbiguousCredential,
        Self::UnknownUser,
        Self::BadPassword,
        Self::BadSignature,
        Self::BadToken,
        Self::BadCertificate,
        Self::CertificateRevoked,
        Self::BadSecondFactor,
        Self::TokenExpired,
        Self::TokenLifetime,
        Self::WrongAudience,
        Self::UserDisabled,
        Self::UserExpired,
        Self::UnknownServiceAccount,
        Self::NoBinding,
        Self::NoAccount,
        Self::AccountConflict,
        Self::AccountNotAllowed,
        Self::RoleConflict,
        Self::UnsafeTemplateValue,
        Self::GrantTooLarge,
        Self::SourceNotAllowed,
        Self::ConnectionTypeNotAllowed,
        Self::OutsideHours,
        Self::PolicyError,
        Self::BackendUnavailable,
        Self::Overloaded,
        Self::Locked,
        Self::TooManyFailures,
        Self::StateUnavailable,
        Self::AuditUnavailable,
        Self::BadRequest,
        Self::WrongAudienceRequest,
        Self::NotEncrypted,
        Self::CannotDecrypt,
        Self::StaleRequest,
        Self::DeadlinePassed,
    ];

    /// The stable name used in logs, metrics and `explain`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admitted => "admitted",
            Self::NoCredential => "no_credential",
            Self::AmbiguousCredential => "ambiguous_credential",
            Self::UnknownUser => "unknown_user",
            Self::BadPassword => "bad_password",
            Self::BadSignature => "bad_signature",
            Self::BadToken => "bad_token",
            Self::BadCertificate => "bad_certificate",
            Self::CertificateRevoked => "certificate_revoked",
            Self::BadSecondFactor => "bad_second_factor",
            Self::TokenExpired => "token_expired",
            Self::TokenLifetime => "token_lifetime",
            Self::WrongAudience => "wrong_audience",
            Self::UserDisabled => "user_disabled",
            Self::UserExpired => "user_expired",
            Self::UnknownServiceAccount => "unknown_service_account",
            Self::NoBinding => "no_binding",
            Self::NoAccount => "no_account",
            Self::AccountConflict => "account_conflict",
            Self::AccountNotAllowed => "account_not_allowed",
            Self::RoleConflict => "role_conflict",
            Self::UnsafeTemplateValue => "unsafe_template_value",
            Self::GrantTooLarge => "grant_too_large",
            Self::SourceNotAllowed => "source_not_allowed",
            Self::ConnectionTypeNotAllowed => "connection_type_not_allowed",
            Self::OutsideHours => "outside_hours",
            Self::PolicyError => "policy_error",
            Self::BackendUnavailable => "backend_unavailable",
            Self::Overloaded => "overloaded",
            Self::Locked => "locked",
            Self::TooManyFailures => "too_many_failures",
            Self::StateUnavailable => "state_unavailable",
            Self::AuditUnavailable => "audit_unavailable",
            Self::BadRequest => "bad_request",
            Self::WrongAudienceRequest => "wrong_audience_request",
            Self::NotEncrypted => "not_encrypted",
            Self::CannotDecrypt => "cannot_decrypt",
            Self::StaleRequest => "stale_request",
            Self::DeadlinePassed => "deadline_passed",
        }
    }

    /// The outcome of a request that ends with this reason.
    pub const fn outcome(self) -> Outcome {
        match self {
            Self::Admitted => Outcome::Admitted,
            Self::BadRequest
            | Self::WrongAudienceRequest
            | Self::NotEncrypted
            | Self::CannotDecrypt
            | Self::StaleRequest
            | Self::DeadlinePassed => Outcome::Dropped,
            _ => Outcome::Refused,
        }
    }

    /// The error text sent to the server, which logs it. It never says why.
    pub const fn public_text(self) -> &'static str {
        match self {
            Self::BackendUnavailable
            | Self::Overloaded
            | Self::StateUnavailable
            | Self::AuditUnavailable => "temporarily unavailable",
            _ => "authorization failed",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The outcome of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    /// A user JWT was sent.
    Admitted,
    /// A refusal was sent, or withheld on purpose.
    Refused,
    /// Nothing was sent: it was not a request for this callout, or the server no longer waits.
    Dropped,
}

impl Outcome {
    /// `admitted`, `refused` or `dropped`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admitted => "admitted",
            Self::Refused => "refused",
            Self::Dropped => "dropped",
        }
    }
}

/// A refusal, with an explanation for the operator only.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {detail}")]
pub struct Denial {
    /// The stable reason.
    pub reason: Reason,
    /// What failed, with which input, and what to do. Never contains a secret.
    pub detail: String,
    /// What outside data requested and a ceiling dropped.
    pub ceiling_dropped: CeilingDropped,
    /// The ID of the lock that refused the client.
    pub lock: Option<Arc<str>>,
    pub(crate) cause: Option<Cause>,
    /// True if the token's signature was verified before the refusal.
    pub(crate) signature_verified: bool,
}

impl Denial {
    /// A refusal for `reason`.
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self {
            reason,
            detail: detail.into(),
            ceiling_dropped: CeilingDropped::default(),
            lock: None,
            cause: None,
            signature_verified: false,
        }
    }

    /// A refusal by the lock with this ID.
    pub fn by_lock(id: &Arc<str>, detail: impl Into<String>) -> Self {
        Self { lock: Some(Arc::clone(id)), ..Self::new(Reason::Locked, detail) }
    }

    /// Adds the check that a bad token failed.
    #[must_use]
    pub fn because(self, cause: Cause) -> Self {
        Self { cause: Some(cause), ..self }
    }

    /// The check that a bad token failed; `None` for all other reasons.
    pub fn cause(&self) -> Option<Cause> {
        (self.reason == Reason::BadToken).then(|| self.cause.unwrap_or(Cause::Other))
    }

    pub(crate) fn decided_too_late() -> Self {
        Self::new(Reason::BackendUnavailable, "no decision before the server's deadline")
    }
}

/// Subjects and roles that outside data requested and a ceiling dropped.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CeilingDropped {
    /// How many.
    pub count: u32,
    /// The first of them, escaped and truncated.
    pub texts: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusal_text_never_says_why() {
        for reason in Reason::ALL {
            let text = reason.public_text();
            assert!(["authorization failed", "temporarily unavailable"].contains(&text));
        }
        assert_eq!(Reason::BadPassword.public_text(), Reason::UnknownUser.public_text());
    }

    #[test]
    fn only_bad_tokens_have_a_cause() {
        for reason in Reason::ALL {
            let expected = (reason == Reason::BadToken).then_some(Cause::Signature);
            assert_eq!(Denial::new(reason, "").because(Cause::Signature).cause(), expected);
        }
        assert_eq!(Denial::new(Reason::BadToken, "").cause(), Some(Cause::Other));
    }

    #[test]
    fn reason_names_are_unique_and_lower_case() {
        let mut names: Vec<_> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Reason::ALL.len());
        assert!(names.iter().all(|n| n.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')));
    }
}
