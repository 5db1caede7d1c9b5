//! Recognizes requests that were received before.

use std::{
    collections::{BTreeMap, HashSet},
    hash::{BuildHasher, RandomState},
    sync::{Mutex, PoisonError},
};

use crate::{
    clock::UnixTime,
    reason::{Denial, Reason},
};

/// At most; one takes about 30 bytes. This covers 8,000 requests per second for 32 seconds, the time
/// for which a request is valid with nats-server's default timeout.
const MAX_REQUESTS: usize = 1 << 18;

/// The requests that were received and are still valid.
///
/// If there are too many, it forgets the oldest, and requests that are as old as those are no longer
/// accepted: nothing can be repeated, however many requests arrive. A new request is at most a few
/// seconds old, so that this affects only servers whose clocks are late.
#[derive(Debug)]
pub(crate) struct SeenRequests {
    hasher: RandomState,
    inner: Mutex<Inner>,
    max: usize,
}

/// What identifies a request: a keyed hash of its signature, which covers its id and all its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct RequestKey(u64);

/// When a request was issued, and until when it is valid, by our clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Validity {
    pub(crate) issued: UnixTime,
    pub(crate) until: UnixTime,
}

#[derive(Debug, Default)]
struct Inner {
    keys: HashSet<RequestKey>,
    /// The same by the second in which they were issued.
    by_issue: BTreeMap<UnixTime, Issued>,
    /// Requests issued then or before were forgotten before they became invalid.
    forgotten: Option<UnixTime>,
    cleaned: Option<UnixTime>,
}

#[derive(Debug)]
struct Issued {
    keys: Vec<RequestKey>,
    /// When the last of them becomes invalid.
    until: UnixTime,
}

impl Default for SeenRequests {
    fn default() -> Self {
        Self { hasher: RandomState::new(), inner: Mutex::default(), max: MAX_REQUESTS }
    }
}

impl SeenRequests {
    /// The key of a request with this signature.
    pub(crate) fn key(&self, signature: &[u8]) -> RequestKey {
        RequestKey(self.hasher.hash_one(signature))
    }

    /// Remembers a verified request until it becomes invalid.
    ///
    /// # Errors
    /// `bad_request` if it was received before; `stale_request` if that is no longer known.
    pub(crate) fn insert(
        &self,
        key: RequestKey,
        validity: Validity,
        now: UnixTime,
    ) -> Result<(), Denial> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.remove_invalid(now);
        if inner.keys.contains(&key) {
            return Err(Denial::new(
                Reason::BadRequest,
                "this request was received before: either it is a replay, or the request subject is \
                 delivered twice (check imports and mappings of the callout account)",
            ));
        }
        if inner.forgotten.is_some_and(|forgotten| validity.issued <= forgotten) {
            return Err(Denial::new(
                Reason::StaleRequest,
                "too many requests arrive to tell whether this old one is a replay: \
                 check the server's clock and who publishes in the callout account",
            ));
        }
        inner.insert(key, validity);
        while inner.keys.len() > self.max {
            inner.forget_oldest();
        }
        Ok(())
    }

    pub(crate) fn clear(&self) {
        *self.inner.lock().unwrap_or_else(PoisonError::into_inner) = Inner::default();
    }
}

impl Inner {
    fn insert(&mut self, key: RequestKey, Validity { issued, until }: Validity) {
        self.keys.insert(key);
        let new = || Issued { keys: Vec::new(), until };
        let entry = self.by_issue.entry(issued).or_insert_with(new);
        entry.keys.push(key);
        entry.until = entry.until.max(until);
    }

    /// Once a second.
    fn remove_invalid(&mut self, now: UnixTime) {
        if self.cleaned.replace(now) == Some(now) {
            return;
        }
        let Self { keys, by_issue, .. } = self;
        by_issue.retain(|_, issued| {
            let valid = now <= issued.until;
            if !valid {
                issued.keys.iter().for_each(|key| {
                    keys.remove(key);
                });
            }
            valid
        });
        if keys.is_empty() {
            keys.shrink_to(1024);
        }
    }

