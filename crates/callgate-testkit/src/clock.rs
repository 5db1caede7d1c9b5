//! A wall clock that stands still until a test moves it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use callgate::clock::UnixTime;

/// The time of day that a test tells whatever takes time as an argument; clones are the same clock.
///
/// Deadlines and delays follow tokio's clock instead, which `#[tokio::test(start_paused = true)]`
/// stops: wall clocks are stepped, that one is not.
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
    /// A clock that shows this moment, in seconds since 1970.
    pub fn at(seconds: i64) -> Self {
        Self(Arc::new(AtomicI64::new(seconds)))
    }

    /// What it shows.
    pub fn now(&self) -> UnixTime {
        UnixTime::from_seconds(self.0.load(Ordering::SeqCst))
    }

    /// Sets it, forwards or back.
    pub fn set(&self, seconds: i64) {
        self.0.store(seconds, Ordering::SeqCst);
    }

    /// Moves it forwards by whole seconds, to the end of time at most.
    pub fn advance(&self, by: Duration) {
        self.set(self.now().plus(by).seconds());
    }
}
