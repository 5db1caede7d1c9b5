//! The errors and warnings of a configuration, collected in one run.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
};

use callgate::sanitize::one_line;

use crate::{
    document::Document,
    format::Format,
    position::{Position, positions, with_ancestors},
};

/// An error or warning, and its location.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The file, once known; see [`Report::locate`].
    pub file: String,
    /// The position of the key, or of the table that lacks it.
    pub position: Option<Position>,
    /// The key path, such as `authenticators[0].users.file`; empty for the whole document.
    pub path: String,
    /// What is wrong, and what to write instead. Never contains a secret.
    pub message: String,
}

impl Fault {
    fn new(path: &str, message: impl fmt::Display) -> Self {
        let path = one_line(path);
        let message = one_line(&message.to_string());
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

/// Collects errors and warnings; shared by all readers of one configuration.
#[derive(Debug, Default)]
pub struct Report {
    inner: Mutex<Findings>,
    key_hints: Vec<(&'static str, String)>,
}

#[derive(Debug, Default)]
struct Findings {
    faults: Vec<Fault>,
    warnings: Vec<Fault>,
    /// Written key paths by canonical path.
    written: BTreeMap<String, String>,
}

impl Findings {
    /// Sets the file of findings whose path begins with `prefix`; returns them.
    fn assign(&mut self, prefix: &str, file: &str) -> Vec<&mut Fault> {
        let Self { faults, warnings, .. } = self;
        let is_here = |fault: &&mut Fault| fault.file.is_empty() && fault.path.starts_with(prefix);
        let mut here: Vec<_> = faults.iter_mut().chain(warnings).filter(is_here).collect();
        for fault in &mut here {
            fault.file = one_line(file);
            fault.path.drain(..prefix.len());
        }
        here
    }

    /// A finding whose path is spelled as in the file.
    fn finding(&self, path: String, message: impl fmt::Display) -> Fault {
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

    /// An empty report with hints for misplaced keys: each key, and a description of its table.
    pub fn with_key_hints(key_hints: Vec<(&'static str, String)>) -> Self {
        Self { key_hints, ..Self::default() }
    }

    /// The hints for unknown keys at `path`. There are none for other files, where keys have other
    /// meanings.
    pub(crate) fn key_hints(&self, path: &str) -> &[(&'static str, String)] {
        if path.contains(": ") { &[] } else { &self.key_hints }
    }

    /// Reports an error, which makes the configuration unusable.
    pub fn fault(&self, path: impl Into<String>, message: impl fmt::Display) {
        let mut findings = self.findings();
        let fault = findings.finding(path.into(), message);
        findings.faults.push(fault);
    }

    /// Reports a warning: the value works, but is probably a mistake or risky.
    pub fn warn(&self, path: impl Into<String>, message: impl fmt::Display) {
        let mut findings = self.findings();
        let warning = findings.finding(path.into(), message);
        findings.warnings.push(warning);
    }

    /// Reports an error in a file, such as a syntax error.
    pub fn fault_in(&self, file: &str, position: Option<Position>, message: impl fmt::Display) {
        let fault = Fault { file: one_line(file), position, ..Fault::new("", message) };
        self.findings().faults.push(fault);
    }

    /// Assigns the findings so far that have no file and whose path begins with `prefix` to `file`, which
    /// was read as `document`, and adds their line and column.
    pub fn locate(&self, document: &Document, prefix: &str, file: &str) {
        self.locate_in(document.text(), document.format(), prefix, file);
    }

    /// Assigns the findings so far that have no file and whose path begins with `prefix` to `file`, without
    /// a position.
    pub fn assign(&self, prefix: &str, file: &str) {
        self.findings().assign(prefix, file);
    }

    /// The same as [`Report::locate`] for a file with this text.
    pub(crate) fn locate_in(&self, text: &str, format: Format, prefix: &str, file: &str) {
        let mut findings = self.findings();
        let here = findings.assign(prefix, file);
        if here.is_empty() {
            return;
        }
        let wanted = here.iter().flat_map(|fault| with_ancestors(&fault.path)).collect();
        let found = positions(text, format, wanted);
        for fault in here {
            fault.position = with_ancestors(&fault.path).find_map(|path| found.get(path).copied());
        }
    }

    /// Adds the findings of another report.
    pub(crate) fn append(&self, other: Self) {
        let Findings { faults, warnings, written } =
            other.inner.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut findings = self.findings();
        findings.faults.extend(faults);
        findings.warnings.extend(warnings);
        findings.written.extend(written);
    }

    /// Records that the canonical path `usual` is spelled `written` in the file, for findings of code that
    /// knows only the canonical path.
    pub fn written_as(&self, usual: impl Into<String>, written: impl Into<String>) {
        let (usual, written) = (usual.into(), written.into());
        if usual != written {
            self.findings().written.insert(usual, written);
        }
    }

    /// The errors so far, in the order they were found.
    pub fn faults(&self) -> Vec<Fault> {
        self.findings().faults.clone()
    }

    /// The warnings so far.
    pub fn warnings(&self) -> Vec<Fault> {
        self.findings().warnings.clone()
    }

    /// The number of errors so far; compare it before and after reading a part.
    pub fn fault_count(&self) -> usize {
        self.findings().faults.len()
    }

    /// True if there are no errors so far.
    pub fn is_faultless(&self) -> bool {
        self.fault_count() == 0
    }

    fn findings(&self) -> MutexGuard<'_, Findings> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
