//! Decides in turn what has arrived together, and answers it together.
//!
//! A decision that waits for nothing takes less time than to wake another thread for it and to write
//! its answer by itself. One that waits, or that may hold up its thread, gets a task of its own.

use std::{sync::Arc, task::Poll, time::Duration};

use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::{Answering, Decided};

/// Requests that are taken at once from what has arrived.
pub(super) const MOST_TOGETHER: usize = 64;
/// So many are decided in turn at most: the first waits a millisecond for the last.
const MOST_IN_TURN: usize = 16;
/// Fewer are not worth another thread: to wake it takes as long as a part of a decision.
const LEAST_IN_TURN: usize = 8;
/// Whoever holds up a thread for longer is not waited for by the others.
const TOO_LONG: Duration = Duration::from_millis(2);

/// A decision that is not taken yet.
pub(super) type Deciding = BoxFuture<'static, Decided>;

/// Has all of them decided and answered: in turn, by as many tasks as there are `workers`, or each by
/// a task of its own, if they may hold up their threads.
pub(super) fn decide(
    answering: &Arc<Answering>,
    mut undecided: Vec<Deciding>,
    in_turn: bool,
    workers: usize,
) {
    if !in_turn {
        undecided.into_iter().for_each(|deciding| alone(answering, deciding));
        return;
    }
    let most = undecided.len().div_ceil(workers.max(1)).clamp(LEAST_IN_TURN, MOST_IN_TURN);
    while !undecided.is_empty() {
        let rest = undecided.split_off(most.min(undecided.len()));
        tokio::spawn(one_after_another(Arc::clone(answering), undecided));
        undecided = rest;
    }
}

fn alone(answering: &Arc<Answering>, deciding: Deciding) {
    let answering = Arc::clone(answering);
    tokio::spawn(async move { answering.send(deciding.await).await });
}

async fn one_after_another(answering: Arc<Answering>, undecided: Vec<Deciding>) {
    let mut decided = Vec::with_capacity(undecided.len());
    let mut undecided = undecided.into_iter();
    for mut deciding in undecided.by_ref() {
        let begun = Instant::now();
        match futures_util::poll!(&mut deciding) {
            Poll::Ready(done) => decided.push(done),
            Poll::Pending => alone(&answering, deciding),
        }
        if begun.elapsed() > TOO_LONG {
            break;
        }
    }
    for deciding in undecided {
        alone(&answering, deciding);
    }
    for done in decided {
        answering.send(done).await;
    }
}

#[cfg(test)]
mod tests {
    use std::{future::pending, thread};

    use tokio::{
        sync::{Semaphore, mpsc},
        task,
    };

    use super::*;
    use crate::pipeline::Handled;

    /// Tells the task in which each decision was taken.
    struct Bench {
        answering: Arc<Answering>,
        told: mpsc::UnboundedSender<task::Id>,
        tasks: mpsc::UnboundedReceiver<task::Id>,
    }

    impl Bench {
        async fn new() -> Self {
            let answering = Answering::to_nobody().await;
            let (told, tasks) = mpsc::unbounded_channel();
            Self { answering, told, tasks }
        }

        fn undecided(&self, thinking: Duration) -> Deciding {
            let told = self.told.clone();
            Box::pin(async move {
                thread::sleep(thinking);
                told.send(task::id()).unwrap();
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
        let place = Arc::new(Semaphore::new(1)).acquire_owned().await.unwrap();
        let (handled, arrived) = (Handled::Silent, Instant::now());
        Decided { reply: "_INBOX.1".into(), handled, place, arrived }
    }

    const NONE: Duration = Duration::ZERO;

    // With a clock that stands still, so that no decision takes long.
    #[tokio::test(start_paused = true)]
    async fn what_arrived_together_is_decided_in_turn_by_as_many_tasks_as_workers() {
        let mut bench = Bench::new().await;
        let arrived = (0..20).map(|_| bench.undecided(NONE)).collect();
        decide(&bench.answering, arrived, true, 2);
        let tasks = bench.tasks::<20>().await;
        let (first, second) = tasks.split_at(10);
        assert!(first.iter().all(|task| task == first.first().unwrap()), "{tasks:?}");
        assert!(second.iter().all(|task| task == second.first().unwrap()), "{tasks:?}");
        assert_ne!(first.first(), second.first());
    }

    #[tokio::test]
    async fn a_decision_that_waits_is_not_waited_for() {
        let mut bench = Bench::new().await;
        let waiting: Deciding = Box::pin(pending());
        let arrived = vec![waiting, bench.undecided(NONE)];
        decide(&bench.answering, arrived, true, 1);
        bench.tasks::<1>().await;
    }

    #[tokio::test]
    async fn a_decision_that_waits_is_answered_when_it_is_taken() {
        let bench = Bench::new().await;
        let (go, gone) = tokio::sync::oneshot::channel();
        let (finish, finished) = tokio::sync::oneshot::channel();
        let deciding = Box::pin(async move {
            gone.await.unwrap();
            finish.send(()).unwrap();
            decided().await
        });
        decide(&bench.answering, vec![deciding], true, 1);
        // It was asked once before, and waits in a task of its own.
        task::yield_now().await;
        go.send(()).unwrap();
        finished.await.unwrap();
    }

    #[tokio::test]
    async fn after_one_that_held_up_its_thread_the_rest_have_tasks_of_their_own() {
        let mut bench = Bench::new().await;
        let slow = bench.undecided(TOO_LONG * 2);
        let arrived = vec![slow, bench.undecided(NONE), bench.undecided(NONE)];
        decide(&bench.answering, arrived, true, 1);
        let [slow, second, third] = bench.tasks().await;
        assert!(slow != second && second != third && slow != third);
    }
    #[tokio::test]
    async fn what_may_hold_up_its_thread_has_a_task_of_its_own() {
        let mut bench = Bench::new().await;
        let arrived = (0..3).map(|_| bench.undecided(NONE)).collect();
        decide(&bench.answering, arrived, false, 1);
        let [first, second, third] = bench.tasks().await;
        assert!(first != second && second != third && first != third);
    }
}
