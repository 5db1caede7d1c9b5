//! Decides when files that differ from what is in memory are loaded again.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::Fingerprint;

/// Files with their fingerprints from before they were read.
pub type Fingerprints = BTreeMap<PathBuf, Fingerprint>;

/// Files that keep changing are loaded after this time, settled or not.
const MAX_SETTLE_TIME: Duration = Duration::from_secs(1);
/// The pause after the first failed attempt; doubled after each further one.
const FIRST_RETRY: Duration = Duration::from_millis(500);
const MAX_RETRY: Duration = Duration::from_secs(5);
/// A pause is at least this many times longer than the failed attempt, so that retries use at most
/// 5 % of a core.
const MIN_PAUSE_PER_ATTEMPT: u32 = 20;

/// Why files are loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// They changed since the last attempt.
    Changed,
    /// The last attempt failed.
    Retry,
}

/// Compares files on disk with the ones in force, and says when to load them.
///
/// Files count as in force only after [`Reconciler::in_force`]. A failed attempt is repeated with
/// back-off, whatever its reason, until the files are in force.
#[derive(Debug)]
pub struct Reconciler {
    in_force: Fingerprints,
    /// The files of the last attempt. A change since then causes the next attempt.
    attempted: Fingerprints,
    retry: Option<Retry>,
    changing: Option<Changing>,
}

#[derive(Debug)]
struct Retry {
    at: Instant,
    failures: u32,
}

#[derive(Debug)]
struct Changing {
    since: Instant,
    last: Fingerprints,
}

impl Reconciler {
    /// Starts with these files in force.
    pub fn new(in_force: Fingerprints) -> Self {
        Self { attempted: in_force.clone(), in_force, retry: None, changing: None }
    }

    /// Why to load the files now, if they should be: they changed and then stayed the same since the last call, they
    /// have been changing for a second, or the last attempt failed and its pause is over.
    pub fn due(&mut self, now: Instant, fingerprint: impl Fn(&Path) -> Fingerprint) -> Option<Due> {
        let current: Fingerprints =
            self.attempted.keys().map(|path| (path.clone(), fingerprint(path))).collect();
        if current == self.attempted {
            self.changing = None;
            return self.retry.as_ref().filter(|retry| now >= retry.at).map(|_| Due::Retry);
        }
        match &mut self.changing {
            Some(changing)
                if changing.last == current
                    || now.duration_since(changing.since) >= MAX_SETTLE_TIME =>
            {
                self.changing = None;
                Some(Due::Changed)
            }
            Some(changing) => {
                changing.last = current;
                None
            }
            None => {
                self.changing = Some(Changing { since: now, last: current });
                None
            }
        }
    }

    /// The files were loaded, but are not in force yet.
    pub fn loaded(&mut self, files: Fingerprints) {
        self.attempted = files;
        self.retry = None;
    }

    /// The files are in force.
    pub fn in_force(&mut self, files: Fingerprints) {
        self.in_force = files.clone();
        self.loaded(files);
    }

    /// The files could not be used, after an attempt of this duration.
    pub fn failed(&mut self, files: Fingerprints, now: Instant, took: Duration) {
        let before = self.retry.take().filter(|_| files == self.attempted);
        let failures = before.map_or(0, |retry| retry.failures) + 1;
        let pause = FIRST_RETRY.saturating_mul(1 << (failures - 1).min(8)).min(MAX_RETRY);
        let at = now + pause.max(took * MIN_PAUSE_PER_ATTEMPT);
        self.attempted = files;
        self.retry = Some(Retry { at, failures });
    }

    /// The files of the last attempt.
    pub fn attempted(&self) -> &Fingerprints {
        &self.attempted
    }

