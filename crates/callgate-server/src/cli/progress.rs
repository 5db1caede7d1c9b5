//! How far long work is: one line on standard error, only if it is a terminal and the work takes longer than a second.

use std::{
    env,
    fs::File,
    io::{self, IsTerminal, Read, Write},
    path::Path,
    time::{Duration, Instant},
};

use callgate::sanitize::terminal;
use callgate_authenticators::kind::{EntryCounter, Observer};

use super::plain_file;

/// Shorter work needs no line.
const DELAY: Duration = Duration::from_secs(1);
const INTERVAL: Duration = Duration::from_millis(200);
/// Moves to the start of the line and clears it.
const CLEAR: &str = "\r\u{1b}[K";

/// A line that is removed at the end.
#[derive(Debug)]
pub(super) struct Progress {
    what: String,
    unit: Unit,
    total: u64,
    done: u64,
    started: Instant,
    /// When the line was last written.
    drawn: Option<Instant>,
    is_visible: bool,
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Bytes,
    Items,
}

impl Progress {
    /// `what` is happening to `total` bytes or items; 0 if their number is unknown.
    pub(super) fn new(what: impl Into<String>, unit: Unit, total: u64) -> Self {
        let is_dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
        let is_visible = io::stderr().is_terminal() && !is_dumb;
        let started = Instant::now();
        Self { what: what.into(), unit, total, done: 0, started, drawn: None, is_visible }
    }

    pub(super) fn add(&mut self, count: u64) {
        self.done += count;
        if !self.is_visible {
            return;
        }
        let now = Instant::now();
        if let Some(line) = self.line(now) {
            self.drawn = Some(now);
            let _ = write!(io::stderr(), "{CLEAR}{line}");
        }
    }

    /// The line, if one is due.
    fn line(&self, now: Instant) -> Option<String> {
        let (since, pause) = match self.drawn {
            Some(drawn) => (drawn, INTERVAL),
            None => (self.started, DELAY),
        };
        if now.duration_since(since) < pause {
            return None;
        }
        let done = match (self.total, self.unit) {
            (0, Unit::Bytes) => format!("{} MB", self.done / 1_000_000),
            (0, Unit::Items) => self.done.to_string(),
            (total, Unit::Bytes) => format!("{} %", percent(self.done, total)),
            (total, Unit::Items) => format!("{} of {total}", self.done),
        };
        Some(format!("{}  {done}", self.what))
    }
}

fn percent(done: u64, total: u64) -> u64 {
    (done.saturating_mul(100) / total).min(100)
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.drawn.is_some() {
            let _ = write!(io::stderr(), "{CLEAR}");
        }
    }
}

/// Shows how many entries of a file have been loaded.
#[derive(Debug, Clone, Copy)]
pub(super) struct LoadingProgress;

impl Observer for LoadingProgress {
    fn file_loading(&self, file: &str) -> Option<EntryCounter> {
        let what = format!("loading entries of {file}");
        let mut progress = Progress::new(terminal(&what), Unit::Items, 0);
        Some(Box::new(move || progress.add(1)))
    }
}

/// A file whose reading is shown.
#[derive(Debug)]
pub(super) struct Shown<R> {
    source: R,
    progress: Progress,
}

impl Shown<File> {
    /// Opens a file; `doing` is what happens to it, such as `verifying`.
    ///
    /// # Errors
    /// If it cannot be opened, or is compressed.
    pub(super) fn open(doing: &str, path: &Path) -> io::Result<Self> {
        let source = plain_file::open(path)?;
        let total = source.metadata()?.len();
        let name = path.display().to_string();
        Ok(Self {
            source,
            progress: Progress::new(terminal(&format!("{doing} {name}")), Unit::Bytes, total),
        })
    }
}

impl<R: Read> Read for Shown<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        self.progress.add(count as u64);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(progress: &Progress, milliseconds: u64) -> Option<String> {
        progress.line(progress.started + Duration::from_millis(milliseconds))
    }

    fn progress(unit: Unit, total: u64, done: u64) -> Progress {
        let mut progress = Progress::new("verifying a.jsonl", unit, total);
        progress.is_visible = false;
        progress.done = done;
        progress
    }

    #[test]
    fn line_appears_after_a_second() {
        let progress = progress(Unit::Bytes, 1000, 433);
        assert_eq!(at(&progress, 999), None);
        assert_eq!(at(&progress, 1000).as_deref(), Some("verifying a.jsonl  43 %"));
    }

    #[test]
    fn line_changes_five_times_per_second() {
        let mut progress = progress(Unit::Items, 10, 3);
        progress.drawn = Some(progress.started + Duration::from_secs(1));
        assert_eq!(at(&progress, 1100), None);
        assert_eq!(at(&progress, 1200).as_deref(), Some("verifying a.jsonl  3 of 10"));
        // Nothing was written here that the end could remove.
        progress.drawn = None;
    }

    #[test]
    fn unknown_totals_are_counted() {
        assert_eq!(
            at(&progress(Unit::Bytes, 0, 5_400_000), 2000).as_deref(),
            Some("verifying a.jsonl  5 MB")
        );
        assert_eq!(at(&progress(Unit::Items, 0, 7), 2000).as_deref(), Some("verifying a.jsonl  7"));
    }

    #[test]
    fn grown_file_is_never_beyond_its_end() {
        assert_eq!(
            at(&progress(Unit::Bytes, 10, 30), 1000).as_deref(),
            Some("verifying a.jsonl  100 %")
        );
    }
}
