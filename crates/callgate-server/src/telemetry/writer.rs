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
//! | [`Thread`] | meaning | new records |
//! |---|---|---|
//! | `Busy` | writing, or about to | are buffered |
//! | `Idle` | asleep, but has a torn line to end or lost records to report | are buffered and wake it |
//! | `NotNeeded` | asleep, everything is written | are written directly, or buffered and wake it |
//!
//! Records that do not fit into the buffer or cannot be written are counted in `callgate_log_lost_total` and
//! reported in the log as soon as it can be written again. A part of the buffer is reserved for decisions that
//! admit a client, so that a flood of refusals does not displace them.

use std::{
    borrow::Cow,
    cell::Cell,
    io::{self, IsTerminal, Write},
    mem,
    sync::{
        Arc, Condvar, LazyLock, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use callgate::sanitize::visible;
use prometheus_client::metrics::counter::Counter;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tracing::warn;

/// Records that could not be written; one counter, since there is one log per process.
pub(super) static LOST: LazyLock<Counter> = LazyLock::new(Counter::default);

/// The buffer of this process's log, once logging has started.
static LOG: OnceLock<Buffer> = OnceLock::new();

/// Capacity in bytes: about two thousand decisions.
const MAX_BUFFERED: usize = 1 << 20;
/// The part of it that only admissions may use.
const RESERVED_FOR_ADMISSIONS: usize = MAX_BUFFERED / 4;
/// Memory that is kept allocated.
const MIN_ALLOCATED: usize = 1 << 16;
/// A pipe that has room takes this much without blocking (PIPE_BUF in pipe(7)).
const MAX_DIRECT: usize = 4096;
/// Delay before retrying a full pipe that is in non-blocking mode.
const RETRY_DELAY: Duration = Duration::from_millis(20);
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

/// The buffered records.
#[derive(Debug, Clone)]
pub(super) struct Buffer(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// The direct path may be used.
    direct: bool,
    state: Mutex<State>,
    filled: Condvar,
    emptied: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: Batch,
    thread: Thread,
    flushing: usize,
}

/// See the table at the top of the file.
#[derive(Debug, Default, PartialEq, Eq)]
enum Thread {
    #[default]
    Busy,
    Idle,
    NotNeeded,
}

#[derive(Debug, Default)]
struct Batch {
    text: Vec<u8>,
    ends: Vec<End>,
    /// The beginning of the first record was written already.
    continues: bool,
}

/// Where a record ends.
#[derive(Debug, Clone, Copy)]
struct End {
    at: usize,
    is_admission: bool,
}

impl Buffer {
    fn new(direct: bool) -> Self {
        Self(Arc::new(Shared {
            direct,
            state: Mutex::default(),
            filled: Condvar::new(),
            emptied: Condvar::new(),
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, record: &[u8]) {
        let is_admission = IS_ADMISSION.get();
        let mut state = self.state();
        let direct = state.thread == Thread::NotNeeded && self.0.direct;
        let rest = match direct && record.len() <= MAX_DIRECT && has_room() {
            true => write_once(record),
            false => Ok(record),
        };
        let Ok(rest) = rest else {
            state.thread = Thread::Idle;
            drop(state);
            count_lost(is_admission);
            return;
        };
        if rest.is_empty() {
            return;
        }
        if rest.len() < record.len() {
            state.waiting.continues = true;
        }
        let reserved = if is_admission { 0 } else { RESERVED_FOR_ADMISSIONS };
        let is_full = state.waiting.text.len() + rest.len() > MAX_BUFFERED - reserved;
        if is_full && !IS_WRITER.get() {
            drop(state);
            count_lost(is_admission);
            return;
        }
        state.waiting.push(rest, is_admission);
        if mem::take(&mut state.thread) != Thread::Busy {
            drop(state);
            self.0.filled.notify_one();
        }
    }

    fn flush(&self, timeout: Duration) {
        let until = Instant::now() + timeout;
        let left = || until.saturating_duration_since(Instant::now());
        // A direct write to a hanging disk holds this lock, so waiting for it is limited, too.
        let mut state = loop {
            match self.0.state.try_lock() {
                Ok(state) => break state,
                Err(TryLockError::Poisoned(state)) => break state.into_inner(),
                Err(TryLockError::WouldBlock) if left().is_zero() => return,
                Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(1)),
            }
        };
        state.flushing += 1;
        while state.thread == Thread::Busy && !left().is_zero() {
            let waited = self.0.emptied.wait_timeout(state, left());
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.flushing -= 1;
    }

    /// Waits for records and swaps all of them with `batch`, which has been written.
    fn take(&self, batch: &mut Batch, needed: bool) {
        batch.empty();
        let mut state = self.state();
        while state.waiting.ends.is_empty() {
            state.thread = if needed { Thread::Idle } else { Thread::NotNeeded };
            if state.flushing > 0 {
                self.0.emptied.notify_all();
            }
            state = self.0.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.thread = Thread::Busy;
        mem::swap(&mut state.waiting, batch);
    }
}

/// Whether standard error can be written to without blocking.
fn has_room() -> bool {
    let stderr = io::stderr();
    let mut polled = [PollFd::new(&stderr, PollFlags::OUT)];
    let now = Timespec::default();
    matches!(poll(&mut polled, Some(&now)), Ok(1))
        && polled.iter().all(|polled| polled.revents() == PollFlags::OUT)
}

/// Returns the part that was not written.
fn write_once(record: &[u8]) -> io::Result<&[u8]> {
    match io::stderr().write(record) {
        Ok(written) => Ok(record.get(written..).unwrap_or_default()),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(record),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(record),
        Err(error) => Err(error),
    }
}

impl Batch {
    fn push(&mut self, record: &[u8], is_admission: bool) {
        self.text.extend_from_slice(record);
        self.ends.push(End { at: self.text.len(), is_admission });
    }

    fn empty(&mut self) {
        self.text.clear();
        self.text.shrink_to(MIN_ALLOCATED);
        self.ends.clear();
        self.continues = false;
    }
}

/// State of the writing thread.
#[derive(Debug)]
struct Writer {
    buffer: Buffer,
    /// The last record was written only in part.
    torn: bool,
    /// Lost records that a written report covers.
    reported: u64,
    /// The same including the report that is being written.
    reporting: Option<u64>,
    reported_admissions: u64,
}

impl Writer {
    fn new(buffer: Buffer) -> Self {
        let reported_admissions = LOST_ADMISSIONS.load(Ordering::Relaxed);
        Self { buffer, torn: false, reported: LOST.get(), reporting: None, reported_admissions }
    }

    fn run(&mut self, out: &mut impl Write) {
        IS_WRITER.set(true);
        let mut batch = Batch::default();
        loop {
            self.buffer.take(&mut batch, self.torn || self.reported != LOST.get());
            self.write(out, &batch);
        }
    }

    fn write(&mut self, out: &mut impl Write, batch: &Batch) {
        let reporting = self.reporting.take();
        if self.torn && write_all(out, b"\n").is_ok() {
            self.torn = false;
        }
        match write_all(out, &batch.text) {
            Ok(()) => {
                self.reported = reporting.unwrap_or(self.reported);
                self.report_lost();
            }
            Err(written) => {
                let lost = batch.ends.iter().filter(|end| end.at > written);
                lost.for_each(|end| count_lost(end.is_admission));
                self.torn = match written {
                    0 => self.torn || batch.continues,
                    written => !batch.ends.iter().any(|end| end.at == written),
                };
            }
        }
    }

    /// Reports lost records, after all records that came before them.
    fn report_lost(&mut self) {
        let lost = LOST.get();
        if lost > self.reported {
            let admissions = LOST_ADMISSIONS.load(Ordering::Relaxed);
            let admitted = admissions - mem::replace(&mut self.reported_admissions, admissions);
            warn!(
                records = lost - self.reported,
                admitted, "log records were lost because they could not be written"
            );
            self.reporting = Some(lost);
        }
    }
}

/// Writes all of `text`, or returns how much was written before an error.
fn write_all(out: &mut impl Write, text: &[u8]) -> Result<(), usize> {
    let mut written = 0;
    while let Some(rest) = text.get(written..).filter(|rest| !rest.is_empty()) {
        match out.write(rest) {
            Ok(0) => return Err(written),
            Ok(more) => written += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                std::thread::sleep(RETRY_DELAY)
            }
            Err(_) => return Err(written),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// An output controlled by the test.
    struct Output {
        room: mpsc::Receiver<usize>,
        written: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Output {
        /// Waits for the test to grant room; 0 is an error.
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            let room = self.room.recv().unwrap_or(usize::MAX).min(text.len());
            if room == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.written.lock().unwrap().extend_from_slice(&text[..room]);
            Ok(room)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn controlled_output() -> (Buffer, mpsc::Sender<usize>, Arc<Mutex<Vec<u8>>>) {
        let (grant, room) = mpsc::channel();
        let written = Arc::default();
        let buffer = Buffer::new(false);
        let mut output = Output { room, written: Arc::clone(&written) };
        let mut writer = Writer::new(buffer.clone());
        std::thread::spawn(move || writer.run(&mut output));
        (buffer, grant, written)
    }

    #[test]
    fn hanging_output_blocks_no_caller_and_keeps_order() {
        let (buffer, room, written) = controlled_output();
        let before = LOST.get();
        let record = |number: usize| format!("{number:099}\n");
        for number in 0..30_000 {
            buffer.push(record(number).as_bytes());
        }
        buffer.flush(Duration::from_millis(10));
        drop(room);
        buffer.flush(Duration::from_secs(60));
        let text = String::from_utf8(written.lock().unwrap().clone()).unwrap();
        let kept: Vec<usize> = text.lines().map(|line| line.parse().unwrap()).collect();
        // Records that the thread had taken did not count against the capacity.
        const SHARE: usize = (MAX_BUFFERED - RESERVED_FOR_ADMISSIONS) / 100;
        assert!((SHARE..=2 * SHARE).contains(&kept.len()), "{}", kept.len());
        assert!(kept.is_sorted_by(|one, next| one < next));
        assert_eq!(kept[..SHARE], (0..SHARE).collect::<Vec<_>>());
        assert!(LOST.get() - before >= 30_000 - kept.len() as u64);
    }

    #[test]
    fn flood_of_refusals_displaces_no_admission() {
        let (buffer, room, written) = controlled_output();
        // While the thread waits for room, nothing leaves the buffer.
        buffer.push(b"first\n");
        for number in 0..100_000 {
            buffer.push(format!("refused {number:090}\n").as_bytes());
            if number % 100 == 0 {
                log_admission(|| buffer.push(format!("admitted {number:089}\n").as_bytes()));
            }
        }
        drop(room);
        buffer.flush(Duration::from_secs(60));
        let text = String::from_utf8(written.lock().unwrap().clone()).unwrap();
        assert_eq!(text.lines().filter(|line| line.starts_with("admitted")).count(), 1_000);
        assert!(text.lines().filter(|line| line.starts_with("refused")).count() < 100_000);
    }

    #[test]
    fn lost_admissions_are_counted_apart() {
        let (buffer, room, _) = controlled_output();
        let before = LOST_ADMISSIONS.load(Ordering::Relaxed);
        for _ in 0..30_000 {
            log_admission(|| buffer.push(&[b'x'; 99]));
        }
        assert!(
            LOST_ADMISSIONS.load(Ordering::Relaxed) - before
                > 30_000 - 2 * MAX_BUFFERED as u64 / 99
        );
        drop(room);
    }

    #[test]
    fn record_becomes_one_line_without_hidden_characters() {
        let line = |record: &str, colour| {
            String::from_utf8(one_line(record.as_bytes(), colour).into_owned()).unwrap()
        };
        assert_eq!(line("plain\ttext\n", false), "plain\ttext\n");
        assert_eq!(
            line("a\nb \u{1b}[2J\u{9b}m\u{202e}\u{200b} é\n", false),
            "a\\u000ab \\u001b[2J\\u009bm\\u202e\\u200b é\n"
        );
        assert_eq!(
            line("\u{1b}[32mINFO\u{1b}[0m \u{9b}m\n", true),
            "\u{1b}[32mINFO\u{1b}[0m \\u009bm\n"
        );
    }

    #[test]
    fn torn_record_does_not_corrupt_the_next() {
        let (buffer, room, written) = controlled_output();
        buffer.push(b"first\n");
        for step in [2, 0] {
            room.send(step).unwrap();
        }
        buffer.flush(Duration::from_secs(60));
        drop(room);
        buffer.push(b"second\n");
        buffer.flush(Duration::from_secs(60));
        assert_eq!(*written.lock().unwrap(), b"fi\nsecond\n");
    }
}
