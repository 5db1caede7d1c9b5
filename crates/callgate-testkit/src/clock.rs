//! A wall clock that only a test moves.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use callgate::clock::UnixTime;

/// A wall clock for code that takes the time as an argument. Clones share the same clock.
///
/// Deadlines and delays use tokio's clock instead, which `#[tokio::test(start_paused = true)]` pauses.
///
/// ```
/// use std::time::Duration;
///
/// use callgate_testkit::{ManualClock, Nkey, RequestBuilder};
///
/// let clock = ManualClock::at(1_700_000_000);
/// let request = RequestBuilder::new(&Nkey::account().public(), clock.now().seconds()).build();
/// clock.advance(Duration::from_secs(3600));
/// assert_eq!(clock.now().seconds() - request.claims["iat"].as_i64().unwrap(), 3600);
/// ```
#[derive(Debug, Clone)]
pub struct ManualClock(Arc<AtomicI64>);

impl ManualClock {
    /// A clock at this time, in seconds since 1970.
    pub fn at(seconds: i64) -> Self {
        Self(Arc::new(AtomicI64::new(seconds)))
    }

    /// The current time.
    pub fn now(&self) -> UnixTime {
        UnixTime::from_seconds(self.0.load(Ordering::SeqCst))
    }

    /// Sets the time, forwards or backwards.
    pub fn set(&self, seconds: i64) {
        self.0.store(seconds, Ordering::SeqCst);
    }

    /// Advances the time by whole seconds, saturating.
    pub fn advance(&self, by: Duration) {
        self.set(self.now().plus(by).seconds());
    }
}
