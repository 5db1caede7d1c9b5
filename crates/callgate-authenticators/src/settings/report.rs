//! Everything that is wrong or doubtful in a configuration, gathered in one run.

use std::{
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// One thing that is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The key path, such as `authenticators[0].users.file`; empty for the whole document.
    pub path: String,
    /// What is wrong and what to write instead. Never a secret.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.trim_end_matches([':', ' ']);
        match path.is_empty() {
            true => f.write_str(&self.message),
            false => write!(f, "{path}: {}", self.message),
        }
    }
}

/// Collects faults and warnings; shared by everybody who reads one configuration.
#[derive(Debug, Default)]
pub struct Report {
    inner: Mutex<Findings>,
}

#[derive(Debug, Default)]
struct Findings {
    faults: Vec<Fault>,
    warnings: Vec<Fault>,
}

impl Report {
    /// An empty report.
    pub fn new() -> Self {
        Self::default()
    }

    /// Something that makes the configuration unusable.
    pub fn fault(&self, path: impl Into<String>, message: impl fmt::Display) {
        let fault = Fault { path: path.into(), message: message.to_string() };
        self.findings().faults.push(fault);
    }

    /// Something that works and is probably not meant, or unwise.
    pub fn warn(&self, path: impl Into<String>, message: impl fmt::Display) {
        let warning = Fault { path: path.into(), message: message.to_string() };
        self.findings().warnings.push(warning);
    }

    /// The faults so far, in the order in which they were found.
    pub fn faults(&self) -> Vec<Fault> {
        self.findings().faults.clone()
    }

    /// The warnings so far.
    pub fn warnings(&self) -> Vec<Fault> {
        self.findings().warnings.clone()
    }

    /// How many faults there are: compare before and after to see whether a part was good.
    pub fn fault_count(&self) -> usize {
        self.findings().faults.len()
    }

    /// True if nothing is wrong so far.
    pub fn is_faultless(&self) -> bool {
        self.fault_count() == 0
    }

    fn findings(&self) -> MutexGuard<'_, Findings> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
