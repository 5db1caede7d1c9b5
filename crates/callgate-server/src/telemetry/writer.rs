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
//! reported in the log as soon as it can be written again.

use std::{
    cell::Cell,
    io::{self, IsTerminal, Write},
    mem,
    sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError},
    time::{Duration, Instant},
};

use prometheus_client::metrics::counter::Counter;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tracing::warn;

/// Records that could not be written; one counter, since there is one log per process.
pub(super) static LOST: LazyLock<Counter> = LazyLock::new(Counter::default);

/// The buffer of this process's log, once logging has started.
static LOG: OnceLock<Buffer> = OnceLock::new();

/// Capacity in bytes: about two thousand decisions.
const MAX_BUFFERED: usize = 1 << 20;
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
}

/// Waits, for a limited time, until the log is written. Call it before the process ends.
pub(crate) fn flush_log() {
    if let Some(buffer) = LOG.get() {
        buffer.flush(FLUSH_TIMEOUT);
    }
}

/// A writer of whole records: each call of `write` is one record.
#[derive(Debug, Clone)]
pub(super) enum Records {
    Buffered(Buffer),
    /// If the thread cannot be started.
    Unbuffered,
}

impl Records {
    /// Starts the thread on the first call.
    pub(super) fn to_standard_error() -> Self {
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
        match self {
            Self::Buffered(buffer) => buffer.push(record),
            Self::Unbuffered => io::stderr().write_all(record).inspect_err(|_| {
                LOST.inc();
            })?,
        }
        Ok(record.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
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
    /// Where each record ends.
    ends: Vec<usize>,
    /// The beginning of the first record was written already.
    continues: bool,
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
        let mut state = self.state();
        let direct = state.thread == Thread::NotNeeded && self.0.direct;
        let rest = match direct && record.len() <= MAX_DIRECT && has_room() {
            true => write_once(record),
            false => Ok(record),
        };
        let Ok(rest) = rest else {
            state.thread = Thread::Idle;
            drop(state);
            LOST.inc();
            return;
        };
        if rest.is_empty() {
            return;
        }
        if rest.len() < record.len() {
            state.waiting.continues = true;
        }
        if state.waiting.text.len() + rest.len() > MAX_BUFFERED && !IS_WRITER.get() {
            drop(state);
            LOST.inc();
            return;
        }
        state.waiting.push(rest);
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
    fn push(&mut self, record: &[u8]) {
        self.text.extend_from_slice(record);
        self.ends.push(self.text.len());
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
}

impl Writer {
    fn new(buffer: Buffer) -> Self {
        Self { buffer, torn: false, reported: LOST.get(), reporting: None }
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
                let lost = batch.ends.iter().filter(|end| **end > written).count();
                LOST.inc_by(u64::try_from(lost).unwrap_or(u64::MAX));
                self.torn = match written {
                    0 => self.torn || batch.continues,
                    written => !batch.ends.contains(&written),
                };
            }
        }
    }

    /// Reports lost records, after all records that came before them.
    fn report_lost(&mut self) {
        let lost = LOST.get();
        if lost > self.reported {
            warn!(
                records = lost - self.reported,
                "log records were lost because they could not be written"
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
        assert!(
            (MAX_BUFFERED / 100..=2 * MAX_BUFFERED / 100).contains(&kept.len()),
            "{}",
            kept.len()
        );
        assert!(kept.is_sorted_by(|one, next| one < next));
        assert_eq!(kept[..MAX_BUFFERED / 100], (0..MAX_BUFFERED / 100).collect::<Vec<_>>());
        assert!(LOST.get() - before >= 30_000 - kept.len() as u64);
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
