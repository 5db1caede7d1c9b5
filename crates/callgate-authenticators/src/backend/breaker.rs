//! Stops waiting for a backend that cannot be reached.

use std::{mem, time::Duration};

use tokio::time::Instant;

/// This many consecutive failures to reach a backend count as an outage.
const MAX_FAILURES: u32 = 5;

/// How long logins are refused before one of them tries the backend again.
pub(super) const PAUSE: Duration = Duration::from_secs(1);

/// Whether the backend can be reached, as far as recent queries show.
#[derive(Debug)]
pub(super) enum Breaker {
    Up {
        /// Consecutive failures.
        failures: u32,
    },
    Down {
        retry_at: Instant,
        /// One login is trying.
        is_tried: bool,
    },
}

/// The permission to send one query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pass {
    Usual,
    /// The one query that finds out whether the backend is back.
    Trial,
}

impl Default for Breaker {
    fn default() -> Self {
        Self::Up { failures: 0 }
    }
}

impl Breaker {
    /// Whether a query may be sent at `now`. It grants no pass.
    pub(super) fn is_open(&self, now: Instant) -> bool {
        match self {
            Self::Up { .. } => true,
            Self::Down { retry_at, is_tried } => !is_tried && now >= *retry_at,
        }
    }

    /// The pass for one query at `now`, if it may be sent.
    pub(super) fn pass(&mut self, now: Instant) -> Option<Pass> {
        let is_open = self.is_open(now);
        match self {
            Self::Up { .. } => Some(Pass::Usual),
            Self::Down { is_tried, .. } => is_open.then(|| {
                *is_tried = true;
                Pass::Trial
            }),
        }
    }

    /// The backend was reached; true if that ends an outage.
    pub(super) fn reached(&mut self) -> bool {
        matches!(mem::take(self), Self::Down { .. })
    }

    /// The backend was not reached; true if that begins an outage.
    pub(super) fn failed(&mut self, pass: Pass, now: Instant) -> bool {
        match self {
            Self::Up { failures } if *failures + 1 < MAX_FAILURES => {
                *failures += 1;
                false
            }
            Self::Up { .. } => {
                *self = Self::Down { retry_at: now + PAUSE, is_tried: false };
                true
            }
            // Queries from before the outage say nothing about its end.
            Self::Down { retry_at, is_tried } => {
                if pass == Pass::Trial {
                    *retry_at = now + PAUSE;
                    *is_tried = false;
                }
                false
            }
        }
    }

    /// The login went away before its query had an answer.
    pub(super) fn abandoned(&mut self, pass: Pass) {
        if let (Self::Down { is_tried, .. }, Pass::Trial) = (self, pass) {
            *is_tried = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_failures_in_a_row_begin_an_outage() {
        let now = Instant::now();
        let mut breaker = Breaker::default();
        for _ in 0..4 {
            assert!(!breaker.failed(Pass::Usual, now));
        }
        assert!(!breaker.reached());
        for _ in 0..4 {
            assert!(!breaker.failed(Pass::Usual, now));
        }
        assert_eq!(breaker.pass(now), Some(Pass::Usual));
        assert!(breaker.failed(Pass::Usual, now));
        assert!(!breaker.failed(Pass::Usual, now));
        assert_eq!(breaker.pass(now), None);
    }

    #[test]
    fn after_a_pause_one_login_tries() {
        let start = Instant::now();
        let mut breaker = Breaker::Down { retry_at: start + PAUSE, is_tried: false };
        assert_eq!(breaker.pass(start + PAUSE - Duration::from_millis(1)), None);
        let now = start + PAUSE;
        assert_eq!(breaker.pass(now), Some(Pass::Trial));
        assert_eq!(breaker.pass(now), None);
        breaker.abandoned(Pass::Trial);
        assert_eq!(breaker.pass(now), Some(Pass::Trial));
        breaker.failed(Pass::Usual, now);
        assert_eq!(breaker.pass(now), None);
        breaker.failed(Pass::Trial, now);
        assert_eq!(breaker.pass(now), None);
        assert_eq!(breaker.pass(now + PAUSE), Some(Pass::Trial));
        assert!(breaker.reached());
        assert_eq!(breaker.pass(now), Some(Pass::Usual));
    }
}
