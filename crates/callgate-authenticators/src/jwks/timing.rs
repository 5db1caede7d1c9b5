//! When keys are fetched.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use crate::network::backoff;

/// When keys are fetched. The defaults suit providers on the internet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Time between refreshes if the source does not say how long its answer stays fresh.
    pub refresh: Duration,
    /// Minimum time between refreshes, whatever the source says.
    pub refresh_min: Duration,
    /// Maximum time between refreshes.
    pub refresh_max: Duration,
    /// Minimum time between two fetches that tokens cause, and how long an unknown key id is
    /// remembered.
    pub cool_down: Duration,
    /// Maximum pause between attempts after failures; the first pause is one second.
    pub retry_max: Duration,
    /// How long keys stay valid without a refresh.
    pub keep: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            refresh: Duration::from_secs(10 * 60),
            refresh_min: Duration::from_secs(5 * 60),
            refresh_max: Duration::from_secs(15 * 60),
            cool_down: Duration::from_secs(10),
            retry_max: Duration::from_secs(60),
            keep: Duration::from_secs(24 * 3600),
        }
    }
}

impl Timing {
    /// The pause after fetching keys that stay fresh for `max_age`.
    pub(super) fn pause_after_success(&self, max_age: Option<Duration>) -> Duration {
        spread(max_age.unwrap_or(self.refresh).clamp(self.refresh_min, self.refresh_max))
    }

    /// The pause after this many consecutive failures.
    pub(super) fn pause_after_failure(&self, failures: u32) -> Duration {
        spread(backoff(Duration::from_secs(1), self.retry_max, failures))
    }
}

/// Shortens the pause by up to a tenth, so that replicas do not fetch simultaneously.
fn spread(pause: Duration) -> Duration {
    let thousandths = u32::try_from(RandomState::new().hash_one(()) % 100).unwrap_or_default();
    pause - pause / 1000 * thousandths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn source_cannot_choose_extreme_refresh_periods() {
        let timing = Timing::default();
        for (max_age, max_pause) in [(0, 300), (60, 300), (600, 600), (86_400, 900)] {
            let pause = timing.pause_after_success(Some(Duration::from_secs(max_age))).as_secs();
            assert!(pause <= max_pause && pause >= max_pause * 9 / 10 - 1, "{max_age}: {pause}");
        }
    }

    #[test]
    fn pauses_after_failures_grow_up_to_a_limit() {
        let timing = Timing::default();
        assert!(timing.pause_after_failure(1) <= Duration::from_secs(1));
        assert!(timing.pause_after_failure(3) > Duration::from_secs(3));
        assert!(timing.pause_after_failure(u32::MAX) <= timing.retry_max);
        assert!(timing.pause_after_failure(u32::MAX) > Duration::from_secs(50));
    }
}
