//! One query for all logins that need the same answer at the same time.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Mutex, PoisonError},
};

use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared, WeakShared},
};

type Query<A> = Shared<BoxFuture<'static, A>>;

/// Queries in flight. Each one goes on as long as at least one caller waits for its answer.
pub(crate) struct SingleFlight<K, A: Clone> {
    in_flight: Mutex<HashMap<K, WeakShared<BoxFuture<'static, A>>>>,
}

impl<K, A: Clone> Default for SingleFlight<K, A> {
    fn default() -> Self {
        Self { in_flight: Mutex::default() }
    }
}

impl<K: Eq + Hash, A: Clone> SingleFlight<K, A> {
    /// Joins the query for `key` that is in flight, or starts one.
    pub(crate) async fn run(&self, key: K, query: impl FnOnce() -> BoxFuture<'static, A>) -> A {
        self.join(key, query).await
    }

    /// Finds or registers a query under one lock, so that of two simultaneous callers one queries.
    fn join(&self, key: K, query: impl FnOnce() -> BoxFuture<'static, A>) -> Query<A> {
        let mut in_flight = self.in_flight.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = in_flight.get(&key).and_then(unanswered) {
            return found;
        }
        in_flight.retain(|_, query| unanswered(query).is_some());
        let query = query().shared();
        if let Some(weak) = query.downgrade() {
            in_flight.insert(key, weak);
        }
        query
    }
}

/// The query, if a caller still waits for it. An answer is not given to later callers: it may be
/// outdated.
fn unanswered<A: Clone>(query: &WeakShared<BoxFuture<'static, A>>) -> Option<Query<A>> {
    query.upgrade().filter(|query| query.peek().is_none())
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
    async fn simultaneous_callers_share_one_query() {
        let flights = SingleFlight::<&str, usize>::default();
        let started = Arc::<AtomicUsize>::default();
        let answers = Arc::new(Semaphore::new(0));
        let query = || {
            let started = Arc::clone(&started);
            let answers = Arc::clone(&answers);
            async move {
                let number = started.fetch_add(1, Ordering::SeqCst);
                answers.acquire().await.unwrap().forget();
                number
            }
            .boxed()
        };
        let mut first = Box::pin(flights.run("a", query));
        let mut second = Box::pin(flights.run("a", query));
        let mut other = Box::pin(flights.run("b", query));
        for waiting in [&mut first, &mut second, &mut other] {
            assert!(poll!(waiting).is_pending());
        }
        assert_eq!(started.load(Ordering::SeqCst), 2);
        // The caller that started the query may go away.
        drop(first);
        answers.add_permits(2);
        assert_eq!((second.await, other.await), (0, 1));
        // An answered query is not reused.
        answers.add_permits(1);
        assert_eq!(flights.run("a", query).await, 2);
        assert!(flights.in_flight.lock().unwrap().len() <= 2);
        // Without callers, the query is dropped, and its entry is replaced.
        let mut abandoned = Box::pin(flights.run("c", query));
        assert!(poll!(&mut abandoned).is_pending());
        drop(abandoned);
        answers.add_permits(1);
        assert_eq!(flights.run("c", query).await, 4);
        assert_eq!(flights.in_flight.lock().unwrap().len(), 1);
    }
}
