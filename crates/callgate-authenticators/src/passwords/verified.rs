//! Remembers correct passwords for a short time.

use std::time::{Duration, Instant};

use quick_cache::sync::Cache;

use super::clear::digest;

/// Each takes about 100 bytes.
const MAX_ENTRIES: usize = 100_000;

/// A keyed digest of authenticator, version of the entry, user and password.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct VerifiedKey([u8; 32]);

impl VerifiedKey {
    /// The key for one user and password in one version of the entry.
    pub fn new(authenticator: &str, version: u64, user: &str, password: &str) -> Self {
        Self(digest(&[
            authenticator.as_bytes(),
            &version.to_le_bytes(),
            user.as_bytes(),
            password.as_bytes(),
        ]))
    }
}

impl std::fmt::Debug for VerifiedKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("VerifiedKey([redacted])")
    }
}

/// Verified passwords. Using one does not extend its time; wrong passwords are never remembered.
/// The number of entries is bounded.
#[derive(Debug)]
pub struct Verified {
    entries: Cache<VerifiedKey, Instant>,
}

impl Default for Verified {
    fn default() -> Self {
        Self { entries: Cache::new(MAX_ENTRIES) }
    }
}

impl Verified {
    /// True if this was verified recently and its time is not over at `now`.
    pub fn holds(&self, key: &VerifiedKey, now: Instant) -> bool {
        match self.entries.get(key) {
            Some(end) if now < end => true,
            Some(_) => {
                // Another thread may have verified it again in the meantime.
                self.entries.remove_if(key, |end| *end <= now);
                false
            }
            None => false,
        }
    }

    /// Remembers it for `duration`, unless that is zero.
    pub fn remember(&self, key: VerifiedKey, now: Instant, duration: Duration) {
        if !duration.is_zero() {
            self.entries.insert(key, now + duration);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn using_a_verification_does_not_extend_it() {
        let (verified, now) = (Verified::default(), Instant::now());
        let key = VerifiedKey::new("staff", 1, "alice", "hunter2");
        verified.remember(key, now, MINUTE);
        for seconds in 0..60 {
            assert!(verified.holds(&key, now + Duration::from_secs(seconds)));
        }
        assert!(!verified.holds(&key, now + MINUTE));
    }

    #[test]
    fn every_part_of_the_key_counts() {
        let (verified, now) = (Verified::default(), Instant::now());
        verified.remember(VerifiedKey::new("staff", 1, "alice", "hunter2"), now, MINUTE);
        for other in [
            VerifiedKey::new("other", 1, "alice", "hunter2"),
            VerifiedKey::new("staff", 2, "alice", "hunter2"),
            VerifiedKey::new("staff", 1, "bob", "hunter2"),
            VerifiedKey::new("staff", 1, "alice", "hunter3"),
            VerifiedKey::new("staff", 1, "alicehunter2", ""),
        ] {
            assert!(!verified.holds(&other, now));
        }
    }

    #[test]
    fn many_logins_do_not_fill_the_memory() {
        let (verified, now) = (Verified::default(), Instant::now());
        for number in 0..MAX_ENTRIES as u64 + 10_000 {
            verified.remember(VerifiedKey::new("staff", number, "a", "p"), now, MINUTE);
        }
        assert!(verified.entries.len() <= MAX_ENTRIES, "{}", verified.entries.len());
    }

    #[test]
    fn duration_of_zero_remembers_nothing() {
        let (verified, now) = (Verified::default(), Instant::now());
        let key = VerifiedKey::new("staff", 1, "alice", "hunter2");
        verified.remember(key, now, Duration::ZERO);
        assert!(!verified.holds(&key, now));
    }
}
