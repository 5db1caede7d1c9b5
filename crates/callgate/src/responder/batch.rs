//! Decides in sequence the requests that arrived together, and replies to them together.
//!
//! A decision that waits for nothing takes less time than waking another thread for it and writing its
//! reply separately. One that waits, or that may block its thread, gets a task of its own.

use std::{sync::Arc, task::Poll, time::Duration};

use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::{Decided, Replies};

/// Requests that are taken together from the subscription.
pub(super) const MAX_BATCH: usize = 64;
/// Requests that one task decides in sequence: the first waits a millisecond for the last.
const MAX_SEQUENCE: usize = 16;
/// Fewer are not worth another task: waking a thread takes a good part of a decision.
const MIN_SEQUENCE: usize = 8;
/// After a decision that blocked its thread for longer, the others do not wait any more.
const MAX_BLOCKED: Duration = Duration::from_millis(2);

/// A decision that is not made yet.
pub(super) type PendingDecision = BoxFuture<'static, Decided>;

/// Decides and answers a batch: in sequence, by as many tasks as there are `threads`, or, unless the
/// decider never blocks, each in a task of its own.
pub(super) fn decide(
    replies: &Arc<Replies>,
    mut batch: Vec<PendingDecision>,
    never_blocks: bool,
    threads: usize,
) {
    if !never_blocks {
        batch.into_iter().for_each(|pending| spawn(replies, pending));
        return;
    }
    let length = batch.len().div_ceil(threads.max(1)).clamp(MIN_SEQUENCE, MAX_SEQUENCE);
    while !batch.is_empty() {
        let rest = batch.split_off(length.min(batch.len()));
        tokio::spawn(in_sequence(Arc::clone(replies), batch));
        batch = rest;
    }
}

fn spawn(replies: &Arc<Replies>, pending: PendingDecision) {
    let replies = Arc::clone(replies);
    tokio::spawn(async move { replies.send(pending.await).await });
}

async fn in_sequence(replies: Arc<Replies>, batch: Vec<PendingDecision>) {
    let mut decided = Vec::with_capacity(batch.len());
    let mut batch = batch.into_iter();
    for mut pending in batch.by_ref() {
        let started = Instant::now();
        match futures_util::poll!(&mut pending) {
            Poll::Ready(done) => decided.push(done),
            Poll::Pending => spawn(&replies, pending),
        }
        if started.elapsed() > MAX_BLOCKED {
            break;
        }
    }
    for pending in batch {
        spawn(&replies, pending);
    }
    for done in decided {
        replies.send(done).await;
    }
}

#[cfg(test)]
mod tests {
    use std::{future::pending, thread};

    use tokio::{
        sync::{Semaphore, mpsc, oneshot},
        task,
    };

    use super::*;
    use crate::reply::Outgoing;

    /// Reports the task in which each decision was made.
    struct Bench {
        replies: Arc<Replies>,
        report: mpsc::UnboundedSender<task::Id>,
        tasks: mpsc::UnboundedReceiver<task::Id>,
    }

    impl Bench {
        async fn new() -> Self {
            let replies = Replies::disconnected().await;
            let (report, tasks) = mpsc::unbounded_channel();
            Self { replies, report, tasks }
        }

        fn pending(&self, blocking: Duration) -> PendingDecision {
            let report = self.report.clone();
            Box::pin(async move {
                thread::sleep(blocking);
                report.send(task::id()).unwrap();
                decided().await
            })
        }

        async fn tasks<const N: usize>(&mut self) -> [task::Id; N] {
            let mut tasks = Vec::new();
            self.tasks.recv_many(&mut tasks, N).await;
            while tasks.len() < N {
                tasks.push(self.tasks.recv().await.unwrap());
            }
            tasks.try_into().unwrap()
        }
    }

    async fn decided() -> Decided {
        let permit = Arc::new(Semaphore::new(1)).acquire_owned().await.unwrap();
        let outgoing = Outgoing::Nothing;
        Decided { reply: "_INBOX.1".into(), outgoing, permit, arrived: Instant::now() }
    }

    const NONE: Duration = Duration::ZERO;

    // The clock is paused, so that no decision takes long.
    #[tokio::test(start_paused = true)]
    async fn batch_is_divided_between_as_many_tasks_as_threads() {
        let mut bench = Bench::new().await;
        let batch = (0..20).map(|_| bench.pending(NONE)).collect();
        decide(&bench.replies, batch, true, 2);
        let tasks = bench.tasks::<20>().await;
        let (first, second) = tasks.split_at(10);
        assert!(first.iter().all(|task| task == first.first().unwrap()), "{tasks:?}");
        assert!(second.iter().all(|task| task == second.first().unwrap()), "{tasks:?}");
        assert_ne!(first.first(), second.first());
    }

    #[tokio::test]
    async fn waiting_decision_does_not_delay_the_batch() {
        let mut bench = Bench::new().await;
        let waiting: PendingDecision = Box::pin(pending());
        let batch = vec![waiting, bench.pending(NONE)];
        decide(&bench.replies, batch, true, 1);
        bench.tasks::<1>().await;
    }

    #[tokio::test]
    async fn waiting_decision_is_answered_when_made() {
        let bench = Bench::new().await;
        let (go, gone) = oneshot::channel();
        let (finish, finished) = oneshot::channel();
        let pending = Box::pin(async move {
            gone.await.unwrap();
            finish.send(()).unwrap();
            decided().await
        });
        decide(&bench.replies, vec![pending], true, 1);
        // It was polled once and now waits in a task of its own.
        task::yield_now().await;
        go.send(()).unwrap();
        finished.await.unwrap();
    }

    #[tokio::test]
    async fn after_a_blocking_decision_each_has_its_own_task() {
        let mut bench = Bench::new().await;
        let slow = bench.pending(MAX_BLOCKED * 2);
        let batch = vec![slow, bench.pending(NONE), bench.pending(NONE)];
        decide(&bench.replies, batch, true, 1);
        let [slow, second, third] = bench.tasks().await;
        assert!(slow != second && second != third && slow != third);
    }

    #[tokio::test]
    async fn possibly_blocking_decisions_get_their_own_tasks() {
        let mut bench = Bench::new().await;
        let batch = (0..3).map(|_| bench.pending(NONE)).collect();
        decide(&bench.replies, batch, false, 1);
        let [first, second, third] = bench.tasks().await;
        assert!(first != second && second != third && first != third);
    }
}
