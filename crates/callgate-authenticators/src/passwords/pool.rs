//! Threads for password hashing, with a queue that refuses immediately what would come too late.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError},
    thread,
    time::{Duration, Instant},
};

use callgate::authn::{Decline, Overloaded, SourceKey};
use tokio::sync::oneshot;

use super::{cost::Scratch, queue::FairQueue};

/// Maximum length of the queue, regardless of deadlines.
const MAX_WAITING: usize = 4096;
/// Time left after hashing to sign and send the answer, on threads that compete for the same cores.
const ANSWER_TIME: Duration = Duration::from_millis(10);
/// The assumed duration of a job until one was measured.
const DEFAULT_PACE: Duration = Duration::from_millis(50);

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
/// Sources are served in turn. A job is refused immediately if, at the recent pace, it would not
/// finish before its deadline, and refused unstarted if that turns out later: under overload the
/// threads work only on logins that can still succeed. While a thread is free nothing is refused,
/// whatever the pace: that is how a better one is measured.
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
    queue: FairQueue<Job>,
    busy: usize,
    /// The recent duration of a job.
    pace: Option<Duration>,
    closed: bool,
    /// The number of jobs so far.
    jobs: u64,
}

struct Job {
    number: u64,
    deadline: Instant,
    /// A thread was free when it arrived.
    immediate: bool,
    work: Box<dyn Work>,
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

    /// The number of jobs that wait for a thread.
    pub fn waiting(&self) -> usize {
        self.state.lock().queue.len()
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
        self.state.lock().pace = Some(pace);
    }

    #[cfg(test)]
    pub(super) fn pace(&self) -> Duration {
        self.state.lock().pace()
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
        let immediate = inner.queue.len() + inner.busy < workers;
        if !immediate && inner.end_of(&source, workers) > deadline {
            return Err(Overloaded);
        }
        let displaced = if inner.queue.len() < MAX_WAITING {
            None
        } else {
            Some(inner.queue.make_room_for(&source).ok_or(Overloaded)?)
        };
        inner.jobs += 1;
        let number = inner.jobs;
        inner.queue.push(source.clone(), Job { number, deadline, immediate, work });
        drop(inner);
        self.arrived.notify_one();
        if let Some(job) = displaced {
            job.work.refuse();
        }
        Ok(Ticket { state: self, source, number, in_queue: true })
    }

    /// Waits for the next job that can finish in time; `None` when the pool is dropped.
    fn next(&self) -> Option<Job> {
        let mut inner = self.lock();
        loop {
            if inner.closed {
                return None;
            }
            let Some(job) = inner.queue.pop() else {
                inner = self.arrived.wait(inner).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            if !job.work.is_wanted() {
                continue;
            }
            let too_late = match job.immediate {
                true => Instant::now() >= job.deadline,
                false => inner.end_if_begun_now() > job.deadline,
            };
            if too_late {
                job.work.refuse();
                continue;
            }
            inner.busy += 1;
            return Some(job);
        }
    }

    /// Without `took` nothing was hashed: that says nothing about the duration of a hash.
    fn done(&self, took: Option<Duration>) {
        let mut inner = self.lock();
        inner.busy = inner.busy.saturating_sub(1);
        let Some(took) = took else { return };
        // Moving average over about eight jobs; the first measurement counts in full.
        inner.pace = Some(inner.pace.map_or(took, |pace| (pace * 7 + took) / 8));
    }
}

impl Inner {
    /// When a new job of `source` would finish. The wait for jobs before it counts 1.25 times:
    /// otherwise, with a full queue, many jobs would be refused only when their turn comes.
    fn end_of(&self, source: &SourceKey, workers: usize) -> Instant {
        let ahead = self.queue.ahead_of(source) + self.busy;
        let rounds = ahead.checked_div(workers).unwrap_or(ahead);
        let wait = self.pace().saturating_mul(u32::try_from(rounds).unwrap_or(u32::MAX));
        let wait = wait.saturating_add(wait / 4);
        let begun_now = self.end_if_begun_now();
        begun_now.checked_add(wait).unwrap_or(begun_now)
    }

    /// When a job that begins now would finish, with some reserve.
    fn end_if_begun_now(&self) -> Instant {
        Instant::now() + self.pace() + (self.pace() / 4).max(ANSWER_TIME)
    }

    fn pace(&self) -> Duration {
        self.pace.unwrap_or(DEFAULT_PACE)
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
        let removed = inner.queue.remove(&self.source, |job| job.number == self.number);
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
            while let Some(job) = state.next() {
                let began = Instant::now();
                let derived = scratch.derived();
                job.work.run(&mut scratch);
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
            .field("waiting", &inner.queue.len())
            .field("busy", &inner.busy)
            .field("pace", &inner.pace)
            .finish()
    }
}
