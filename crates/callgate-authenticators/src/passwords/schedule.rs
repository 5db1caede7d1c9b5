//! Which password is hashed next, and which login is refused because it cannot finish in time.
//!
//! Time is an argument, and nothing here waits: [`super::pool`] runs what this module selects.

use std::time::{Duration, Instant};

use callgate::authn::{Overloaded, SourceKey};

use super::{
    queue::RankedQueue,
    sources::{Sources, Standing},
};

/// Maximum length of the queue, regardless of deadlines.
const MAX_WAITING: usize = 4096;
/// Time left after hashing to sign and send the answer, on threads that compete for the same cores.
const ANSWER_TIME: Duration = Duration::from_millis(10);
/// The assumed duration of a job until one was measured.
const DEFAULT_PACE: Duration = Duration::from_millis(50);

/// Jobs that wait, and what is known about their sources and about the duration of a job.
#[derive(Debug)]
pub(super) struct Schedule<J> {
    queue: RankedQueue<Waiting<J>>,
    sources: Sources,
    busy: usize,
    /// The recent duration of a job.
    pace: Option<Duration>,
    /// The number of jobs so far.
    jobs: u64,
}

#[derive(Debug)]
struct Waiting<J> {
    number: u64,
    deadline: Instant,
    /// A thread was free when it arrived.
    immediate: bool,
    job: J,
}

/// A job that was accepted, and the one that it replaces.
#[derive(Debug)]
pub(super) struct Accepted<J> {
    pub(super) number: u64,
    pub(super) shed: Option<J>,
}

/// The job to start now, and those that can no longer finish in time.
#[derive(Debug)]
pub(super) struct Selection<J> {
    pub(super) start: Option<J>,
    pub(super) shed: Vec<J>,
}

impl<J> Default for Schedule<J> {
    fn default() -> Self {
        Self {
            queue: RankedQueue::default(),
            sources: Sources::default(),
            busy: 0,
            pace: None,
            jobs: 0,
        }
    }
}

impl<J> Schedule<J> {
    /// Queues a job of `source` for one of `workers` threads.
    ///
    /// # Errors
    /// If it cannot finish before `deadline`, and no source that it outranks can make room.
    pub(super) fn submit(
        &mut self,
        source: &SourceKey,
        deadline: Instant,
        job: J,
        workers: usize,
        now: Instant,
    ) -> Result<Accepted<J>, Overloaded> {
        self.sources.attempt(source, now);
        let standing = self.sources.standing(source, now);
        self.queue.restate(source, standing);
        let immediate = self.queue.len() + self.busy < workers;
        let in_time = immediate || self.end_of(source, standing, workers, now) <= deadline;
        let shed = if in_time && self.queue.len() < MAX_WAITING {
            None
        } else {
            Some(self.make_room(source, standing, in_time).ok_or(Overloaded)?)
        };
        self.jobs += 1;
        let number = self.jobs;
        let waiting = Waiting { number, deadline, immediate, job };
        self.queue.push(source.clone(), standing, waiting);
        Ok(Accepted { number, shed: shed.map(|waiting| waiting.job) })
    }

    /// The next job that can finish in time. It counts as running until [`Self::finished`].
    pub(super) fn next(&mut self, now: Instant) -> Selection<J> {
        let end = self.end_if_begun_at(now);
        let too_late = |waiting: &Waiting<J>| match waiting.immediate {
            true => now >= waiting.deadline,
            false => end > waiting.deadline,
        };
        let shed = self.queue.extract(too_late);
        let start = self.queue.pop();
        self.busy += usize::from(start.is_some());
        Selection {
            start: start.map(|waiting| waiting.job),
            shed: shed.into_iter().map(|waiting| waiting.job).collect(),
        }
    }

    /// A job has ended. Without `took` nothing was hashed, which says nothing about the duration of
    /// a hash.
    pub(super) fn finished(&mut self, took: Option<Duration>) {
        self.busy = self.busy.saturating_sub(1);
        let Some(took) = took else { return };
        // Moving average over about eight jobs; the first measurement counts in full.
        self.pace = Some(self.pace.map_or(took, |pace| (pace * 7 + took) / 8));
    }

    /// Records whether a password of `source` was correct.
    pub(super) fn record(&mut self, source: &SourceKey, correct: bool, now: Instant) {
        self.sources.record(source, correct, now);
        self.queue.restate(source, self.sources.standing(source, now));
    }

    /// Removes a job whose caller stopped waiting.
    pub(super) fn cancel(&mut self, source: &SourceKey, number: u64) -> Option<J> {
        self.queue.remove(source, |waiting| waiting.number == number).map(|waiting| waiting.job)
    }

    pub(super) fn waiting(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn busy(&self) -> usize {
        self.busy
    }

    pub(super) fn pace(&self) -> Duration {
        self.pace.unwrap_or(DEFAULT_PACE)
    }

    #[cfg(test)]
    pub(super) fn set_pace(&mut self, pace: Duration) {
        self.pace = Some(pace);
    }

    fn make_room(
        &mut self,
        source: &SourceKey,
        standing: Standing,
        in_time: bool,
    ) -> Option<Waiting<J>> {
        let shed = self.queue.shed_for(source, standing);
        shed.or_else(|| in_time.then(|| self.queue.shed_longest_for(source)).flatten())
    }

    /// When a new job of `source` would finish. The wait for jobs before it counts 1.25 times:
    /// otherwise, with a full queue, many jobs would be refused only when their turn comes.
    fn end_of(
        &self,
        source: &SourceKey,
        standing: Standing,
        workers: usize,
        now: Instant,
    ) -> Instant {
        let ahead = self.queue.ahead_of(source, standing) + self.busy;
        let rounds = ahead.checked_div(workers).unwrap_or(ahead);
        let wait = self.pace().saturating_mul(u32::try_from(rounds).unwrap_or(u32::MAX));
        let wait = wait.saturating_add(wait / 4);
        let begun_now = self.end_if_begun_at(now);
        begun_now.checked_add(wait).unwrap_or(begun_now)
    }

    /// When a job that begins at `now` would finish, with some reserve.
    fn end_if_begun_at(&self, now: Instant) -> Instant {
        now + self.pace() + (self.pace() / 4).max(ANSWER_TIME)
    }
}

#[cfg(test)]
mod tests;
