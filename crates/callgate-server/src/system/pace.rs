//! How fast connections are closed: kicked clients come back at once, and each costs a login.

use std::time::Duration;

use tokio::time::Instant;

/// How often the pace is adapted.
const ADAPT_EVERY: Duration = Duration::from_millis(100);
/// Refusals within this time after a kick may be caused by it.
const CONSEQUENCE: Duration = Duration::from_secs(5);
/// No pace is lower, unless the operator wants it, so that a lock is always carried out.
const SLOWEST: f64 = 20.0;

/// A token bucket whose rate halves while logins are refused as `overloaded`, and recovers.
#[derive(Debug)]
pub(super) struct Pace {
    /// Kicks per second.
    limit: f64,
    rate: f64,
    tokens: f64,
    filled: Instant,
    adapted: Instant,
    last_kick: Option<Instant>,
    overloaded: u64,
}

impl Pace {
    pub(super) fn new(per_second: u32, now: Instant, overloaded: u64) -> Self {
        let limit = f64::from(per_second.max(1));
        Self {
            limit,
            rate: limit,
            tokens: 1.0,
            filled: now,
            adapted: now,
            last_kick: None,
            overloaded,
        }
    }

    /// Changes the limit.
    pub(super) fn limit(&mut self, per_second: f64) {
        self.limit = per_second.max(1.0);
        self.rate = self.rate.min(self.limit);
    }

    /// When the next kick may be sent. `overloaded` counts refusals since the start.
    pub(super) fn next(&mut self, now: Instant, overloaded: u64) -> Instant {
        self.adapt(now, overloaded);
        self.fill(now);
        match self.tokens >= 1.0 {
            true => now,
            false => now + Duration::from_secs_f64((1.0 - self.tokens) / self.rate),
        }
    }

    /// A kick was sent.
    pub(super) fn sent(&mut self, now: Instant) {
        self.tokens -= 1.0;
        self.last_kick = Some(now);
    }

    fn fill(&mut self, now: Instant) {
        let elapsed = now.duration_since(self.filled).as_secs_f64();
        // Enough for timers of 1 ms, and for a loop that is busy for a moment.
        let capacity = (self.rate / 20.0).max(1.0);
        self.tokens = (self.tokens + elapsed * self.rate).min(capacity);
        self.filled = now;
    }

    fn adapt(&mut self, now: Instant, overloaded: u64) {
        if now.duration_since(self.adapted) < ADAPT_EVERY {
            return;
        }
        self.adapted = now;
        let is_caused = self.last_kick.is_some_and(|kick| now.duration_since(kick) < CONSEQUENCE);
        let is_overloaded = overloaded > self.overloaded && is_caused;
        self.overloaded = overloaded;
        self.rate = match is_overloaded {
            true => (self.rate / 2.0).max(SLOWEST.min(self.limit)),
            false => (self.rate * 1.1).min(self.limit),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many kicks are sent within a second from `start`.
    fn sent(pace: &mut Pace, start: Instant, mut overloaded: impl FnMut() -> u64) -> u32 {
        let mut now = start;
        let mut count = 0;
        while now < start + Duration::from_secs(1) {
            now = pace.next(now, overloaded());
            pace.sent(now);
            count += 1;
        }
        count
    }

    #[test]
    fn pace_keeps_the_limit_and_yields_to_overload() {
        let start = Instant::now();
        let mut pace = Pace::new(2000, start, 0);
        let calm = sent(&mut pace, start, || 0);
        assert!((1990..=2010).contains(&calm), "{calm}");
        let mut refusals = 0;
        let busy = sent(&mut pace, start + Duration::from_secs(1), || {
            refusals += 1;
            refusals
        });
        assert!(busy < 500, "{busy}");
        let slow = sent(&mut pace, start + Duration::from_secs(2), || {
            refusals += 1;
            refusals
        });
        assert!((15..=25).contains(&slow), "{slow}");
        let mut recovered = slow;
        for second in 3..12 {
            recovered = sent(&mut pace, start + Duration::from_secs(second), || refusals);
        }
        assert!(recovered > 1900, "{recovered}");
    }

    #[test]
    fn overload_without_kicks_does_not_slow_the_next_ones() {
        let start = Instant::now();
        let mut pace = Pace::new(100, start, 0);
        for tenth in 1..50 {
            pace.next(start + ADAPT_EVERY * tenth, u64::from(tenth));
        }
        let count = sent(&mut pace, start + Duration::from_secs(6), || 49);
        assert!((95..=110).contains(&count), "{count}");
    }
}
