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
/// Between the end of the work and the deadline the answer has yet to be signed and sent, by threads
/// that compete with these for the cores.
const AFTERWARDS: Duration = Duration::from_millis(10);
/// How long a piece of work is taken to last until one was measured.
const UNMEASURED: Duration = Duration::from_millis(50);

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
/// Sources take turns. Work is refused at once if, at the pace of late, it would not be finished
/// before its deadline, and refused unstarted if that turns out later: under overload every thread
/// works on what still helps somebody. While a thread is free nothing is refused, however bad the
/// pace: it is how a better one is learned.
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
    pace: Option<Duration>,
    closed: bool,
    /// How many there have been.
    numbers: u64,
    /// What is done while there is nothing else to do.
    pastime: Option<Pastime>,
}

/// Work in pieces; false says that it is done.
type Pastime = Arc<dyn Fn(&mut Scratch) -> bool + Send + Sync>;

/// What a thread does next.
enum Turn {
    Job(Job),
    Pastime(Pastime),
}

struct Job {
    number: u64,
    deadline: Instant,
    /// It came while a thread was free.
    at_once: bool,
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
        let mut ticket = self.state.push(source, deadline.into_std(), work, workers)?;
        let result = result.await;
        ticket.in_queue = false;
        // The sender goes away unused only with the pool itself.
        result.unwrap_or(Err(Overloaded.into()))
    }

    /// Does `work` while there is nothing else to do, again and again until it says false, on one thread.
    /// It takes the place of what was given here before.
    pub fn when_idle(&self, work: impl Fn(&mut Scratch) -> bool + Send + Sync + 'static) {
        self.state.lock().pastime = Some(Arc::new(work));
        self.started.get_or_init(|| start(self.workers, &self.state));
        self.state.arrived.notify_one();
    }

    /// True if there was ever work for it.
    #[cfg(test)]
    pub(crate) fn is_started(&self) -> bool {
        self.started.get().is_some()
    }

    /// As if each piece of work took this long of late.
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

    fn push(
        &self,
        source: SourceKey,
        deadline: Instant,
        work: Box<dyn Work>,
        workers: usize,
    ) -> Result<Ticket<'_>, Overloaded> {
        let mut inner = self.lock();
        let at_once = inner.queue.len() + inner.busy < workers;
        if !at_once && inner.end_of(&source, workers) > deadline {
            return Err(Overloaded);
        }
        let made_room = if inner.queue.len() < MOST_WAITING {
            None
        } else {
            Some(inner.queue.make_room_for(&source).ok_or(Overloaded)?)
        };
        inner.numbers += 1;
        let number = inner.numbers;
        inner.queue.push(source.clone(), Job { number, deadline, at_once, work });
        drop(inner);
        self.arrived.notify_one();
        if let Some(job) = made_room {
            job.work.refuse();
        }
        Ok(Ticket { state: self, source, number, in_queue: true })
    }

    /// The next job that is worth doing, or else the pastime; `None` when the pool is gone.
    fn next(&self) -> Option<Turn> {
        let mut inner = self.lock();
        loop {
            if inner.closed {
                return None;
            }
            let Some(job) = inner.queue.pop() else {
                if let Some(pastime) = inner.begin_pastime() {
                    return Some(Turn::Pastime(pastime));
                }
                inner = self.arrived.wait(inner).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            if !job.work.is_wanted() {
                continue;
            }
            let too_late = match job.at_once {
                true => Instant::now() >= job.deadline,
                false => inner.end_if_begun_now() > job.deadline,
            };
            if too_late {
                job.work.refuse();
                continue;
            }
            inner.busy += 1;
            return Some(Turn::Job(job));
        }
    }

    fn pass_time(&self, pastime: &Pastime, scratch: &mut Scratch) {
        let goes_on =
            catch_unwind(AssertUnwindSafe(|| pastime(scratch))).unwrap_or_else(|_panic| {
                *scratch = Scratch::default();
                false
            });
        let mut inner = self.lock();
        inner.busy = inner.busy.saturating_sub(1);
        if !goes_on && inner.pastime.as_ref().is_some_and(|now| Arc::ptr_eq(now, pastime)) {
            inner.pastime = None;
        }
    }

    /// `took` is missing if nothing was hashed: that tells nothing of how long a hash takes.
    fn done(&self, took: Option<Duration>) {
        let mut inner = self.lock();
        inner.busy = inner.busy.saturating_sub(1);
        let Some(took) = took else { return };
        // Moving average over about eight; the first measurement counts whole.
        inner.pace = Some(inner.pace.map_or(took, |pace| (pace * 7 + took) / 8));
    }
}

impl Inner {
    fn begin_pastime(&mut self) -> Option<Pastime> {
        let pastime = self.pastime.clone().filter(|_| self.busy == 0)?;
        self.busy += 1;
        Some(pastime)
    }

    /// When new work of `source` would be finished, with a reserve of a quarter of the wait for
    /// others who have their turn before. Without it a full queue is one where everybody is nearly
    /// too late, and many would be refused only when their turn comes.
    fn end_of(&self, source: &SourceKey, workers: usize) -> Instant {
        let ahead = self.queue.ahead_of(source) + self.busy;
        let rounds = ahead.checked_div(workers).unwrap_or(ahead);
        let wait = self.pace().saturating_mul(u32::try_from(rounds).unwrap_or(u32::MAX));
        let wait = wait.saturating_add(wait / 4);
        let begun_now = self.end_if_begun_now();
        begun_now.checked_add(wait).unwrap_or(begun_now)
    }

    /// When work would be finished that begins now, with some reserve.
    fn end_if_begun_now(&self) -> Instant {
        Instant::now() + self.pace() + (self.pace() / 4).max(AFTERWARDS)
    }

    fn pace(&self) -> Duration {
        self.pace.unwrap_or(UNMEASURED)
    }
}

/// Whoever waits for work; if it goes away, the work leaves the queue.
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
        // What a job holds may be anything: it is not dropped under the lock.
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
            while let Some(turn) = state.next() {
                let job = match turn {
                    Turn::Job(job) => job,
                    Turn::Pastime(pastime) => {
                        state.pass_time(&pastime, &mut scratch);
                        continue;
                    }
                };
                let (began, derived) = (Instant::now(), scratch.derived());
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
