//! Requests waiting for an authenticator. One whose backend hangs leaves capacity for the others,
//! and one source that floods it leaves capacity for the other sources.

use std::sync::Arc;

use super::{AdmissionPolicy, FairLimiter, Permit, SourceKey};
use crate::request::AuthRequest;

/// The queue of an authenticator is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("authenticator queue is full (share of `max_in_flight` exhausted)")]
pub(crate) struct QueueFull;

/// One queue per authenticator of a chain.
#[derive(Debug, Default)]
pub(crate) struct AuthenticatorQueues {
    authenticators: Arc<FairLimiter<usize>>,
    sources: Vec<Arc<FairLimiter<SourceKey>>>,
}

/// A place in an authenticator's queue, until dropped.
#[derive(Debug)]
pub(crate) struct QueuePermit {
    _source: Permit<SourceKey>,
    _authenticator: Permit<usize>,
}

impl AuthenticatorQueues {
    pub(crate) fn new(authenticators: usize) -> Self {
        let sources = (0..authenticators).map(|_| Arc::default()).collect();
        Self { authenticators: Arc::default(), sources }
    }

    /// A place for `request` in the queue of the authenticator at position `index`.
    pub(crate) fn enter(
        &self,
        index: usize,
        request: &AuthRequest,
        policy: AdmissionPolicy<'_>,
    ) -> Result<QueuePermit, QueueFull> {
        let AdmissionPolicy { max_in_flight, trusted_proxies } = policy;
        let source = SourceKey::of_request(request, trusted_proxies);
        let sources = self.sources.get(index).ok_or(QueueFull)?;
        let authenticator =
            self.authenticators.try_acquire(&index, max_in_flight).ok_or(QueueFull)?;
        // The authenticator's own share is in turn divided between the sources that wait for it.
        let share = self.authenticators.share(&index, max_in_flight);
        let source = sources.try_acquire(&source, share).ok_or(QueueFull)?;
        Ok(QueuePermit { _source: source, _authenticator: authenticator })
    }
}