    fn forget_oldest(&mut self) {
        let Some((second, issued)) = self.by_issue.pop_first() else { return };
        for key in issued.keys {
            self.keys.remove(&key);
        }
        self.forgotten = self.forgotten.max(Some(second));
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::keys::{KeyKind, KeyPair, PublicKey, role};

    fn at(seconds: i64) -> UnixTime {
        UnixTime::from_seconds(seconds)
    }

    fn insert(seen: &SeenRequests, id: &str, issued: i64, now: i64) -> Result<(), Reason> {
        let until = at(issued).plus(Duration::from_secs(32));
        let validity = Validity { issued: at(issued), until };
        let inserted = seen.insert(seen.key(id.as_bytes()), validity, at(now));
        inserted.map_err(|denial| denial.reason)
    }

    #[test]
    fn request_is_accepted_once_while_it_is_valid() {
        let seen = SeenRequests::default();
        assert_eq!(insert(&seen, "a", 100, 100), Ok(()));
        assert_eq!(insert(&seen, "b", 100, 100), Ok(()));
        for now in 100..=132 {
            assert_eq!(insert(&seen, "a", 100, now), Err(Reason::BadRequest), "{now}");
        }
        // From then on its times are refused before this check.
        assert_eq!(insert(&seen, "c", 133, 133), Ok(()));
        assert_eq!(seen.inner.lock().unwrap().keys.len(), 1);
        assert_eq!(seen.inner.lock().unwrap().by_issue.len(), 1);
    }

    #[test]
    fn full_set_refuses_old_requests_and_never_a_replay() {
        let seen = SeenRequests { max: 100, ..SeenRequests::default() };
        for number in 0..1000 {
            assert_eq!(insert(&seen, &number.to_string(), 100 + number / 20, 150), Ok(()));
        }
        assert!(seen.inner.lock().unwrap().keys.len() <= 100);
        for number in 0..1000 {
            let issued = 100 + number / 20;
            let again = insert(&seen, &number.to_string(), issued, 150);
            assert!(again.is_err(), "{number}");
        }
        // A server whose clock is four seconds late is not affected, one that is ten seconds late is.
        assert_eq!(insert(&seen, "fresh", 146, 150), Ok(()));
        assert_eq!(insert(&seen, "late", 140, 150), Err(Reason::StaleRequest));
    }

    #[test]
    fn one_second_with_too_many_requests_still_refuses_replays() {
        let seen = SeenRequests { max: 10, ..SeenRequests::default() };
        for number in 0..11 {
            assert_eq!(insert(&seen, &number.to_string(), 100, 100), Ok(()));
        }
        assert_eq!(insert(&seen, "10", 100, 100), Err(Reason::StaleRequest));
        assert_eq!(insert(&seen, "other", 100, 100), Err(Reason::StaleRequest));
        assert_eq!(insert(&seen, "next", 101, 101), Ok(()));
    }

    /// The cryptography that no decision can do without: one verification and two signatures.
    #[test]
    fn remembering_costs_less_than_a_tenth_of_a_decision() {
        const REQUESTS: u32 = 2000;
        const DECISIONS: u32 = 100;
        let pair = KeyPair::generate(KeyKind::Account).unwrap();
        let key = pair.public_key().parse::<PublicKey<role::AccountRole>>().unwrap();
        let key = key.verifying().unwrap();
        let signature = pair.sign(b"request").unwrap();
        let seen = SeenRequests::default();
        let mut number = 0;
        let mut remember = || {
            for _ in 0..REQUESTS {
                number += 1;
                assert_eq!(insert(&seen, &number.to_string(), 100, 100), Ok(()));
            }
        };
        let decide = || {
            for _ in 0..DECISIONS {
                assert!(key.verifies(b"request", &signature));
                assert!(pair.sign(b"user").is_ok() && pair.sign(b"answer").is_ok());
            }
        };
        // The least of several measurements, so that other work on the machine does not count.
        let least = |mut work: Box<dyn FnMut() + '_>| {
            let once = |_| {
                let began = Instant::now();
                work();
                began.elapsed()
            };
            (0..10).map(once).min().unwrap()
        };
        let remembering = least(Box::new(&mut remember)) / REQUESTS;
        let deciding = least(Box::new(decide)) / DECISIONS;
        assert!(remembering * 10 < deciding, "{remembering:?} of {deciding:?}");
    }
}
