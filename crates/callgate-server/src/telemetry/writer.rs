//! A log that nobody waits for.
//!
//! Writing may take for ever (a pipe that nobody reads), and whoever writes on the event loop stops it. So a
//! record is written at once only if there is room for it; else it goes to a bounded buffer, and a thread of
//! its own waits for the reader. What does not fit there, or cannot be written, is counted, and told as soon as
//! something can be written again. Records keep their order.

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

/// Records that could not be written. The log is the whole process's, and so is this.
pub(super) static LOST: LazyLock<Counter> = LazyLock::new(Counter::default);

/// The writer of this process's log, once it has one.
static OF_PROCESS: OnceLock<Buffer> = OnceLock::new();

/// Bytes that may wait to be written: some two thousand decisions.
const MOST: usize = 1 << 20;
/// Of the memory for them, what is kept.
const KEPT: usize = 1 << 16;
/// A pipe that takes anything takes as much without waiting (PIPE_BUF in pipe(7)).
const AT_ONCE: usize = 4096;
/// Before a pipe is tried again that somebody has made non-blocking, and that is full.
const PAUSE: Duration = Duration::from_millis(20);
/// How long an end of the process may wait for its last records.
const LAST_WORDS: Duration = Duration::from_millis(300);

thread_local! {
    /// True on the thread that writes: what it has to say of lost records is not lost for want of room.
    static WRITES: Cell<bool> = const { Cell::new(false) };
}

/// Waits until the log is written, but not long. Whatever ends the process calls it.
pub(crate) fn flush_log() {
    if let Some(buffer) = OF_PROCESS.get() {
        buffer.flush(LAST_WORDS);
    }
}

/// Takes whole records: each call of `write` is one.
#[derive(Debug, Clone)]
pub(super) enum Records {
    Buffered(Buffer),
    /// Where no thread can be had.
    AtOnce,
}

impl Records {
    /// Starts the thread, once.
    pub(super) fn to_standard_error() -> Self {
        if let Some(buffer) = OF_PROCESS.get() {
            return Self::Buffered(buffer.clone());
        }
        // A terminal that takes something may wait in the middle of a record.
        let buffer = Buffer::new(!io::stderr().is_terminal());
        let mut pen = Pen::new(buffer.clone());
        let thread = std::thread::Builder::new().name("log".to_owned());
        match thread.spawn(move || pen.run(&mut io::stderr())) {
            Ok(_) => Self::Buffered(OF_PROCESS.get_or_init(|| buffer).clone()),
            Err(_) => Self::AtOnce,
        }
    }
}

