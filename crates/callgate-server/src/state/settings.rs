//! `[state]`, checked.

use std::time::Duration;

/// `[state]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StateSettings {
    /// The name of the bucket.
    pub(crate) bucket: String,
    /// Whether a missing bucket is created.
    pub(crate) create: bool,
    /// Of a bucket that is created.
    pub(crate) replicas: usize,
    /// Whether the replica waits for the locks before it answers requests.
    pub(crate) required: bool,
    pub(crate) mode: StateMode,
    /// How long a replica may go without proof before it is no longer fresh.
    pub(crate) max_stale: Duration,
}

/// What a replica does when it is not fresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StateMode {
    /// It continues with the locks that it knows.
    BestEffort,
    /// It refuses every login.
    Strict,
}

impl StateSettings {
    /// How often a replica proves that it is fresh.
    pub(crate) fn pulse(&self) -> Duration {
        self.max_stale / 4
    }
}
