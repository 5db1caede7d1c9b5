//! Threads for password hashing, with a queue that refuses at once what would come too late.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError},
    thread,
    time::{Duration, Instant},
};

use callgate::authn::{Decline, Overloaded, SourceKey};
use tokio::sync::oneshot;

use super::{cost::Scratch, queue::FairQueue};

/// Whatever the estimate says, no more than this many wait.
const MOST_WAITING: usize = 4096;

/// Why there is no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    /// It could not be done before the deadline.
    #[error(transparent)]
    Overloaded(#[from] Overloaded),
    /// The work panicked.
    #[error("verifying the password panicked; this is a bug")]
    Panicked,
    /// The system gave no threads.
    #[error("the system gave no thread to hash passwords on")]
    NoThreads,
}

impl From<PoolError> for Decline {
    fn from(error: PoolError) -> Self {
        match error {
            // Unwrapped, because the chain looks for it.
            PoolError::Overloaded(overloaded) => Self::Unavailable(Box::new(overloaded)),
            PoolError::Panicked | PoolError::NoThreads => Self::Unavailable(Box::new(error)),
        }
    }
}

/// A fixed number of threads, started when the first work arrives.
///
/// Sources take turns. Work is refused at once if, at the pace of late, it would not begin before
/// its deadline; it is dropped unstarted if its deadline has passed or nobody waits for it any more.
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
    /// How long one piece of work takes of late.
    pace: Duration,
    closed: bool,
}

struct Job {
    deadline: Instant,
    work: Box<dyn Work>,
}

/// A piece of work and the way back to whoever waits for it.
trait Work: Send {
    fn is_wanted(&self) -> bool;
    fn run(self: Box<Self>, scratch: &mut Scratch);
    fn refuse(self: Box<Self>);
}

struct Waiting<F, T> {
    work: F,
    answer: oneshot::Sender<Result<T, PoolError>>,
}

impl<F: FnOnce(&mut Scratch) -> T + Send, T: Send> Work for Waiting<F, T> {
    fn is_wanted(&self) -> bool {
        !self.answer.is_closed()
    }

    fn run(self: Box<Self>, scratch: &mut Scratch) {
        let Self { work, answer } = *self;
        let result = catch_unwind(AssertUnwindSafe(|| work(scratch)));
        if result.is_err() {
            *scratch = Scratch::default();
        }
        // Nobody may be waiting any more; then nobody misses the answer.
        let _unheard = answer.send(result.map_err(|_panic| PoolError::Panicked));
    }

    fn refuse(self: Box<Self>) {
        let _unheard = self.answer.send(Err(Overloaded.into()));
    }
}

impl PasswordPool {
    /// A pool of `workers` threads, at least one.
    pub fn new(workers: usize) -> Self {
        Self { workers: workers.max(1), state: Arc::default(), started: OnceLock::new() }
    }

    /// Does `work` on one of the threads, for `source`, before `deadline`.
    ///
    /// # Errors
    /// [`PoolError::Overloaded`] if it cannot be done in time; [`PoolError::Panicked`] if it panics.
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
        let (answer, result) = oneshot::channel();
        let work = Box::new(Waiting { work, answer });
        self.state.push(source, Job { deadline: deadline.into_std(), work }, workers)?;
        // The sender goes away unused only with the pool itself.
        result.await.unwrap_or(Err(Overloaded.into()))
    }

    /// As if each piece of work took this long of late.
    #[cfg(test)]
    pub(super) fn at_pace(self, pace: Duration) -> Self {
        self.state.lock().pace = pace;
        self
    }

    /// How many wait for a thread.
    pub fn waiting(&self) -> usize {
        self.state.lock().queue.len()
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

    fn push(&self, source: SourceKey, job: Job, workers: usize) -> Result<(), Overloaded> {
        let mut inner = self.lock();
        if inner.queue.len() >= MOST_WAITING {
            return Err(Overloaded);
        }
        if Instant::now() + inner.wait_of(&source, workers) > job.deadline {
            return Err(Overloaded);
        }
        inner.queue.push(source, job);
        drop(inner);
        self.arrived.notify_one();
        Ok(())
    }

    /// The next job that is worth doing; `None` when the pool is gone.
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
            if job.deadline <= Instant::now() {
                job.work.refuse();
                continue;
            }
            inner.busy += 1;
            return Some(job);
        }
    }

    fn done(&self, took: Duration) {
        let mut inner = self.lock();
        inner.busy = inner.busy.saturating_sub(1);
        // Moving average over about eight; the first measurement counts whole.
        inner.pace = match inner.pace {
            Duration::ZERO => took,
            pace => (pace * 7 + took) / 8,
        };
    }
}

impl Inner {
    /// How long new work of `source` would wait. Its own time does not count: otherwise one slow
    /// measurement could refuse all work, and with it every better measurement, for ever.
    fn wait_of(&self, source: &SourceKey, workers: usize) -> Duration {
        let ahead = self.queue.ahead_of(source) + self.busy;
        let rounds = ahead.checked_div(workers).unwrap_or(ahead);
        self.pace.saturating_mul(u32::try_from(rounds).unwrap_or(u32::MAX))
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
                job.work.run(&mut scratch);
                state.done(began.elapsed());
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