impl Write for Records {
    fn write(&mut self, record: &[u8]) -> io::Result<usize> {
        match self {
            Self::Buffered(buffer) => buffer.push(record),
            Self::AtOnce => io::stderr().write_all(record).inspect_err(|_| {
                LOST.inc();
            })?,
        }
        Ok(record.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Records that wait to be written, if any.
#[derive(Debug, Clone)]
pub(super) struct Buffer(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Standard error may be written to without the thread, when it has room.
    directly: bool,
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

#[derive(Debug, Default, PartialEq, Eq)]
enum Thread {
    #[default]
    Busy,
    /// It sleeps until it is woken, and will then have something to say or to repair.
    Idle,
    /// It sleeps, and all is well.
    NotNeeded,
}

#[derive(Debug, Default)]
struct Batch {
    text: Vec<u8>,
    /// Where each record ends.
    ends: Vec<usize>,
    /// The beginning of the first was written already.
    goes_on: bool,
}

impl Buffer {
    fn new(directly: bool) -> Self {
        let (state, filled, emptied) = Default::default();
        Self(Arc::new(Shared { directly, state, filled, emptied }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, record: &[u8]) {
        let mut state = self.state();
        let at_once = state.thread == Thread::NotNeeded && self.0.directly;
        let rest = match at_once && record.len() <= AT_ONCE && has_room() {
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
            state.waiting.goes_on = true;
        }
        if state.waiting.text.len() + rest.len() > MOST && !WRITES.get() {
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

    fn flush(&self, patience: Duration) {
        let until = Instant::now() + patience;
        let left = || until.saturating_duration_since(Instant::now());
        // Never more than so long: a disk that hangs holds whoever writes to it, and this lock.
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

    /// Waits for records and takes all of them, in exchange for a batch that was written.
    fn take(&self, batch: &mut Batch, all_is_well: bool) {
        batch.empty();
        let mut state = self.state();
        while state.waiting.ends.is_empty() {
            state.thread = if all_is_well { Thread::NotNeeded } else { Thread::Idle };
            if state.flushing > 0 {
                self.0.emptied.notify_all();
            }
            state = self.0.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.thread = Thread::Busy;
        mem::swap(&mut state.waiting, batch);
    }
}

/// Whether standard error takes something now.
fn has_room() -> bool {
    let stderr = io::stderr();
    let mut asked = [PollFd::new(&stderr, PollFlags::OUT)];
    let now = Timespec::default();
    matches!(poll(&mut asked, Some(&now)), Ok(1))
        && asked.iter().all(|asked| asked.revents() == PollFlags::OUT)
}

/// Returns what was not written of it.
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
        self.text.shrink_to(KEPT);
        self.ends.clear();
        self.goes_on = false;
    }
}

/// What the thread that writes knows.
#[derive(Debug)]
struct Pen {
    buffer: Buffer,
    /// The last record was written in part.
    torn: bool,
    /// How many lost records have been told of.
    told: u64,
    /// The same, when what is being written has been.
    telling: Option<u64>,
}

impl Pen {
    fn new(buffer: Buffer) -> Self {
        Self { buffer, torn: false, told: LOST.get(), telling: None }
    }

    fn run(&mut self, out: &mut impl Write) {
        WRITES.set(true);
        let mut batch = Batch::default();
        loop {
            self.buffer.take(&mut batch, !self.torn && self.told == LOST.get());
            self.write(out, &batch);
        }
    }

    fn write(&mut self, out: &mut impl Write, batch: &Batch) {
        let telling = self.telling.take();
        if self.torn && write_all(out, b"\n").is_ok() {
            self.torn = false;
        }
        match write_all(out, &batch.text) {
            Ok(()) => {
                self.told = telling.unwrap_or(self.told);
                self.tell();
            }
            Err(written) => {
                let lost = batch.ends.iter().filter(|end| **end > written).count();
                LOST.inc_by(u64::try_from(lost).unwrap_or(u64::MAX));
                self.torn = match written {
                    0 => self.torn || batch.goes_on,
                    written => !batch.ends.contains(&written),
                };
            }
        }
    }

    /// Says what is missing, after all that came before it.
    fn tell(&mut self) {
        let lost = LOST.get();
        if lost > self.told {
            warn!(
                records = lost - self.told,
                "records of the log were lost, because they could not be written in time or at all"
            );
            self.telling = Some(lost);
        }
    }
}

/// Writes, or says how much of it was written before it failed.
fn write_all(out: &mut impl Write, text: &[u8]) -> Result<(), usize> {
    let mut written = 0;
    while let Some(rest) = text.get(written..).filter(|rest| !rest.is_empty()) {
        match out.write(rest) {
            Ok(0) => return Err(written),
            Ok(more) => written += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::thread::sleep(PAUSE),
            Err(_) => return Err(written),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Something to write to, as a test wants it to be.
    struct Paper {
        room: mpsc::Receiver<usize>,
        written: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Paper {
        /// Waits until it is told how much of this there is room for; 0 is an error.
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

    fn paper() -> (Buffer, mpsc::Sender<usize>, Arc<Mutex<Vec<u8>>>) {
        let ((give, room), written) = (mpsc::channel(), Arc::default());
        let buffer = Buffer::new(false);
        let mut paper = Paper { room, written: Arc::clone(&written) };
        let mut pen = Pen::new(buffer.clone());
        std::thread::spawn(move || pen.run(&mut paper));
        (buffer, give, written)
    }

    #[test]
    fn a_writer_that_hangs_holds_nobody_up_and_what_fits_is_written_in_order() {
        let (buffer, room, written) = paper();
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
        // What the thread had taken already did not count against the room.
        assert!((MOST / 100..=2 * MOST / 100).contains(&kept.len()), "{}", kept.len());
        assert!(kept.is_sorted_by(|one, next| one < next));
        assert_eq!(kept[..MOST / 100], (0..MOST / 100).collect::<Vec<_>>());
        assert!(LOST.get() - before >= 30_000 - kept.len() as u64);
    }

    #[test]
    fn a_record_that_was_cut_off_does_not_spoil_the_next() {
        let (buffer, room, written) = paper();
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
