//! Metrics of the shared state.

use std::{sync::atomic::AtomicU64, time::Duration};

use prometheus_client::{
    metrics::{
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};

/// Locks, and how current they are. All zero without `[state]`.
#[derive(Debug)]
pub(crate) struct StateMetrics {
    locks: Gauge,
    unreadable: Gauge,
    delay: Histogram,
    age: Gauge<f64, AtomicU64>,
}

impl Default for StateMetrics {
    fn default() -> Self {
        Self {
            locks: Gauge::default(),
            unreadable: Gauge::default(),
            // From 1 ms to 33 s.
            delay: Histogram::new(exponential_buckets(0.001, 2.0, 16)),
            age: Gauge::default(),
        }
    }
}

impl StateMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("locks", "Stored locks that have not ended", self.locks.clone());
        registry.register(
            "locks_unreadable",
            "Stored locks that this version does not understand",
            self.unreadable.clone(),
        );
        registry.register_with_unit(
            "lock_delay",
            "Time from a lock's storage to its being in force on this replica",
            Unit::Seconds,
            self.delay.clone(),
        );
        registry.register_with_unit(
            "state_age",
            "Time since the last proof that the shared state is current",
            Unit::Seconds,
            self.age.clone(),
        );
    }

    /// Sets the numbers of locks, and the time since the last proof of freshness.
    pub(crate) fn set(&self, locks: usize, unreadable: usize, age: Duration) {
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.locks.set(number(locks));
        self.unreadable.set(number(unreadable));
        self.age.set(age.as_secs_f64());
    }

    /// Counts a lock that took this long to be in force.
    pub(crate) fn lock_delayed(&self, delay: Duration) {
        self.delay.observe(delay.as_secs_f64());
    }
}
