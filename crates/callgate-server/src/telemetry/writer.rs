//! A log that nobody waits for: records go to a bounded buffer, and a thread of its own writes them to
//! standard error.
//!
//! Writing may take for ever (a pipe that nobody reads), and whoever writes on the event loop stops it.
//! What does not fit into the buffer, or cannot be written, is counted, and told as soon as something can be
//! written again. Records keep their order.

use std::{
    cell::Cell,
    io::{self, Write},
    mem,
    sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use prometheus_client::metrics::counter::Counter;
use tracing::warn;

/// Records that could not be written. The log is the whole process's, and so is this.
pub(super) static LOST: LazyLock<Counter> = LazyLock::new(Counter::default);

/// The writer of this process's log, once it has one.
static OF_PROCESS: OnceLock<Buffer> = OnceLock::new();

/// Bytes that may wait to be written: some two thousand decisions.
const MOST: usize = 1 << 20;
/// Of the memory for them, what is kept.
const KEPT: usize = 1 << 16;
/// Before a pipe is tried again that somebody has made non-blocking, and that is full.
const PAUSE: Duration = Duration::from_millis(20);
/// After something was written, how long more is gathered: to wake a thread for each record costs more than
/// to write it.
const GATHER: Duration = Duration::from_millis(5);
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
        let buffer = Buffer::default();
        let mut pen = Pen { buffer: buffer.clone(), torn: false, told: 0, telling: None };
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

/// Records that wait to be written.
#[derive(Debug, Clone, Default)]
pub(super) struct Buffer(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    filled: Condvar,
    emptied: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: Batch,
    writer: Writer,
    flushing: usize,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Writer {
    #[default]
    Busy,
    /// It sleeps until it is woken.
    Idle,
}

#[derive(Debug, Default)]
struct Batch {
    text: Vec<u8>,
    /// Where each record ends.
    ends: Vec<usize>,
}

impl Buffer {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, record: &[u8]) {
        let mut state = self.state();
        if state.waiting.text.len() + record.len() > MOST && !WRITES.get() {
            drop(state);
            LOST.inc();
            return;
        }
        state.waiting.push(record);
        // To wake it costs a system call: only if it sleeps.
        if mem::take(&mut state.writer) == Writer::Idle {
            drop(state);
            self.0.filled.notify_one();
        }
    }

    fn flush(&self, patience: Duration) {
        let until = Instant::now() + patience;
        let mut state = self.state();
        state.flushing += 1;
        self.0.filled.notify_one();
        while state.writer == Writer::Busy {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.0.emptied.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.flushing -= 1;
    }

    /// Waits for records and takes all of them, in exchange for a batch that was written.
    fn take(&self, batch: &mut Batch) {
        batch.empty();
        let gathering = |state: &mut State| state.flushing == 0;
        let gathered = self.0.filled.wait_timeout_while(self.state(), GATHER, gathering);
        let mut state = gathered.unwrap_or_else(PoisonError::into_inner).0;
        while state.waiting.ends.is_empty() {
            state.writer = Writer::Idle;
            if state.flushing > 0 {
                self.0.emptied.notify_all();
            }
            state = self.0.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.writer = Writer::Busy;
        mem::swap(&mut state.waiting, batch);
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
    fn run(&mut self, out: &mut impl Write) {
        WRITES.set(true);
        let mut batch = Batch::default();
        loop {
            self.buffer.take(&mut batch);
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
                self.torn |= written > 0 && !batch.ends.contains(&written);
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
        let ((give, room), written, buffer) = (mpsc::channel(), Arc::default(), Buffer::default());
        let mut paper = Paper { room, written: Arc::clone(&written) };
        let mut pen = Pen { buffer: buffer.clone(), torn: false, told: u64::MAX, telling: None };
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
