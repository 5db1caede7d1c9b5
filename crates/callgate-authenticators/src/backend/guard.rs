//! Queries to one backend: bounded in time and number, shared by identical logins.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use callgate::{
    authn::{Decline, Identity},
    request::AuthRequest,
};
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::{Instant, timeout_at},
};
use tracing::{error, info};

use super::{
    QueryError,
    breaker::{Breaker, PAUSE, Pass},
    notes,
};
use crate::{
    kind::{BackendConnections, BackendResult, BuildContext, Observer},
    network::SingleFlight,
    passwords::digest,
};

/// Identifies logins that one query can answer: a keyed digest.
type QueryKey = [u8; 32];

/// The backend of one authenticator. `A` is the answer to a query.
pub(crate) struct Backend<A: Clone> {
    guard: Arc<Guard>,
    in_flight: SingleFlight<QueryKey, Result<A, QueryError>>,
}

/// What queries share, whatever their answers.
struct Guard {
    authenticator: Arc<str>,
    /// Where the backend is, without secrets.
    target: String,
    timeout: Duration,
    observer: Arc<dyn Observer>,
    breaker: Mutex<Breaker>,
    connections: Semaphore,
    max_connections: usize,
}

impl<A: Clone> Backend<A> {
    /// The backend at `target` (a name for logs, without secrets), with at most `connections` queries
    /// at a time.
    pub(crate) fn new(context: &BuildContext, target: &str, connections: usize) -> Self {
        let observer = Arc::clone(&context.services.observer);
        observer.has_backend(&context.name);
        let guard = Guard {
            authenticator: Arc::clone(&context.name),
            target: target.to_owned(),
            timeout: context.timeout,
            observer,
            breaker: Mutex::default(),
            connections: Semaphore::new(connections),
            max_connections: connections,
        };
        Self { guard: Arc::new(guard), in_flight: SingleFlight::default() }
    }

    /// Where the backend is, without secrets.
    pub(crate) fn target(&self) -> &str {
        &self.guard.target
    }

    /// How long a query may take.
    pub(crate) fn timeout(&self) -> Duration {
        self.guard.timeout
    }

    /// Sends a query, or waits for the same one of another login. `key` contains everything that the
    /// answer depends on. `query` receives its deadline: `timeout` or the end of the request,
    /// whichever comes first; the query is dropped then.
    ///
    /// # Errors
    /// The error of the query; unreachable without a connection or an answer in time, or during an
    /// outage.
    pub(crate) async fn query<F>(
        &self,
        key: &[&[u8]],
        request: &AuthRequest,
        query: impl FnOnce(Instant) -> F + Send + 'static,
    ) -> Result<A, QueryError>
    where
        A: Send + Sync + 'static,
        F: Future<Output = Result<A, QueryError>> + Send + 'static,
    {
        self.query_until(request.deadline(), key, query).await
    }

    /// The same as [`Backend::query`] for any deadline.
    pub(crate) async fn query_until<F>(
        &self,
        deadline: Instant,
        key: &[&[u8]],
        query: impl FnOnce(Instant) -> F + Send + 'static,
    ) -> Result<A, QueryError>
    where
        A: Send + Sync + 'static,
        F: Future<Output = Result<A, QueryError>> + Send + 'static,
    {
        let guard = Arc::clone(&self.guard);
        let deadline = deadline.min(Instant::now() + guard.timeout);
        let flight = || {
            let flight = async move { guard.run(deadline, query).await };
            Box::pin(flight) as futures_util::future::BoxFuture<'static, _>
        };
        self.in_flight.run(digest(key), flight).await
    }

    /// Records how many connections are open but not in use, for backends that keep a pool.
    pub(crate) fn observe_idle(&self, idle: usize) {
        let guard = &self.guard;
        guard.observer.backend_connections(&guard.authenticator, BackendConnections::Idle, idle);
    }

    /// Counts the answer to a login. Call it once for each login that depended on the backend.
    pub(crate) fn count(&self, answer: &Result<Identity, Decline>) {
        let result = match answer {
            Ok(_) => BackendResult::Identity,
            Err(Decline::Rejected(_)) => BackendResult::Rejected,
            Err(Decline::Unavailable(_)) => BackendResult::Unavailable,
            Err(Decline::NotMine) => return,
        };
        self.guard.observer.backend_answered(&self.guard.authenticator, result);
    }

    /// Counts a login that was answered from memory.
    pub(crate) fn count_remembered(&self) {
        let guard = &self.guard;
        notes::add(&guard.authenticator, || format!("{}: remembered, not queried", guard.target));
        guard.observer.backend_answered(&guard.authenticator, BackendResult::Remembered);
    }
}

