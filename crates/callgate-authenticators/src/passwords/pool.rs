//! Threads for password hashing, with a queue that refuses immediately what would come too late.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError},
    thread,
    time::{Duration, Instant},
};

use callgate::authn::{Decline, Overloaded, SourceKey};
use tokio::sync::oneshot;

use super::{
    cost::Scratch,
    schedule::{Accepted, Schedule, Selection},
};

/// Why there is no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    /// The job would not have finished before its deadline.
    #[error(transparent)]
    Overloaded(#[from] Overloaded),
    /// The job panicked.
    #[error("verifying the password panicked; this is a bug")]
    Panicked,
    /// The system could not start a thread.
    #[error("the system could not start a thread to hash passwords")]
    NoThreads,
}

impl From<PoolError> for Decline {
    fn from(error: PoolError) -> Self {
        match error {
            // Unwrapped, because the chain looks for this type.
            PoolError::Overloaded(overloaded) => Self::Unavailable(Box::new(overloaded)),
            PoolError::Panicked | PoolError::NoThreads => Self::Unavailable(Box::new(error)),
        }
    }
}

/// A fixed number of threads, started with the first job.
///
/// Sources whose last login succeeded and new sources take turns; sources that keep sending wrong
/// passwords get what these leave. Within a class, the source with fewer recent attempts comes first.
///
/// A job is refused immediately if, at the recent pace, it would not finish before its deadline, and
/// refused unstarted if that turns out later: under overload the threads work only on logins that can
/// still succeed. A waiting job of a lower-ranked source is refused first. While a thread is free
/// nothing is refused, whatever the pace: that is how a better one is measured.
#[derive(Debug)]
pub struct PasswordPool {
    workers: usize,
    state: Arc<State>,
    started: OnceLock<usize>,
}

#[derive(Default)]
struct State {
    inner: Mutex<Inner>,
    arrived: Condvar,
}

#[derive(Default)]
struct Inner {
    schedule: Schedule<Box<dyn Work>>,
    closed: bool,
}

/// The work of a job and the channel for its result.
trait Work: Send {
    fn is_wanted(&self) -> bool;
    fn run(self: Box<Self>, scratch: &mut Scratch);
    fn refuse(self: Box<Self>);
}

struct Waiting<F, T> {
    work: F,
    result: oneshot::Sender<Result<T, PoolError>>,
}

impl<F: FnOnce(&mut Scratch) -> T + Send, T: Send> Work for Waiting<F, T> {
    fn is_wanted(&self) -> bool {
        !self.result.is_closed()
    }

    fn run(self: Box<Self>, scratch: &mut Scratch) {
        let Self { work, result } = *self;
        let outcome = catch_unwind(AssertUnwindSafe(|| work(scratch)));
        if outcome.is_err() {
            *scratch = Scratch::default();
        }
        let _receiver_gone = result.send(outcome.map_err(|_panic| PoolError::Panicked));
    }

    fn refuse(self: Box<Self>) {
        let _receiver_gone = self.result.send(Err(Overloaded.into()));
    }
}

impl PasswordPool {
    /// A pool of `workers` threads, at least one.
    pub fn new(workers: usize) -> Self {
        Self { workers: workers.max(1), state: Arc::default(), started: OnceLock::new() }
    }

