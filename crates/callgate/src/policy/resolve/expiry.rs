//! The expiry of a session: the earliest of all limits, moved slightly earlier to spread reconnects.

use std::time::Duration;

use super::trace::{Step, Trace};
use crate::clock::UnixTime;

/// Collects lifetime limits and keeps the earliest.
#[derive(Debug)]
pub(super) struct Expiry {
    now: UnixTime,
    earliest: Option<UnixTime>,
}

impl Expiry {
    pub(super) fn new(now: UnixTime) -> Self {
        Self { now, earliest: None }
    }

    /// Limits the session to `end`.
    pub(super) fn at<T: Trace>(
        &mut self,
        end: Option<UnixTime>,
        trace: &mut T,
        because: impl FnOnce() -> String,
    ) {
        let Some(end) = end else { return };
        trace.record(|| Step::Ends { at: end.seconds(), because: because() });
        self.earliest = Some(self.earliest.map_or(end, |earliest| earliest.min(end)));
    }

    /// Limits the session to `duration` from now.
    pub(super) fn after<T: Trace>(
        &mut self,
        duration: Option<Duration>,
        trace: &mut T,
        because: impl FnOnce() -> String,
    ) {
        self.at(duration.map(|duration| self.now.plus(duration)), trace, because);
    }

    /// The expiry, moved earlier by up to the fraction `jitter` of the remaining time, so that sessions
    /// that began together do not end together. Never later, and never before the next second.
    pub(super) fn spread<T: Trace>(
        self,
        jitter: f64,
        user_nkey: &[u8; 32],
        trace: &mut T,
    ) -> Option<UnixTime> {
        let end = self.earliest?;
        let next = UnixTime::from_seconds(self.now.seconds().saturating_add(1));
        let remaining = end.seconds_since(self.now).max(0);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_precision_loss,
            reason = "whole seconds of at most the remaining time"
        )]
        let earlier = (remaining as f64 * jitter.clamp(0.0, 1.0) * fraction_of(user_nkey)) as i64;
        let spread = end.seconds().saturating_sub(earlier.clamp(0, remaining));
        let spread = UnixTime::from_seconds(spread).max(next);
        if spread < end {
            let because =
                || format!("session.jitter = {jitter}: moved earlier to spread reconnects");
            trace.record(|| Step::Ends { at: spread.seconds(), because: because() });
        }
        Some(spread)
    }
}

/// A number from 0 to less than 1, derived from the key. nats-server creates a new key for each
/// connection, and the same request always has the same result.
fn fraction_of(user_nkey: &[u8; 32]) -> f64 {
    // FNV-1a, then the finalizer of SplitMix64: the key is random, this only spreads its bits.
    let hash = user_nkey.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let mixed = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    let bits = (mixed ^ (mixed >> 31)) >> 32;
    f64::from(u32::try_from(bits).unwrap_or_default()) / (f64::from(u32::MAX) + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::resolve::trace::NoTrace;

    fn spread(remaining: i64, jitter: f64, key: u8) -> i64 {
        let now = UnixTime::from_seconds(1_000_000);
        let mut expiry = Expiry::new(now);
        let end = UnixTime::from_seconds(1_000_000 + remaining);
        expiry.at(Some(end), &mut NoTrace, String::new);
        expiry.spread(jitter, &[key; 32], &mut NoTrace).unwrap().seconds_since(now)
    }

    #[test]
    fn jitter_shortens_and_leaves_one_second() {
        for key in 0..=255 {
            let left = spread(3600, 0.1, key);
            assert!((3240..=3600).contains(&left), "{left}");
            assert_eq!(spread(3600, 0.0, key), 3600);
            assert!(spread(1, 1.0, key) == 1 && spread(0, 1.0, key) == 1);
        }
        let ends: std::collections::BTreeSet<_> = (0..=255).map(|k| spread(3600, 0.1, k)).collect();
        assert!(ends.len() > 100, "256 keys share {} ends", ends.len());
    }

    #[test]
    fn without_limits_there_is_no_expiry() {
        assert_eq!(
            Expiry::new(UnixTime::from_seconds(5)).spread(0.1, &[0; 32], &mut NoTrace),
            None
        );
    }
}