impl Guard {
    async fn run<A, F: Future<Output = Result<A, QueryError>>>(
        &self,
        deadline: Instant,
        query: impl FnOnce(Instant) -> F,
    ) -> Result<A, QueryError> {
        if notes::is_offline() {
            notes::add(&self.authenticator, || format!("{}: would be asked", self.target));
            return Err(QueryError::unreachable("not queried because of --offline"));
        }
        let now = Instant::now();
        if now >= deadline {
            return Err(QueryError::unreachable("no time left for a query"));
        }
        if !self.breaker().is_open(now) {
            return Err(self.outage());
        }
        let Ok(Ok(connection)) = timeout_at(deadline, self.connections.acquire()).await else {
            return Err(QueryError::unreachable(format!(
                "all {} connections to {} are busy",
                self.max_connections, self.target
            )));
        };
        // An outage may have begun while this login waited for a connection.
        let pass = self.breaker().pass(Instant::now()).ok_or_else(|| self.outage())?;
        let attempt = Attempt::begin(self, pass, deadline, connection);
        let answer = timeout_at(deadline, query(deadline)).await;
        let answer = answer.unwrap_or_else(|_elapsed| {
            Err(QueryError::unreachable(format!("no answer from {} in time", self.target)))
        });
        attempt.end(answer.as_ref().err());
        answer
    }

    fn outage(&self) -> QueryError {
        QueryError::unreachable(format!(
            "{} could not be reached several times in a row: one login every {PAUSE:?} tries again",
            self.target
        ))
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reached(&self) {
        if self.breaker().reached() {
            info!(
                authenticator = &*self.authenticator,
                backend = self.target,
                "the backend can be reached again"
            );
        }
    }

    fn failed(&self, pass: Pass, why: &str) {
        if self.breaker().failed(pass, Instant::now()) {
            error!(
                authenticator = &*self.authenticator,
                backend = self.target,
                why,
                "the backend cannot be reached: logins that need it are refused without waiting"
            );
        }
    }

    fn observe_connections(&self) {
        let busy = self.max_connections.saturating_sub(self.connections.available_permits());
        self.observer.backend_connections(&self.authenticator, BackendConnections::Busy, busy);
    }
}

/// One query in flight. Dropped early, it failed if its time was up.
struct Attempt<'g> {
    guard: &'g Guard,
    pass: Pass,
    started: Instant,
    deadline: Instant,
    connection: Option<SemaphorePermit<'g>>,
    has_ended: bool,
}

impl<'g> Attempt<'g> {
    fn begin(
        guard: &'g Guard,
        pass: Pass,
        deadline: Instant,
        connection: SemaphorePermit<'g>,
    ) -> Self {
        guard.observe_connections();
        let started = Instant::now();
        Self { guard, pass, started, deadline, connection: Some(connection), has_ended: false }
    }

    fn end(mut self, error: Option<&QueryError>) {
        self.has_ended = true;
        let guard = self.guard;
        let took = self.started.elapsed();
        let is_good = match error {
            Some(QueryError::Unreachable(why)) => {
                guard.failed(self.pass, why);
                false
            }
            Some(QueryError::Unusable(_)) => {
                guard.reached();
                false
            }
            Some(QueryError::NotMine | QueryError::Rejected(_)) | None => {
                guard.reached();
                true
            }
        };
        guard.observer.backend_up(&guard.authenticator, is_good);
        notes::add(&guard.authenticator, || {
            let result = match error {
                None => "answered".to_owned(),
                Some(QueryError::NotMine) => "answered that it does not know this user".to_owned(),
                Some(QueryError::Rejected(rejection)) => {
                    format!("rejected: {}", rejection.detail)
                }
                Some(QueryError::Unreachable(why)) => format!("unreachable: {why}"),
                Some(QueryError::Unusable(why)) => format!("unusable answer: {why}"),
            };
            format!("{}: queried, {:.1} ms, {result}", guard.target, took.as_secs_f64() * 1e3)
        });
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if !self.has_ended {
            // The chain drops a login whose time is up, possibly before the query's own timeout.
            match Instant::now() >= self.deadline {
                true => {
                    self.guard.failed(self.pass, "no answer in time");
                    self.guard.observer.backend_up(&self.guard.authenticator, false);
                }
                false => self.guard.breaker().abandoned(self.pass),
            }
        }
        drop(self.connection.take());
        self.guard.observe_connections();
    }
}

impl<A: Clone> fmt::Debug for Backend<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Backend({}, {})", self.guard.authenticator, self.guard.target)
    }
}
