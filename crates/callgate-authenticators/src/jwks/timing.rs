//! When keys are fetched.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

/// When keys are fetched. The defaults suit providers on the internet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Refresh after this, if the source does not say how long its answer stays fresh.
    pub refresh: Duration,
    /// Not sooner than this, whatever the source says.
    pub refresh_min: Duration,
    /// Not later than this.
    pub refresh_max: Duration,
    /// Least time between two fetches that tokens cause; so long is an unknown key id remembered.
    pub cool_down: Duration,
    /// Longest pause between attempts after a failure; the first is a second.
    pub retry_max: Duration,
    /// For how long keys serve that could not be refreshed.
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
    /// The pause after keys were fetched that stay fresh for `max_age`.
    pub(super) fn pause_after_success(&self, max_age: Option<Duration>) -> Duration {
        spread(max_age.unwrap_or(self.refresh).clamp(self.refresh_min, self.refresh_max))
    }

    /// The pause after this many failures in a row.
    pub(super) fn pause_after_failure(&self, failures: u32) -> Duration {
        let doubled = Duration::from_secs(1 << failures.saturating_sub(1).min(16));
        spread(doubled.min(self.retry_max))
    }
}

/// Up to a tenth earlier, so that replicas do not ask all at once.
fn spread(pause: Duration) -> Duration {
    let thousandth = pause / 1000;
    let earlier = RandomState::new().hash_one(()) % 100;
    pause - thousandth * u32::try_from(earlier).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_cannot_make_us_ask_too_often_or_too_rarely() {
        let timing = Timing::default();
        for (max_age, at_most) in [(0, 300), (60, 300), (600, 600), (86_400, 900)] {
            let pause = timing.pause_after_success(Some(Duration::from_secs(max_age))).as_secs();
            assert!(pause <= at_most && pause >= at_most * 9 / 10 - 1, "{max_age}: {pause}");
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
