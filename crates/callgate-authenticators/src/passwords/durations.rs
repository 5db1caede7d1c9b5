//! How much of a core one set of hash parameters really takes of late, and the burning of as much.

use std::{
    collections::VecDeque,
    hint::black_box,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use aws_lc_rs::{digest, rand};

/// So many of the last ones are kept: enough for a distribution, few enough to follow the load.
const KEPT: usize = 64;

/// What this thread has spent of its core so far. Differences count: unlike the wall clock it stands still
/// while others have the core, so that a busy machine delays what is burnt as it delays a hash.
#[cfg(unix)]
pub(super) fn spent() -> Duration {
    let spent = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(spent).unwrap_or_default()
}

/// The wall clock, where there is no other.
#[cfg(not(unix))]
pub(super) fn spent() -> Duration {
    use std::{sync::LazyLock, time::Instant};
    static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);
    BEGAN.elapsed()
}

/// The last measured durations of one set of parameters.
#[derive(Debug, Default)]
pub(super) struct Durations(Mutex<Ring>);

#[derive(Debug, Default)]
struct Ring {
    last: VecDeque<Duration>,
    typical: Option<Duration>,
    random: u64,
}

impl Durations {
    pub(super) fn record(&self, took: Duration) {
        let mut ring = self.lock();
        if ring.last.len() == KEPT {
            ring.last.pop_front();
        }
        ring.last.push_back(took);
        let mut sorted: Vec<_> = ring.last.iter().copied().collect();
        let middle = sorted.len() / 2;
        ring.typical = Some(*sorted.select_nth_unstable(middle).1);
    }

    /// How many are known.
    pub(super) fn count(&self) -> usize {
        self.lock().last.len()
    }

    /// The middle one.
    pub(super) fn typical(&self) -> Option<Duration> {
        self.lock().typical
    }

    /// One of them, by chance, so that what is drawn is spread as what was measured is. At most twice
    /// the middle one: what went wrong once must not go wrong for others again.
    pub(super) fn draw(&self) -> Option<Duration> {
        let mut ring = self.lock();
        let count = u64::try_from(ring.last.len()).ok()?;
        let number = ring.next_random().checked_rem(count)?;
        let drawn = ring.last.get(usize::try_from(number).ok()?).copied()?;
        Some(ring.typical.map_or(drawn, |typical| drawn.min(typical * 2)))
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ring {
    /// xorshift64, from a seed that nobody knows.
    fn next_random(&mut self) -> u64 {
        if self.random == 0 {
            let mut seed = [0; 8];
            // Without randomness the draws are the same in every process, and still spread.
            let _unseeded = rand::fill(&mut seed);
            self.random = u64::from_le_bytes(seed) | 1;
        }
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }
}

/// Keeps this core busy until `spent` says that `end` has come: with work, as a hash is work, in steps
/// of less than a microsecond.
pub(super) fn burn(end: Duration, mut spent: impl FnMut() -> Duration) {
    let mut block = [0; digest::SHA256_OUTPUT_LEN];
    while spent() < end {
        let hash = digest::digest(&digest::SHA256, &block);
        block.iter_mut().zip(hash.as_ref()).for_each(|(to, from)| *to = *from);
    }
    black_box(block);
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn only_the_last_ones_are_drawn_and_each_of_them() {
        let durations = Durations::default();
        assert_eq!((durations.draw(), durations.typical()), (None, None));
        (0..100).for_each(|_| durations.record(MS));
        (0..KEPT).for_each(|number| durations.record(MS * u32::try_from(100 + number).unwrap()));
        assert_eq!(durations.count(), KEPT);
        assert_eq!(durations.typical(), Some(MS * 132));
        let mut drawn = std::collections::BTreeSet::new();
        // That one of 64 is missed in 6,400 draws happens once in 10⁴² runs.
        (0..6_400).for_each(|_| drawn.extend(durations.draw()));
        let (first, last) = (drawn.first().copied(), drawn.last().copied());
        assert_eq!((drawn.len(), first, last), (KEPT, Some(MS * 100), Some(MS * 163)));
    }

    #[test]
    fn what_went_wrong_once_does_not_go_wrong_again() {
        let durations = Durations::default();
        for took in [MS, MS, MS * 10_000] {
            durations.record(took);
        }
        assert!((0..1_000).all(|_| durations.draw().unwrap() <= MS * 2));
    }

    #[test]
    fn what_is_burnt_is_what_this_thread_has_spent() {
        let began = spent();
        burn(began + MS, spent);
        assert!(spent() - began >= MS);
        // Another thread's work is not this one's.
        let other = std::thread::spawn(|| burn(spent() + MS * 20, spent));
        let before = spent();
        other.join().unwrap();
        assert!(spent() - before < MS * 20);
    }

    #[test]
    fn it_burns_until_the_end_and_no_longer() {
        let (mut now, mut looks) = (Duration::ZERO, 0);
        burn(MS * 10, || {
            (now, looks) = (now + MS, looks + 1);
            now
        });
        assert_eq!((now, looks), (MS * 10, 10));
        burn(MS * 10, || MS * 11);
    }
}
