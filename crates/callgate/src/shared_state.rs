//! What survives a reload: [`Callgate::replace`](crate::Callgate::replace) keeps it.

use std::sync::atomic::{AtomicBool, AtomicUsize};

use arc_swap::ArcSwapOption;

use crate::{admission::MaxInFlight, seen_requests::SeenRequests};

#[derive(Debug, Default)]
pub(crate) struct SharedState {
    /// The callout account, as a server reported it when the responder connected.
    pub(crate) callout_account: ArcSwapOption<String>,
    pub(crate) max_in_flight: MaxInFlight,
    pub(crate) seen_requests: SeenRequests,
    /// Refusals that are being withheld now.
    pub(crate) withheld: AtomicUsize,
    /// Whether the warning about an unknown callout account was logged.
    pub(crate) warned: AtomicBool,
}
