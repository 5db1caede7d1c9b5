//! Writes the log without making decisions wait for its reader.
//!
//! A write may block forever, for example to a pipe without a reader, and a write from the event loop would
//! stall it. A record therefore takes one of two paths, and records keep their order:
//!
//! - **Direct:** if nothing is buffered and standard error has room (`poll`), the caller writes the record. It
//!   is then safe even if the process is killed, and costs one system call; waking a thread costs 4 to 15 µs.
//! - **Buffered:** otherwise the record goes to a bounded buffer, which a thread writes.
//!
//! The state of that thread selects the path:
//!
//! | [`Thread`](buffer::Thread) | meaning | new records |
//! |---|---|---|
//! | `Busy` | writing, or about to | are buffered |
//! | `Idle` | asleep, but has a torn line to end or lost records to report | are buffered and wake it |
//! | `NotNeeded` | asleep, everything is written | are written directly, or buffered and wake it |
//!
//! Records that do not fit into the buffer or cannot be written are counted in `callgate_log_lost_total` and
//! reported in the log as soon as it can be written again. A part of the buffer is reserved for decisions that
//! admit a client, so that a flood of refusals does not displace them.

mod buffer;
mod thread;

use std::{
    borrow::Cow,
    cell::Cell,
    io::{self, IsTerminal, Write},
    sync::{
        LazyLock, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use callgate::sanitize::visible;
use prometheus_client::metrics::counter::Counter;

use buffer::Buffer;
use thread::Writer;

/// Records that could not be written; one counter, since there is one log per process.
pub(super) static LOST: LazyLock<Counter> = LazyLock::new(Counter::default);

/// The buffer of this process's log, once logging has started.
static LOG: OnceLock<Buffer> = OnceLock::new();

/// How long the process waits for its last records when it ends.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(300);

thread_local! {
    /// True on the writing thread, whose report of lost records is buffered even if the buffer is full.
    static IS_WRITER: Cell<bool> = const { Cell::new(false) };
    /// True while a thread logs that a client was admitted.
    static IS_ADMISSION: Cell<bool> = const { Cell::new(false) };
}

/// Lost records of admissions, which are part of [`LOST`].
static LOST_ADMISSIONS: AtomicU64 = AtomicU64::new(0);

/// Runs `log`, which logs that a client was admitted. Its records are lost last.
pub(super) fn log_admission(log: impl FnOnce()) {
    IS_ADMISSION.set(true);
    log();
    IS_ADMISSION.set(false);
}

fn count_lost(is_admission: bool) {
    LOST.inc();
    if is_admission {
        LOST_ADMISSIONS.fetch_add(1, Ordering::Relaxed);
    }
}

/// Waits, for a limited time, until the log is written. Call it before the process ends.
pub(crate) fn flush_log() {
    if let Some(buffer) = LOG.get() {
        buffer.flush(FLUSH_TIMEOUT);
    }
}

/// A writer of whole records: each call of `write` is one record, and becomes one line without hidden
/// characters.
#[derive(Debug, Clone)]
pub(super) struct Records {
    output: Output,
    /// Escape sequences for colours stay; `tracing_subscriber` escapes those in the data.
    colour: bool,
}

#[derive(Debug, Clone)]
enum Output {
    Buffered(Buffer),
    /// If the thread cannot be started.
    Unbuffered,
}

impl Records {
    /// Starts the thread on the first call.
    pub(super) fn to_standard_error(colour: bool) -> Self {
        Self { output: Output::to_standard_error(), colour }
    }
}

impl Output {
    fn to_standard_error() -> Self {
        if let Some(buffer) = LOG.get() {
            return Self::Buffered(buffer.clone());
        }
        // A terminal may block in the middle of a record even if it has room.
        let buffer = Buffer::new(!io::stderr().is_terminal());
        let mut writer = Writer::new(buffer.clone());
        let thread = std::thread::Builder::new().name("log".to_owned());
        match thread.spawn(move || writer.run(&mut io::stderr())) {
            Ok(_) => Self::Buffered(LOG.get_or_init(|| buffer).clone()),
            Err(_) => Self::Unbuffered,
        }
    }
}

impl Write for Records {
    fn write(&mut self, record: &[u8]) -> io::Result<usize> {
        let line = one_line(record, self.colour);
        match &self.output {
            Output::Buffered(buffer) => buffer.push(&line),
            Output::Unbuffered => io::stderr().write_all(&line).inspect_err(|_| {
                count_lost(IS_ADMISSION.get());
            })?,
        }
        Ok(record.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The record with every hidden character escaped, including line breaks within it.
fn one_line(record: &[u8], colour: bool) -> Cow<'_, [u8]> {
    let body = record.strip_suffix(b"\n").unwrap_or(record);
    let is_plain = |byte: &u8| matches!(byte, b' '..=b'~' | b'\t') || (colour && *byte == 0x1b);
    if body.len() < record.len() && body.iter().all(is_plain) {
        return record.into();
    }
    let keep: &[char] = if colour { &['\t', '\u{1b}'] } else { &['\t'] };
    let mut line = visible(&String::from_utf8_lossy(body), keep).into_owned();
    line.push('\n');
    line.into_bytes().into()
}

#[cfg(test)]
mod tests;
