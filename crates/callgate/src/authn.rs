//! From a credential to an identity: authenticators, and the chain that tries them in order.

use std::{error::Error, fmt, time::Duration};

use futures_util::future::BoxFuture;
use tokio::sync::watch;

use crate::{
    reason::{Cause, Denial, Reason},
    request::AuthRequest,
};

mod chain;
mod identity;
mod lookup;
mod standing;
mod unclaimed;

pub use crate::admission::SourceKey;
pub use chain::{Chain, ChainAnswer, Link, Overloaded};
pub use identity::{Identity, Origin, Proposal};
pub use lookup::IdentityLookup;
pub use standing::{GoneCause, Reassessment, Standing};

/// Any error of a backend, for the log.
pub type BackendError = Box<dyn Error + Send + Sync>;

/// Turns a credential into an identity.
///
/// An implementation guarantees the following, which the authenticator suite of `callgate-testkit`
/// checks:
/// - a credential of another kind, or from another issuer, is [`Decline::NotMine`]
///   (`answers_not_mine_to_credentials_of_other_kinds`);
/// - its own credential is admitted only if it is proven, otherwise [`Decline::Rejected`]
///   (`rejects_a_wrong_credential`);
/// - no answer in time is [`Decline::Unavailable`], never one of the other two
///   (`is_unavailable_when_its_source_is_not_there`);
/// - no error or `Debug` text contains a secret (`never_shows_a_secret`);
/// - it can be called concurrently, and dropping the future leaves nothing behind
///   (`survives_being_dropped_and_asked_again`). While too many requests wait for it, the chain polls
///   the future once and drops it if the answer is not ready.
///
/// It should not block its thread: requests that arrive together are decided one after another, so
/// work that takes more than a millisecond belongs in [`tokio::task::spawn_blocking`].
pub trait Authenticator: fmt::Debug + Send + Sync + 'static {
    /// Identifies the client of `request` by its one credential.
    fn authenticate<'a>(
        &'a self,
        request: &'a AuthRequest,
    ) -> BoxFuture<'a, Result<Identity, Decline>>;

    /// Whether its source has loaded at least once.
    fn readiness(&self) -> Readiness {
        Readiness::Ready
    }

    /// What the operator should know although it works, for `/readyz` and `callgate explain`: that its
    /// data is old, for example. Without secrets.
    fn remark(&self) -> Option<String> {
        None
    }

    /// Whether it decides about clients without any credential. All others never see them, and without
    /// such authenticators they are refused with `no_credential`.
    fn takes_anonymous(&self) -> bool {
        false
    }

    /// The issuer whose tokens it accepts, if tokens name one. It decides nothing: it only explains to
    /// the operator why no authenticator accepted a token.
    fn issuer(&self) -> Option<String> {
        self.only_issuer().map(str::to_owned)
    }

    /// The issuer that every token it accepts names in `iss`, if there is one and it never changes. A
    /// chain does not ask it about tokens that name another issuer.
    fn only_issuer(&self) -> Option<&str> {
        None
    }

    /// Reaches the source as a login would, for `callgate check --connect`: it logs no user in and
    /// changes nothing. `None` if there is nothing to reach.
    fn probe(&self, _probe: Probe) -> Option<BoxFuture<'_, Result<ProbeReport, BackendError>>> {
        None
    }

    /// How long [`Authenticator::probe`] may take, if its source is loaded beside the logins; otherwise the
    /// authenticator's `timeout`.
    fn probe_timeout(&self) -> Option<Duration> {
        None
    }

    /// Finds identities without a credential, for `explain`; `None` if the source cannot.
    fn lookup(&self) -> Option<&dyn IdentityLookup> {
        None
    }

    /// What the source says now about an identity that it vouched for before. Answers from memory: no
    /// backend is queried, and no credential is needed.
    ///
    /// `identity` is as [`Authenticator::authenticate`] returned it, perhaps from an earlier configuration
    /// or another replica, but contains only those claims that policy names, and no templates. By default
    /// it is what was proved, and stays so.
    fn reassess(&self, identity: &Identity, how: &Reassessment) -> Standing {
        let _ = how;
        Standing::Current(Box::new(identity.clone()))
    }

    /// Each changes whenever [`Authenticator::reassess`] may answer differently because a source changed.
    /// Empty if that never happens under one configuration.
    fn changes(&self) -> Vec<watch::Receiver<u64>> {
        Vec::new()
    }

    /// Ends background work; called when a newer configuration has replaced it.
    fn retire(&self) {}
}

/// How far [`Authenticator::probe`] goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Probe {
    /// Also send a question that a service can tell from a login.
    pub send_question: bool,
}

/// What [`Authenticator::probe`] found at a source that can be used.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProbeReport {
    /// Facts, such as the columns of a query.
    pub notes: Vec<String>,
    /// Problems that do not prevent logins.
    pub warnings: Vec<String>,
}

/// Whether an authenticator's source has loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// It can answer.
    Ready,
    /// It cannot answer yet; contains what it waits for.
    Waiting(String),
}

/// An answer other than an identity.
#[derive(Debug)]
pub enum Decline {
    /// Another kind of credential or another issuer: the chain tries the next authenticator.
    NotMine,
    /// A wrong credential: the client is refused.
    Rejected(Rejection),
    /// No answer in time, or a malformed one: the client is refused, `temporarily unavailable`.
    Unavailable(BackendError),
}

impl Decline {
    /// A wrong credential.
    pub fn rejected(reason: Reason, detail: impl Into<String>) -> Self {
        Self::Rejected(Rejection::new(reason, detail))
    }
}

impl From<Rejection> for Decline {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}

/// Why a credential was rejected, for the operator only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// The stable reason.
    pub reason: Reason,
    /// What the operator should know. Never a secret.
    pub detail: String,
    /// The check that a bad token failed.
    pub cause: Option<Cause>,
    /// True if the token's signature was verified before: its claims are recorded as proven.
    pub signature_verified: bool,
}

impl Rejection {
    /// A rejection for `reason`.
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into(), cause: None, signature_verified: false }
    }

    /// Adds the check that a bad token failed.
    #[must_use]
    pub fn because(self, cause: Cause) -> Self {
        Self { cause: Some(cause), ..self }
    }

    /// Adds that the token's signature was verified before.
    #[must_use]
    pub fn after_signature(self) -> Self {
        Self { signature_verified: true, ..self }
    }
}

impl From<Rejection> for Denial {
    fn from(rejection: Rejection) -> Self {
        let Rejection { reason, detail, cause, signature_verified } = rejection;
        Self { cause, signature_verified, ..Self::new(reason, detail) }
    }
}