    /// Runs `work` on one of the threads, for `source`, before `deadline`.
    ///
    /// # Errors
    /// [`PoolError::Overloaded`] if it cannot finish in time; [`PoolError::Panicked`] if it panics.
    pub async fn run<T: Send + 'static>(
        &self,
        source: SourceKey,
        deadline: tokio::time::Instant,
        work: impl FnOnce(&mut Scratch) -> T + Send + 'static,
    ) -> Result<T, PoolError> {
        let workers = *self.started.get_or_init(|| start(self.workers, &self.state));
        if workers == 0 {
            return Err(PoolError::NoThreads);
        }
        let (sender, result) = oneshot::channel();
        let work = Box::new(Waiting { work, result: sender });
        let mut ticket = self.state.push(source, deadline.into_std(), work, workers)?;
        let result = result.await;
        ticket.in_queue = false;
        // The sender is dropped unused only together with the pool.
        result.unwrap_or(Err(Overloaded.into()))
    }

    /// Records whether a password that `source` sent was correct, which decides where the source's
    /// next login stands in the queue.
    pub fn record(&self, source: &SourceKey, correct: bool) {
        self.state.lock().schedule.record(source, correct, Instant::now());
    }

    /// The number of jobs that wait for a thread.
    pub fn waiting(&self) -> usize {
        self.state.lock().schedule.waiting()
    }

    /// True if there was ever a job.
    #[cfg(test)]
    pub(crate) fn is_started(&self) -> bool {
        self.started.get().is_some()
    }

    /// Sets the recent duration of a job.
    #[cfg(test)]
    pub(super) fn at_pace(self, pace: Duration) -> Self {
        self.set_pace(pace);
        self
    }

    #[cfg(test)]
    pub(super) fn set_pace(&self, pace: Duration) {
        self.state.lock().schedule.set_pace(pace);
    }

    #[cfg(test)]
    pub(super) fn pace(&self) -> Duration {
        self.state.lock().schedule.pace()
    }
}

impl Drop for PasswordPool {
    fn drop(&mut self) {
        self.state.lock().closed = true;
        self.state.arrived.notify_all();
    }
}

impl State {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(
        &self,
        source: SourceKey,
        deadline: Instant,
        work: Box<dyn Work>,
        workers: usize,
    ) -> Result<Ticket<'_>, Overloaded> {
        let mut inner = self.lock();
        let now = Instant::now();
        let accepted = inner.schedule.submit(&source, deadline, work, workers, now);
        drop(inner);
        let Accepted { number, shed } = accepted?;
        self.arrived.notify_one();
        if let Some(work) = shed {
            work.refuse();
        }
        Ok(Ticket { state: self, source, number, in_queue: true })
    }

    /// Waits for the next job that can finish in time; `None` when the pool is dropped.
    fn next(&self) -> Option<Box<dyn Work>> {
        let mut inner = self.lock();
        loop {
            if inner.closed {
                return None;
            }
            let Selection { start, shed } = inner.schedule.next(Instant::now());
            if start.is_none() && shed.is_empty() {
                inner = self.arrived.wait(inner).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            drop(inner);
            shed.into_iter().for_each(|work| work.refuse());
            match start {
                Some(work) if work.is_wanted() => return Some(work),
                Some(_) => self.done(None),
                None => {}
            }
            inner = self.lock();
        }
    }

    fn done(&self, took: Option<Duration>) {
        self.lock().schedule.finished(took);
    }
}

/// Removes the job from the queue if its caller stops waiting.
struct Ticket<'a> {
    state: &'a State,
    source: SourceKey,
    number: u64,
    in_queue: bool,
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        if !self.in_queue {
            return;
        }
        let mut inner = self.state.lock();
        let removed = inner.schedule.cancel(&self.source, self.number);
        // The job is dropped outside the lock, because it may own anything.
        drop(inner);
        drop(removed);
    }
}

fn start(workers: usize, state: &Arc<State>) -> usize {
    let started = (0..workers).map_while(|number| {
        let state = Arc::clone(state);
        let thread = thread::Builder::new().name(format!("password-{number}"));
        let work = move || {
            let mut scratch = Scratch::default();
            while let Some(work) = state.next() {
                let began = Instant::now();
                let derived = scratch.derived();
                work.run(&mut scratch);
                state.done((scratch.derived() != derived).then(|| began.elapsed()));
            }
        };
        let spawned = thread.spawn(work);
        spawned.inspect_err(|error| tracing::error!(%error, "cannot start a password thread")).ok()
    });
    started.count()
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let inner = self.lock();
        f.debug_struct("State")
            .field("waiting", &inner.schedule.waiting())
            .field("busy", &inner.schedule.busy())
            .field("pace", &inner.schedule.pace())
            .finish()
    }
}
