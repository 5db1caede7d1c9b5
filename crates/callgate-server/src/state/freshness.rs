//! Proof that a replica sees the current state: a write of its own that came back through the watch.
//!
//! A read proves nothing, because a server without a quorum may answer from an old copy.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use callgate::clock::UnixTime;
use tokio::time::Instant;

/// Writes that may be on their way at a time.
const MAX_SENT: usize = 64;

/// When this replica last saw the current state, and what time it is.
#[derive(Debug)]
pub(crate) struct Freshness {
    max_stale: Duration,
    started: Instant,
    proofs: Mutex<Proofs>,
}

#[derive(Debug, Default)]
struct Proofs {
    next: u64,
    sent: VecDeque<(u64, Instant)>,
    proven: Option<Proven>,
}

/// The last write that came back.
#[derive(Debug, Clone, Copy)]
struct Proven {
    /// When it was sent: what was written later may be unknown.
    sent: Instant,
    /// The server's clock at about that time.
    written: SystemTime,
}

impl Freshness {
    pub(crate) fn new(max_stale: Duration, now: Instant) -> Self {
        Self { max_stale, started: now, proofs: Mutex::default() }
    }

    /// A write begins; returns its number.
    pub(crate) fn send(&self, now: Instant) -> u64 {
        let mut proofs = self.proofs();
        let number = proofs.next;
        proofs.next += 1;
        proofs.sent.push_back((number, now));
        if proofs.sent.len() > MAX_SENT {
            proofs.sent.pop_front();
        }
        number
    }

    /// A write came back through the watch, with the time of the server that stored it.
    pub(crate) fn returned(&self, number: u64, written: SystemTime) {
        let mut proofs = self.proofs();
        let sent = proofs.sent.iter().find(|(it, _)| *it == number).map(|(_, sent)| *sent);
        let Some(sent) = sent else { return };
        proofs.sent.retain(|(it, _)| *it > number);
        proofs.proven = Some(Proven { sent, written });
    }

    /// Whether there was a proof.
    pub(crate) fn is_proven(&self) -> bool {
        self.proofs().proven.is_some()
    }

    /// Whether the last proof is recent enough.
    pub(crate) fn is_fresh(&self, now: Instant) -> bool {
        self.proofs()
            .proven
            .is_some_and(|proven| now.saturating_duration_since(proven.sent) <= self.max_stale)
    }

    /// The time since the last proof, or since the start.
    pub(crate) fn age(&self, now: Instant) -> Duration {
        let since = self.proofs().proven.map_or(self.started, |proven| proven.sent);
        now.saturating_duration_since(since)
    }

    /// The earlier of our clock and that of the servers: nothing ends before this time has passed. Without
    /// proof, nothing ends.
    pub(crate) fn earliest(&self, now: Instant, wall: UnixTime) -> UnixTime {
        let unknown = UnixTime::from_seconds(i64::MIN);
        self.server_time(now).map_or(unknown, |time| time.min(wall))
    }

    /// The later of our clock and that of the servers, to compute an end.
    pub(crate) fn latest(&self, now: Instant, wall: UnixTime) -> UnixTime {
        self.server_time(now).map_or(wall, |time| time.max(wall))
    }

    /// The servers' clock, continued by the monotonic one: ours may be set at any time.
    fn server_time(&self, now: Instant) -> Option<UnixTime> {
        let proven = self.proofs().proven?;
        let passed = now.saturating_duration_since(proven.sent);
        proven.written.checked_add(passed).map(UnixTime::from)
    }

    fn proofs(&self) -> MutexGuard<'_, Proofs> {
        self.proofs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn only_a_write_of_ones_own_that_returns_is_proof() {
        let start = Instant::now();
        let freshness = Freshness::new(SECOND * 10, start);
        assert!(!freshness.is_fresh(start));
        let first = freshness.send(start);
        freshness.returned(first + 7, at(100));
        assert!(!freshness.is_fresh(start), "an unknown number proves nothing");
        // It counts from the moment of sending.
        freshness.returned(first, at(100));
        assert!(freshness.is_fresh(start + SECOND * 10));
        assert!(!freshness.is_fresh(start + SECOND * 11));
        assert_eq!(freshness.age(start + SECOND * 11), SECOND * 11);
        freshness.returned(first, at(200));
        assert!(!freshness.is_fresh(start + SECOND * 11), "the same write proves nothing again");
    }

    #[test]
    fn wrong_clock_neither_ends_early_nor_computes_an_early_end() {
        let start = Instant::now();
        let freshness = Freshness::new(SECOND, start);
        let wall = UnixTime::from_seconds;
        assert_eq!(freshness.earliest(start, wall(50)), wall(i64::MIN));
        assert_eq!(freshness.latest(start, wall(50)), wall(50));
        let number = freshness.send(start);
        freshness.returned(number, at(1_000));
        let later = start + SECOND * 5;
        for (own, earliest, latest) in
            [(1_005, 1_005, 1_005), (1_605, 1_005, 1_605), (405, 405, 1_005)]
        {
            assert_eq!(freshness.earliest(later, wall(own)), wall(earliest), "{own}");
            assert_eq!(freshness.latest(later, wall(own)), wall(latest), "{own}");
        }
    }
}
