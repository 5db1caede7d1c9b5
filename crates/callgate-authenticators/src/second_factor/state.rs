//! Which codes were used, and how many wrong ones there were.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::totp::Period;

/// Within which wrong codes are counted, and for how long codes are then refused.
const ATTEMPT_WINDOW: Duration = Duration::from_secs(5 * 60);
/// States are swept when there are this many more than after the last sweep.
const SWEEP_AFTER: usize = 1024;

/// What is known about the codes of each user, by the user's name in the directory.
///
/// It survives a reload of the configuration. Only users whose password proved correct have an entry, so
/// clients without a correct password cannot fill it.
#[derive(Debug, Default)]
pub(super) struct CodeState(Mutex<Users>);

#[derive(Debug, Default)]
struct Users {
    users: HashMap<String, UserState>,
    kept_by_last_sweep: usize,
}

#[derive(Debug, Default)]
struct UserState {
    /// The last period whose code was used, and until when that matters.
    used: Option<(Period, Instant)>,
    /// The times of wrong codes.
    wrong: Vec<Instant>,
    blocked_until: Option<Instant>,
    /// Digests of accepted pairs from one source each, and until when they count again.
    remembered: Vec<([u8; 32], Instant)>,
}

/// Why a code does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CodeError {
    UsedAlready,
    TooManyWrong,
}

impl CodeState {
    fn lock(&self) -> MutexGuard<'_, Users> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether codes of this user are refused because of wrong ones.
    pub(super) fn check_attempts(&self, user: &str, now: Instant) -> Result<(), CodeError> {
        let blocked = self.lock().users.get(user).and_then(|state| state.blocked_until);
        match blocked.is_some_and(|until| now < until) {
            true => Err(CodeError::TooManyWrong),
            false => Ok(()),
        }
    }

    /// Counts a wrong code.
    pub(super) fn count_wrong(&self, user: &str, max: usize, now: Instant) {
        let mut users = self.lock();
        let state = users.of(user, now);
        state.wrong.retain(|time| now.duration_since(*time) < ATTEMPT_WINDOW);
        state.wrong.push(now);
        if state.wrong.len() >= max {
            state.wrong.clear();
            state.blocked_until = Some(now + ATTEMPT_WINDOW);
        }
    }

    /// Marks the code of a period as used. That of an earlier period counts as used, too.
    pub(super) fn use_period(
        &self,
        user: &str,
        period: Period,
        valid_for: Duration,
        now: Instant,
    ) -> Result<(), CodeError> {
        let mut users = self.lock();
        let state = users.of(user, now);
        match state.used {
            Some((used, _)) if used >= period => Err(CodeError::UsedAlready),
            Some(_) | None => {
                state.used = Some((period, now + valid_for));
                Ok(())
            }
        }
    }

    /// Whether this pair was accepted recently.
    pub(super) fn remembers(&self, user: &str, digest: &[u8; 32], now: Instant) -> bool {
        let users = self.lock();
        let remembered = users.users.get(user).map(|state| state.remembered.as_slice());
        remembered.unwrap_or_default().iter().any(|(known, until)| known == digest && now < *until)
    }

    /// Lets this pair count again until `until`.
    pub(super) fn remember(&self, user: &str, digest: [u8; 32], until: Instant, now: Instant) {
        let mut users = self.lock();
        let remembered = &mut users.of(user, now).remembered;
        remembered.retain(|(_, until)| now < *until);
        remembered.push((digest, until));
    }
}

impl Users {
    fn of(&mut self, user: &str, now: Instant) -> &mut UserState {
        if self.users.len() > self.kept_by_last_sweep + SWEEP_AFTER {
            self.users.retain(|_, state| state.matters(now));
            self.kept_by_last_sweep = self.users.len();
        }
        self.users.entry(user.to_owned()).or_default()
    }
}

impl UserState {
    fn matters(&self, now: Instant) -> bool {
        self.used.is_some_and(|(_, until)| now < until)
            || self.blocked_until.is_some_and(|until| now < until)
            || self.wrong.iter().any(|time| now.duration_since(*time) < ATTEMPT_WINDOW)
            || self.remembered.iter().any(|(_, until)| now < *until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn period_counts_once_and_earlier_ones_not_at_all() {
        let (state, now) = (CodeState::default(), Instant::now());
        assert_eq!(state.use_period("a", 7, MINUTE, now), Ok(()));
        for used in [7, 6] {
            assert_eq!(state.use_period("a", used, MINUTE, now), Err(CodeError::UsedAlready));
        }
        assert_eq!(state.use_period("a", 8, MINUTE, now), Ok(()));
        assert_eq!(state.use_period("b", 7, MINUTE, now), Ok(()));
    }

    #[test]
    fn wrong_codes_block_a_user_for_five_minutes() {
        let (state, start) = (CodeState::default(), Instant::now());
        for _ in 0..4 {
            state.count_wrong("a", 5, start);
        }
        assert_eq!(state.check_attempts("a", start), Ok(()));
        // Old ones do not count any more.
        state.count_wrong("a", 5, start + 5 * MINUTE);
        assert_eq!(state.check_attempts("a", start + 5 * MINUTE), Ok(()));
        for _ in 0..4 {
            state.count_wrong("a", 5, start + 6 * MINUTE);
        }
        let blocked = Err(CodeError::TooManyWrong);
        assert_eq!(state.check_attempts("a", start + 6 * MINUTE), blocked);
        assert_eq!(state.check_attempts("a", start + 10 * MINUTE), blocked);
        assert_eq!(state.check_attempts("a", start + 11 * MINUTE), Ok(()));
        assert_eq!(state.check_attempts("b", start + 6 * MINUTE), Ok(()));
    }

    #[test]
    fn states_that_no_longer_matter_are_removed() {
        let (state, now) = (CodeState::default(), Instant::now());
        for user in 0..3 * SWEEP_AFTER {
            let now = now + Duration::from_secs(user as u64);
            assert!(state.use_period(&user.to_string(), 1, MINUTE, now).is_ok());
        }
        assert!(state.lock().users.len() <= 2 * SWEEP_AFTER + 60);
    }
}
