//! Decides about a request: a chain of authenticators and a policy, or the embedder's own function.

use std::{fmt, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;

use crate::{
    authn::Identity,
    policy::Grant,
    reason::{Denial, TokenClaims},
    request::AuthRequest,
};

mod chain;
mod function;
mod user;

pub(crate) use chain::ChainDecider;
pub use chain::ChainExplanation;
pub(crate) use function::FunctionDecider;
pub use user::{Refusal, User};

/// Decides about an opened request.
pub(crate) trait Decider: fmt::Debug + Send + Sync + 'static {
    fn decide(&self, request: Arc<AuthRequest>) -> BoxFuture<'_, Ruling>;

    /// Whether it never blocks its thread for long, so that a batch can be decided in sequence.
    #[cfg_attr(not(feature = "nats"), expect(dead_code, reason = "only the responder calls it"))]
    fn never_blocks(&self) -> bool {
        false
    }

    /// The same decision and how it came about, if that is known.
    fn explain(
        &self,
        request: Arc<AuthRequest>,
    ) -> BoxFuture<'_, (Ruling, Option<ChainExplanation>)> {
        Box::pin(async move { (self.decide(request).await, None) })
    }

    /// Explains what `identity` would be granted over the connection of `request`, if identities
    /// decide.
    fn explain_identity(
        &self,
        _request: &AuthRequest,
        _authenticator: &Arc<str>,
        _identity: Identity,
    ) -> Option<(Ruling, ChainExplanation)> {
        None
    }
}

/// What a decider decided. The pipeline has the last word.
#[derive(Debug)]
pub(crate) struct Ruling {
    pub(crate) authenticator: Option<Arc<str>>,
    pub(crate) user: Option<String>,
    pub(crate) identity: Option<Arc<Identity>>,
    /// What a refused token names.
    pub(crate) token: Option<TokenClaims>,
    /// How long the authenticator with the final answer took.
    pub(crate) took: Duration,
    pub(crate) grant: Result<Grant, Denial>,
    /// Send no reply at all.
    pub(crate) silent: bool,
}

impl Ruling {
    pub(crate) fn refused(denial: Denial) -> Self {
        Self {
            authenticator: None,
            user: None,
            identity: None,
            token: None,
            took: Duration::ZERO,
            grant: Err(denial),
            silent: false,
        }
    }
}
