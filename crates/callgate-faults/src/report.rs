//! What came of a run, as JSON for the page and as text for the terminal.

use serde::Serialize;

/// What was seen of clients in one phase.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Came in.
    pub admitted: usize,
    /// Refused by an answer.
    pub refused: usize,
    /// Refused when the server had waited long enough.
    pub unanswered: usize,
    /// Found no server, or lost it.
    pub no_server: usize,
    /// The longest attempt that ended in an admission, in milliseconds.
    pub slowest_admission_ms: u128,
    /// The longest attempt that did not.
    pub slowest_failure_ms: u128,
}

/// What a fault showed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Seen {
    /// Clients that may come in, while the fault lasted.
    pub during: Counts,
    /// Clients that must not: how many tried, from before the fault until after it.
    pub wrong_tried: usize,
    /// Of those; always zero, or the fault has failed.
    pub wrong_admitted: usize,
    /// Warnings and errors of the service's log.
    pub log: Vec<String>,
    /// Metrics that moved.
    pub metrics: Vec<String>,
    /// Whether what broke was mended. If not, the service got over it.
    pub mended: bool,
    /// In milliseconds, from the end of a fault that was mended to the first admission, or from the
    /// beginning of one that was not to the last failure; absent if nobody failed.
    pub recovery_ms: Option<u128>,
    /// What else is worth saying, in words.
    pub notes: Vec<String>,
}

/// What came of one fault.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "outcome", rename_all = "lowercase")]
pub enum Outcome {
    /// Nobody came in who must not, and all was well again without anybody's action.
    Held(Seen),
    /// Not so.
    Failed {
        /// What.
        reason: String,
    },
    /// This machine cannot play it.
    #[serde(rename = "not run")]
    NotRun {
        /// Why.
        reason: String,
    },
}

/// A line of the table.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// What it is about.
    pub family: &'static str,
    /// The fault.
    pub fault: &'static str,
    /// How it is played.
    pub how: &'static str,
    /// What came of it.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// A line of the table about frozen and killed replicas.
#[derive(Debug, Clone, Serialize)]
pub struct Measured {
    /// What happened to which replica.
    pub case: String,
    /// `ping_interval` and `ping_max` of nats-server.
    pub pings: String,
    /// Attempts between the fault and the last failure.
    pub tried: usize,
    /// Of these, how many failed.
    pub failed: usize,
    /// From the fault to the end of the last failure, in milliseconds.
    pub lasted_ms: u128,
    /// What ended it.
    pub ended_by: String,
}

/// A run.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// The server's version.
    pub server: String,
    /// One for each fault.
    pub faults: Vec<Row>,
    /// Replicas, measured.
    pub replicas: Vec<Measured>,
}

impl Report {
    /// Rows that failed.
    pub fn failures(&self) -> impl Iterator<Item = &Row> {
        self.faults.iter().filter(|row| matches!(row.outcome, Outcome::Failed { .. }))
    }

    /// All of it.
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).expect("texts and numbers") + "\n"
    }
}

impl std::fmt::Display for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} · {}: ", self.family, self.fault)?;
        match &self.outcome {
            Outcome::Held(seen) => match seen.recovery_ms {
                Some(ms) => write!(f, "held, well again after {ms} ms ({:?})", seen.during),
                None => write!(f, "held, nobody had to wait ({:?})", seen.during),
            },
            Outcome::Failed { reason } => write!(f, "FAILED: {reason}"),
            Outcome::NotRun { reason } => write!(f, "NOT RUN: {reason}"),
        }
    }
}
