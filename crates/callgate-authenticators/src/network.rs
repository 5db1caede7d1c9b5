//! What authenticators that depend on a backend over a network have in common.
//!
//! The chain enforces an authenticator's `timeout` and the request's deadline by dropping the login's
//! future. What must outlive a single login, such as a query that others wait for, is kept here.

mod answer_cache;
mod background;
mod cause;
mod singleflight;

use std::time::Duration;

pub(crate) use answer_cache::{AnswerCache, recent_cache};
pub(crate) use background::BackgroundTasks;
pub(crate) use cause::{connection_cause, of_io};
pub(crate) use singleflight::SingleFlight;

/// How long one request to a backend may take, from connecting to the last byte.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// The pause after `failures` consecutive failures: `first`, doubled each time, up to `longest`.
pub(crate) fn backoff(first: Duration, longest: Duration, failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    first.saturating_mul(1 << doublings).min(longest)
}

/// Makes aws-lc-rs the TLS provider of the process, unless it already has one: clients use that of
/// the process.
pub(crate) fn install_tls_provider() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let first = Duration::from_millis(100);
        let longest = Duration::from_secs(8);
        for (failures, millis) in
            [(0, 100), (1, 100), (2, 200), (3, 400), (8, 8000), (u32::MAX, 8000)]
        {
            assert_eq!(backoff(first, longest, failures), Duration::from_millis(millis));
        }
    }
}
