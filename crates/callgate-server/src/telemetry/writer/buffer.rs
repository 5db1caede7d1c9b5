//! The bounded buffer between the threads that log and the writing thread.

use std::{
    io::{self, Write},
    mem,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError},
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{IS_ADMISSION, IS_WRITER, count_lost};

/// Capacity in bytes: about two thousand decisions.
pub(super) const MAX_BUFFERED: usize = 1 << 20;
/// The part of it that only admissions may use.
pub(super) const RESERVED_FOR_ADMISSIONS: usize = MAX_BUFFERED / 4;
/// Memory that is kept allocated.
const MIN_ALLOCATED: usize = 1 << 16;
/// A pipe that has room takes this much without blocking (PIPE_BUF in pipe(7)).
const MAX_DIRECT: usize = 4096;

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

/// See the table in the parent module.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) enum Thread {
    #[default]
    Busy,
    Idle,
    NotNeeded,
}

#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) text: Vec<u8>,
    pub(super) ends: Vec<End>,
    /// The beginning of the first record was written already.
    pub(super) continues: bool,
}

/// Where a record ends.
#[derive(Debug, Clone, Copy)]
pub(super) struct End {
    pub(super) at: usize,
    pub(super) is_admission: bool,
}

impl Buffer {
    pub(super) fn new(direct: bool) -> Self {
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

    pub(super) fn push(&self, record: &[u8]) {
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

    pub(super) fn flush(&self, timeout: Duration) {
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
    pub(super) fn take(&self, batch: &mut Batch, needed: bool) {
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
