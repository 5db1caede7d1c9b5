//! One question for all who ask the same at the same time.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Mutex, PoisonError},
};

use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared, WeakShared},
};

type InFlight<A> = Shared<BoxFuture<'static, A>>;

/// Questions that are under way. Each goes on as long as somebody waits for its answer.
pub(crate) struct SingleFlight<K, A: Clone> {
    under_way: Mutex<HashMap<K, WeakShared<BoxFuture<'static, A>>>>,
}

impl<K, A: Clone> Default for SingleFlight<K, A> {
    fn default() -> Self {
        Self { under_way: Mutex::default() }
    }
}

impl<K: Eq + Hash, A: Clone> SingleFlight<K, A> {
    /// The answer about `key`: of the question that is under way, or of a new one.
    pub(crate) async fn ask(&self, key: K, question: impl FnOnce() -> BoxFuture<'static, A>) -> A {
        self.question(key, question).await
    }

    /// Finding a question and leaving one is one step: of two who come at once, one asks.
    fn question(&self, key: K, question: impl FnOnce() -> BoxFuture<'static, A>) -> InFlight<A> {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = under_way.get(&key).and_then(unanswered) {
            return found;
        }
        under_way.retain(|_, question| unanswered(question).is_some());
        let question = question().shared();
        if let Some(weak) = question.downgrade() {
            under_way.insert(key, weak);
        }
        question
    }
}

/// A question that somebody waits for. One that is answered answers nobody else: time has passed.
fn unanswered<A: Clone>(question: &WeakShared<BoxFuture<'static, A>>) -> Option<InFlight<A>> {
    question.upgrade().filter(|question| question.peek().is_none())
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use futures_util::poll;
    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test]
    async fn those_who_ask_the_same_at_once_share_one_question() {
        let single_flight = SingleFlight::<&str, usize>::default();
        let (asked, answers) = (Arc::<AtomicUsize>::default(), Arc::new(Semaphore::new(0)));
        let question = || {
            let (asked, answers) = (Arc::clone(&asked), Arc::clone(&answers));
            async move {
                let number = asked.fetch_add(1, Ordering::SeqCst);
                answers.acquire().await.unwrap().forget();
                number
            }
            .boxed()
        };
        let mut first = Box::pin(single_flight.ask("a", question));
        let mut second = Box::pin(single_flight.ask("a", question));
        let mut other = Box::pin(single_flight.ask("b", question));
        for waiting in [&mut first, &mut second, &mut other] {
            assert!(poll!(waiting).is_pending());
        }
        assert_eq!(asked.load(Ordering::SeqCst), 2);
        // Whoever asked first may go away.
        drop(first);
        answers.add_permits(2);
        assert_eq!((second.await, other.await), (0, 1));
        // An answer is for those who waited for it.
        answers.add_permits(1);
        assert_eq!(single_flight.ask("a", question).await, 2);
        assert!(single_flight.under_way.lock().unwrap().len() <= 2);
        // When nobody waits any more, the question is dropped, and its place is given away.
        let mut left = Box::pin(single_flight.ask("c", question));
        assert!(poll!(&mut left).is_pending());
        drop(left);
        answers.add_permits(1);
        assert_eq!(single_flight.ask("c", question).await, 4);
        assert_eq!(single_flight.under_way.lock().unwrap().len(), 1);
    }
}
