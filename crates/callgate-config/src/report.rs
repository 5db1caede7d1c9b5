//! Everything that is wrong or doubtful in a configuration, gathered in one run.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::{
    document::Document,
    position::{Position, with_ancestors},
    sanitize::sanitize,
};

/// An error or warning, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The file, once it is known; see [`Report::locate`].
    pub file: String,
    /// Where in the file the key, or the table that lacks it, stands.
    pub position: Option<Position>,
    /// The key path, such as `authenticators[0].users.file`; empty for the whole document.
    pub path: String,
    /// What is wrong and what to write instead. Never a secret.
    pub message: String,
}

impl Fault {
    fn new(path: &str, message: impl fmt::Display) -> Self {
        let (path, message) = (sanitize(path), sanitize(&message.to_string()));
        Self { file: String::new(), position: None, path, message }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.trim_end_matches([':', ' ']);
        match (self.file.as_str(), self.position) {
            ("", _) => {}
            (file, Some(position)) => write!(f, "{file}:{position}: ")?,
            (file, None) => write!(f, "{file}: ")?,
        }
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
    key_hints: &'static [(&'static str, &'static str)],
}

#[derive(Debug, Default)]
struct Findings {
    faults: Vec<Fault>,
    warnings: Vec<Fault>,
    /// Where a key stands, by the path of its usual spelling.
    written: BTreeMap<String, String>,
}

impl Findings {
    /// The path as its reader will find it in the file.
    fn found(&self, path: String, message: impl fmt::Display) -> Fault {
        for usual in with_ancestors(&path) {
            if let Some(written) = self.written.get(usual) {
                let tail = path.strip_prefix(usual).unwrap_or_default();
                return Fault::new(&format!("{written}{tail}"), message);
            }
        }
        Fault::new(&path, message)
    }
}

impl Report {
    /// An empty report.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty report that knows where keys belong: the name of each, and its table in words.
    pub fn with_key_hints(key_hints: &'static [(&'static str, &'static str)]) -> Self {
        Self { key_hints, ..Self::default() }
    }

    /// Where a key of this name belongs that `path` does not take; not for other files, whose keys
    /// have other meanings.
    pub(crate) fn key_hints(&self, path: &str) -> &'static [(&'static str, &'static str)] {
        if path.contains(": ") { &[] } else { self.key_hints }
    }

    /// Something that makes the configuration unusable.
    pub fn fault(&self, path: impl Into<String>, message: impl fmt::Display) {
        let mut findings = self.findings();
        let fault = findings.found(path.into(), message);
        findings.faults.push(fault);
    }

    /// Something that works and is probably not meant, or unwise.
    pub fn warn(&self, path: impl Into<String>, message: impl fmt::Display) {
        let mut findings = self.findings();
        let warning = findings.found(path.into(), message);
        findings.warnings.push(warning);
    }

    /// An error of a whole file, such as one of syntax.
    pub fn fault_in(&self, file: &str, position: Option<Position>, message: impl fmt::Display) {
        let fault = Fault { file: sanitize(file), position, ..Fault::new("", message) };
        self.findings().faults.push(fault);
    }

    /// Says that findings so far whose path begins with `prefix`, and that have no file yet, are about
    /// `file`, which was read as `document`: they get its name and their line and column.
    pub fn locate(&self, document: &Document, prefix: &str, file: &str) {
        let mut findings = self.findings();
        let Findings { faults, warnings, .. } = &mut *findings;
        let is_here = |fault: &&mut Fault| fault.file.is_empty() && fault.path.starts_with(prefix);
        let mut here: Vec<_> = faults.iter_mut().chain(warnings).filter(is_here).collect();
        for fault in &mut here {
            fault.file = sanitize(file);
            fault.path.drain(..prefix.len());
        }
        let wanted = here.iter().flat_map(|fault| with_ancestors(&fault.path)).collect();
        let found = document.positions(wanted);
        for fault in here {
            fault.position = with_ancestors(&fault.path).find_map(|path| found.get(path).copied());
        }
    }

    /// What is found at `usual`, or below it, stands at `written` in the file: whoever finds it may
    /// know only the key's usual spelling.
    pub fn written_as(&self, usual: impl Into<String>, written: impl Into<String>) {
        let (usual, written) = (usual.into(), written.into());
        if usual != written {
            self.findings().written.insert(usual, written);
        }
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