    /// Each file in force, and whether it is still the same on disk.
    pub fn in_sync(
        &self,
        fingerprint: impl Fn(&Path) -> Fingerprint,
    ) -> impl Iterator<Item = (&Path, bool)> {
        self.in_force.iter().map(move |(path, used)| (path.as_path(), fingerprint(path) == *used))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of this size, which stands for its content.
    fn fingerprint(size: u64) -> Fingerprint {
        Fingerprint(Some(super::super::Attributes { modified: None, size, inode: (1, 1, (1, 1)) }))
    }

    fn file(size: u64) -> Fingerprints {
        Fingerprints::from([("a".into(), fingerprint(size))])
    }

    struct Poll {
        reconciler: Reconciler,
        start: Instant,
    }

    impl Poll {
        fn new() -> Self {
            Self { reconciler: Reconciler::new(file(1)), start: Instant::now() }
        }

        fn at(&self, millis: u64) -> Instant {
            self.start + Duration::from_millis(millis)
        }

        fn is_due(&mut self, millis: u64, size: u64) -> bool {
            self.reconciler.due(self.at(millis), |_| fingerprint(size)).is_some()
        }

        fn fails(&mut self, millis: u64, size: u64) {
            self.reconciler.failed(file(size), self.at(millis), Duration::ZERO);
        }

        fn is_in_sync(&self, size: u64) -> bool {
            self.reconciler.in_sync(|_| fingerprint(size)).all(|(_, same)| same)
        }
    }

    #[test]
    fn change_is_loaded_after_it_settles() {
        let mut poll = Poll::new();
        for (millis, size, expected) in
            [(0, 1, false), (300, 2, false), (600, 3, false), (900, 3, true)]
        {
            assert_eq!(poll.is_due(millis, size), expected, "{millis}");
        }
        assert!(!poll.is_in_sync(3), "not used yet");
        poll.reconciler.in_force(file(3));
        assert!(poll.is_in_sync(3));
        assert!(!poll.is_due(1200, 3));
    }

    #[test]
    fn failed_attempt_is_repeated_until_the_file_is_in_force() {
        let mut poll = Poll::new();
        poll.fails(0, 2);
        let mut attempts = Vec::new();
        for millis in (0..20_000).step_by(250) {
            if poll.is_due(millis, 2) {
                attempts.push(millis);
                poll.fails(millis, 2);
            }
            assert!(!poll.is_in_sync(2));
        }
        assert_eq!(attempts, [500, 1500, 3500, 7500, 12_500, 17_500]);
        poll.reconciler.in_force(file(2));
        assert!(poll.is_in_sync(2) && !poll.is_due(60_000, 2));
    }

    #[test]
    fn change_after_a_failure_does_not_wait_for_the_retry() {
        let mut poll = Poll::new();
        for _ in 0..10 {
            poll.fails(0, 2);
        }
        assert!(!poll.is_due(300, 3));
        assert!(poll.is_due(600, 3));
        poll.fails(600, 3);
        assert!(!poll.is_due(1050, 3));
        assert!(poll.is_due(1100, 3), "the back-off starts again");
    }

    #[test]
    fn restored_file_is_loaded_again_after_a_failure() {
        let mut poll = Poll::new();
        poll.fails(0, 2);
        assert!(!poll.is_due(100, 1));
        assert!(poll.is_due(400, 1));
    }

    #[test]
    fn continually_changing_file_is_loaded_within_two_seconds() {
        let mut poll = Poll::new();
        let mut last = 0;
        for millis in (0..30_000).step_by(300) {
            if poll.is_due(millis, 10 + millis) {
                assert!(millis - last <= 2000, "{last} {millis}");
                last = millis;
                poll.reconciler.in_force(file(10 + millis));
            }
        }
        assert!(last > 27_000);
    }

    #[test]
    fn expensive_attempts_are_repeated_rarely() {
        let mut poll = Poll::new();
        poll.reconciler.failed(file(2), poll.start, Duration::from_secs(3));
        assert!(!poll.is_due(59_000, 2));
        assert!(poll.is_due(60_000, 2));
    }

    #[test]
    fn loaded_files_are_in_force_only_when_applied() {
        let mut poll = Poll::new();
        poll.reconciler.loaded(file(2));
        assert!(!poll.is_due(60_000, 2));
        assert!(!poll.is_in_sync(2));
        poll.reconciler.in_force(file(2));
        assert!(poll.is_in_sync(2));
    }
}
