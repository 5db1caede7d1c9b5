//! The outcomes of a run, as JSON and as text.

use serde::{Deserialize, Serialize};

/// The outcome of one cell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "lowercase")]
pub enum Outcome {
    /// Every check passed.
    Passed {
        /// The checks, as sentences.
        checks: Vec<String>,
    },
    /// The server line does not support it.
    Absent {
        /// Why.
        reason: String,
    },
    /// A check failed.
    Failed {
        /// Which, and how.
        reason: String,
    },
    /// This machine lacks something.
    #[serde(rename = "not run")]
    NotRun {
        /// What is missing.
        reason: String,
    },
}

impl Outcome {
    /// Every one of these checks passed.
    pub fn passed(checks: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self::Passed { checks: checks.into_iter().map(Into::into).collect() }
    }

    /// The server line does not support it.
    pub fn absent(reason: impl Into<String>) -> Self {
        Self::Absent { reason: reason.into() }
    }
}

/// A connection type or a scenario, in one environment at one server line.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Cell {
    /// The environment.
    pub environment: String,
    /// The connection type or the scenario.
    pub row: String,
    /// The server's version.
    pub server: String,
    /// Its outcome.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// All cells of a run.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Report {
    /// Connection types.
    pub connections: Vec<Cell>,
    /// Scenarios.
    pub scenarios: Vec<Cell>,
}

impl Report {
    /// Cells that failed.
    pub fn failures(&self) -> Vec<&Cell> {
        self.cells().filter(|cell| matches!(cell.outcome, Outcome::Failed { .. })).collect()
    }

    /// The report as JSON, with one line per cell so that two runs are easy to compare.
    pub fn json(&self) -> String {
        let list = |cells: &[Cell]| {
            let lines =
                cells.iter().map(|cell| serde_json::to_string(cell).expect("strings serialize"));
            lines.collect::<Vec<_>>().join(",\n")
        };
        format!(
            "{{\n\"connections\": [\n{}\n],\n\"scenarios\": [\n{}\n]\n}}\n",
            list(&self.connections),
            list(&self.scenarios)
        )
    }

    /// All cells.
    pub fn cells(&self) -> impl Iterator<Item = &Cell> {
        self.connections.iter().chain(&self.scenarios)
    }
}

impl std::fmt::Display for Cell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} · {} · {}: ", self.server, self.environment, self.row)?;
        match &self.outcome {
            Outcome::Passed { checks } => write!(f, "passed ({} checks)", checks.len()),
            Outcome::Absent { reason } => write!(f, "absent: {reason}"),
            Outcome::Failed { reason } => write!(f, "FAILED: {reason}"),
            Outcome::NotRun { reason } => write!(f, "NOT RUN: {reason}"),
        }
    }
}
