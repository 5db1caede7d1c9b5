//! The outcomes of a run, as JSON for the page and as text for the terminal.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How clients fared in one phase.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Admitted.
    pub admitted: usize,
    /// Refused by an answer.
    pub refused: usize,
    /// Refused by nats-server when it stopped waiting for an answer.
    pub unanswered: usize,
    /// Not connected, or disconnected.
    pub no_server: usize,
    /// The slowest admission, in milliseconds.
    pub slowest_admission_ms: u64,
    /// The slowest failed attempt, in milliseconds.
    pub slowest_failure_ms: u64,
}

/// What was observed during a fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observations {
    /// Valid clients, while the fault lasted.
    pub during: Counts,
    /// Attempts of invalid clients, from before the fault until after it.
    pub wrong_tried: usize,
    /// How many of them were admitted: always zero, or the fault has failed.
    pub wrong_admitted: usize,
    /// Warnings and errors of the service's log.
    pub log: Vec<String>,
    /// Metrics that changed.
    pub metrics: Vec<String>,
    /// Whether the fault was repaired. If not, the service recovered in spite of it.
    pub mended: bool,
    /// In milliseconds: from the repair to the first admission or, without a repair, from the fault to the
    /// last failure. Absent if no valid client failed.
    pub recovery_ms: Option<u64>,
    /// Other observations, as sentences.
    pub notes: Vec<String>,
}

/// The outcome of one fault.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "lowercase")]
pub enum Outcome {
    /// No invalid client was admitted, and the service recovered without human action.
    Held(Observations),
    /// A promise was broken.
    Failed {
        /// Which, and how.
        reason: String,
    },
    /// This machine cannot play it.
    #[serde(rename = "not run")]
    NotRun {
        /// Why.
        reason: String,
    },
}

/// One fault and its outcome.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Row {
    /// The family of the fault.
    pub family: String,
    /// The fault.
    pub fault: String,
    /// How it is played.
    pub how: String,
    /// Its outcome.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// A measurement of a frozen or killed replica.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Measurement {
    /// What happened to which replica.
    pub case: String,
    /// `ping_interval` and `ping_max` of nats-server.
    pub pings: String,
    /// Attempts between the fault and the last failure.
    pub tried: usize,
    /// How many of these failed.
    pub failed: usize,
    /// From the fault to the end of the last failure, in milliseconds.
    pub lasted_ms: u64,
    /// What ended the failures.
    pub ended_by: String,
}

/// The report of a run.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Report {
    /// The server's version.
    pub server: String,
    /// One row for each fault.
    pub faults: Vec<Row>,
    /// Measurements of replicas.
    pub replicas: Vec<Measurement>,
}

/// Whole milliseconds.
pub fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl Report {
    /// Rows that failed.
    pub fn failures(&self) -> impl Iterator<Item = &Row> {
        self.faults.iter().filter(|row| matches!(row.outcome, Outcome::Failed { .. }))
    }

    /// The report as JSON.
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).expect("strings and numbers serialize") + "\n"
    }
}

impl std::fmt::Display for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} · {}: ", self.family, self.fault)?;
        match &self.outcome {
            Outcome::Held(seen) => match seen.recovery_ms {
                Some(ms) => write!(f, "held, recovered after {ms} ms ({:?})", seen.during),
                None => write!(f, "held, no client had to wait ({:?})", seen.during),
            },
            Outcome::Failed { reason } => write!(f, "FAILED: {reason}"),
            Outcome::NotRun { reason } => write!(f, "NOT RUN: {reason}"),
        }
    }
}
