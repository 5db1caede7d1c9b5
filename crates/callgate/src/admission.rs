//! Admission control: how many requests may be in flight, shared fairly between their sources.
//!
//! A request needs a permit for its source ([`RequestLimiter`]). Only if its authenticator does not
//! answer immediately, it also needs a place in that authenticator's queue ([`AuthenticatorQueues`]).

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use ipnet::IpNet;

use crate::{
    reason::{Denial, Reason},
    request::AuthRequest,
};

mod authenticator_queues;
mod fair_limiter;
mod source;

pub(crate) use authenticator_queues::{AuthenticatorQueues, QueueFull};
pub(crate) use fair_limiter::{FairLimiter, Permit};
pub use source::SourceKey;

const DEFAULT_MAX_IN_FLIGHT: u32 = 1024;

/// How many requests may be in flight, and which of them count as one source.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AdmissionPolicy<'a> {
    pub(crate) max_in_flight: u32,
    pub(crate) trusted_proxies: &'a [IpNet],
}

impl Default for AdmissionPolicy<'_> {
    fn default() -> Self {
        Self { max_in_flight: DEFAULT_MAX_IN_FLIGHT, trusted_proxies: &[] }
    }
}

/// `max_in_flight`, as the running responder set it.
#[derive(Debug)]
pub(crate) struct MaxInFlight(AtomicU32);

impl Default for MaxInFlight {
    fn default() -> Self {
        Self(AtomicU32::new(DEFAULT_MAX_IN_FLIGHT))
    }
}

impl MaxInFlight {
    pub(crate) fn load(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    #[cfg(feature = "nats")]
    pub(crate) fn store(&self, max: u32) {
        self.0.store(max, Ordering::Relaxed);
    }
}

/// Permits for requests in flight.
#[derive(Debug, Default)]
pub(crate) struct RequestLimiter {
    pub(crate) max_in_flight: u32,
    pub(crate) permits: Arc<FairLimiter<SourceKey>>,
}

impl RequestLimiter {
    /// A permit for this request, held while it is decided.
    ///
    /// # Errors
    /// `overloaded` if the request's source has used up its share.
    pub(crate) fn admit(
        &self,
        request: &AuthRequest,
        trusted_proxies: &[IpNet],
    ) -> Result<Permit<SourceKey>, Denial> {
        let source = SourceKey::of_request(request, trusted_proxies);
        self.permits.try_acquire(&source, self.max_in_flight).ok_or_else(|| {
            let detail = "this source has used up its share of `max_in_flight`";
            Denial::new(Reason::Overloaded, detail)
        })
    }
}
