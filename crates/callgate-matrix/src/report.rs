//! What came of a run, as JSON and as text.

use serde::Serialize;

/// What came of one cell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "lowercase")]
pub enum Outcome {
    /// All of these hold.
    Passed {
        /// Sentences.
        checks: Vec<String>,
    },
    /// The server line cannot have it.
    Absent {
        /// Why.
        reason: String,
    },
    /// Something does not hold.
    Failed {
        /// What.
        reason: String,
    },
    /// Something that is needed is not on this machine.
    #[serde(rename = "not run")]
    NotRun {
        /// What.
        reason: String,
    },
}

impl Outcome {
    /// All of these hold.
    pub fn passed(checks: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self::Passed { checks: checks.into_iter().map(Into::into).collect() }
    }

    /// The server line cannot have it.
    pub fn absent(reason: impl Into<String>) -> Self {
        Self::Absent { reason: reason.into() }
    }
}

/// One cell: a kind of connection, or a scenario, in an environment at a server line.
#[derive(Debug, Clone, Serialize)]
pub struct Cell {
    /// The environment.
    pub environment: String,
    /// The kind of connection, or the scenario.
    pub row: String,
    /// The server's version.
    pub server: String,
    /// What came of it.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// A run.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Kinds of connections.
    pub connections: Vec<Cell>,
    /// Scenarios.
    pub scenarios: Vec<Cell>,
}

impl Report {
    /// Cells that failed.
    pub fn failures(&self) -> Vec<&Cell> {
        self.cells().filter(|cell| matches!(cell.outcome, Outcome::Failed { .. })).collect()
    }

    /// All of it, a line for each cell, so that two runs can be compared.
    ///
    /// # Panics
    /// Never: texts can always be written.
    pub fn json(&self) -> String {
        let list = |cells: &[Cell]| {
            let lines = cells.iter().map(|cell| serde_json::to_string(cell).expect("texts"));
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
