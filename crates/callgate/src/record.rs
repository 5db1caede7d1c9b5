//! The record of one decision: the one place that log, metrics and audit read.

use std::{fmt, sync::Arc, time::Duration};

use crate::{clock::UnixTime, connection::ConnectionKind};

/// Why a client was admitted, refused or passed over. The names are stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Reason {
    /// Let in.
    Admitted,
    /// Nothing that anybody could check.
    NoCredential,
    /// Two credentials of different kinds: which one counts would be a guess.
    AmbiguousCredential,
    /// Nobody knows the user name.
    UnknownUser,
    /// The user is known, the password is another.
    BadPassword,
    /// A signature that is missing, wrong, or over no nonce.
    BadSignature,
    /// A token that nobody vouches for.
    BadToken,
    /// A token past its end.
    TokenExpired,
    /// A token that lives longer than is allowed.
    TokenLifetime,
    /// A token for somebody else.
    WrongAudience,
    /// The user is switched off.
    UserDisabled,
    /// The user's time is over.
    UserExpired,
    /// The Kubernetes service account is deleted, made anew or not known.
    UnknownServiceAccount,
    /// No binding and no permissions for this identity.
    NoBinding,
    /// Nothing names an account.
    NoAccount,
    /// Two different accounts are named.
    AccountConflict,
    /// An account that this identity must not be placed in.
    AccountNotAllowed,
    /// A scoped role beside another one.
    RoleConflict,
    /// A value that is not one literal subject token.
    UnsafeTemplateValue,
    /// The user JWT would be too large.
    GrantTooLarge,
    /// Not from this network.
    SourceNotAllowed,
    /// Not over this kind of connection.
    ConnectionTypeNotAllowed,
    /// Not at this time of day.
    OutsideHours,
    /// A condition failed to evaluate.
    PolicyError,
    /// Whoever should know did not answer.
    BackendUnavailable,
    /// More work than can be done in time.
    Overloaded,
    /// Not a request: garbage, too large, badly signed, with impossible times.
    BadRequest,
    /// A request for another callout.
    WrongAudienceRequest,
    /// In clear although an xkey is configured.
    NotEncrypted,
    /// Sealed for a key that is not configured.
    CannotDecrypt,
    /// Too old, or from a clock that is far off.
    StaleRequest,
    /// The server has given up waiting.
    DeadlinePassed,
}

impl Reason {
    /// Every reason, for metrics and documentation.
    pub const ALL: [Reason; 32] = [
        Self::Admitted,
        Self::NoCredential,
        Self::AmbiguousCredential,
        Self::UnknownUser,
        Self::BadPassword,
        Self::BadSignature,
        Self::BadToken,
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
        Self::BadRequest,
        Self::WrongAudienceRequest,
        Self::NotEncrypted,
        Self::CannotDecrypt,
        Self::StaleRequest,
        Self::DeadlinePassed,
    ];

    /// The stable name, as it stands in logs, metrics and `explain`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admitted => "admitted",
            Self::NoCredential => "no_credential",
            Self::AmbiguousCredential => "ambiguous_credential",
            Self::UnknownUser => "unknown_user",
            Self::BadPassword => "bad_password",
            Self::BadSignature => "bad_signature",
            Self::BadToken => "bad_token",
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
            Self::BadRequest => "bad_request",
            Self::WrongAudienceRequest => "wrong_audience_request",
            Self::NotEncrypted => "not_encrypted",
            Self::CannotDecrypt => "cannot_decrypt",
            Self::StaleRequest => "stale_request",
            Self::DeadlinePassed => "deadline_passed",
        }
    }

    /// What becomes of a request that ends with this reason.
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

    /// What the server, and so its log, is told. It never says why.
    pub const fn public_text(self) -> &'static str {
        match self {
            Self::BackendUnavailable | Self::Overloaded => "temporarily unavailable",
            _ => "authorization failed",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    /// A user JWT was sent.
    Admitted,
    /// A refusal was sent, or withheld on purpose.
    Refused,
    /// Nothing was sent: it was no request for us, or nobody waits any more.
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

/// A refusal, with an explanation that is for the operator only.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {detail}")]
pub struct Denial {
    /// The stable reason.
    pub reason: Reason,
    /// What the operator should know: what was tried, with what, what to do. Never a secret.
    pub detail: String,
    /// What outside data asked for and the ceiling dropped on the way.
    pub ceiling_dropped: CeilingDropped,
}

impl Denial {
    /// A refusal for `reason`.
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into(), ceiling_dropped: CeilingDropped::default() }
    }
}

/// Subjects and roles that outside data asked for and a ceiling dropped.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CeilingDropped {
    /// How many.
    pub count: u32,
    /// The first of them, escaped and cut.
    pub texts: Vec<String>,
}

/// Which request a decision was about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestIds {
    /// `jti` of the request.
    pub request: String,
    /// The server's public nkey.
    pub server_id: String,
    /// The server's name.
    pub server_name: String,
    /// The connection's number at that server (`cid`).
    pub client_id: u64,
    /// The public nkey that the server made for the connection.
    pub user_nkey: String,
    /// The TCP peer that the server saw.
    pub client_host: String,
    /// The kind of the connection.
    pub connection: Option<ConnectionKind>,
    /// What the client calls itself; not to be trusted.
    pub client_name: String,
}

/// How long each stage took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stages {
    /// Decrypt, verify, parse.
    pub open: Duration,
    /// The authenticators and the policy.
    pub decide: Duration,
    /// Sign the user JWT and the answer, and seal it.
    pub answer: Duration,
}

/// What was decided about one request, and why.
#[derive(Debug, Clone)]
pub struct Decision {
    /// The reason, and with it the outcome.
    pub reason: Reason,
    /// For the operator: what was tried, with what, what to do. Never a secret.
    pub detail: String,
    /// Which request; absent in what could not be opened.
    pub ids: Option<RequestIds>,
    /// Who identified the client, or refused it.
    pub authenticator: Option<Arc<str>>,
    /// The identity's user, or the user name that was tried.
    pub user: Option<String>,
    /// The account the client was placed in.
    pub account: Option<String>,
    /// When the session ends.
    pub expires_at: Option<UnixTime>,
    /// What outside data asked for and the ceiling dropped.
    pub ceiling_dropped: CeilingDropped,
    /// How long the authenticator took that gave the final answer.
    pub authenticator_took: Duration,
    /// Arrival to answer.
    pub duration: Duration,
    /// Its parts.
    pub stages: Stages,
    /// The server's clock minus ours, in seconds, where the request told it.
    pub clock_skew: Option<i64>,
}

impl Decision {
    /// What became of the request.
    pub fn outcome(&self) -> Outcome {
        self.reason.outcome()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_refusal_tells_the_server_why() {
        for reason in Reason::ALL {
            let text = reason.public_text();
            assert!(["authorization failed", "temporarily unavailable"].contains(&text));
        }
        assert_eq!(Reason::BadPassword.public_text(), Reason::UnknownUser.public_text());
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
