//! Connections to one database.
//!
//! A small pool of our own, because the one of sqlx waits up to 30 s, retries refused connections in a
//! loop, and loses the connection that a cancelled login was opening (sqlx #3513).

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use aws_lc_rs::rand;
use data_encoding::HEXLOWER;
use futures_util::future::BoxFuture;
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout},
};

use super::{
    dialect::{Cell, Column, Description, Dialect, PROOF, Rows, Statement, Unverified},
    error::{is_stale, no_connection, shown},
};
use crate::backend::QueryError;

/// No connection gets older.
const MAX_AGE: Duration = Duration::from_secs(30 * 60);
/// A connection that was not tested for so long is tested before it is used.
const TEST_AFTER: Duration = Duration::from_secs(30);
/// How much longer than its statement a task may take before its connection is closed.
const GRACE: Duration = Duration::from_secs(1);

const OUT_OF_STEP: &str = "the answers do not belong to the questions: something between Callgate and the \
                           database repeats or reorders them";

/// A database of any product.
pub(crate) trait Database: Send + Sync {
    /// The first two rows of `statement` for this parameter.
    fn fetch(
        self: Arc<Self>,
        statement: Statement,
        parameter: String,
    ) -> BoxFuture<'static, Result<Rows, QueryError>>;

    /// Prepares `statement`, and says what it could write to.
    fn describe(
        self: Arc<Self>,
        statement: Statement,
    ) -> BoxFuture<'static, Result<(Description, Option<String>), QueryError>>;

    /// The number of open connections that are not in use. Closes those that are too old.
    fn prune(&self) -> usize;
}

/// The connections of one product.
pub(crate) struct Pool<D: Dialect> {
    dialect: D,
    /// The database in messages.
    target: String,
    /// For connecting and logging in.
    connect_timeout: Duration,
    /// For a statement.
    timeout: Duration,
    permits: Arc<Semaphore>,
    idle: Mutex<Vec<Open<D::Connection>>>,
}

struct Open<C> {
    connection: C,
    opened: Instant,
    /// When an answer last proved to be the one to its question.
    tested: Instant,
}

impl<D: Dialect> Pool<D> {
    pub(crate) fn new(
        dialect: D,
        target: String,
        connections: usize,
        connect_timeout: Duration,
        timeout: Duration,
    ) -> Self {
        let permits = Arc::new(Semaphore::new(connections));
        Self { dialect, target, connect_timeout, timeout, permits, idle: Mutex::default() }
    }

    /// Runs `work` in a task of its own that owns a place among the connections: a login that goes away
    /// neither cancels a statement midway nor frees its place early.
    async fn run<T: Send + 'static>(
        self: Arc<Self>,
        work: impl AsyncWork<D, T>,
    ) -> Result<T, QueryError> {
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        let permit =
            permit.map_err(|_| QueryError::unreachable("the pool of connections is closed"))?;
        let limit = self.connect_timeout + self.timeout + GRACE;
        let task = tokio::spawn(async move {
            let result = timeout(limit, work.run(&self)).await;
            drop(permit);
            result.unwrap_or_else(|_elapsed| Err(QueryError::unreachable("no answer in time")))
        });
        // The text of the task's error may contain the message of the panic.
        let panicked =
            |_| Err(QueryError::unusable("the query panicked, which is a bug in Callgate"));
        task.await.unwrap_or_else(panicked)
    }

    async fn fetch_rows(&self, statement: &Statement, parameter: &str) -> Result<Rows, QueryError> {
        let proving = proving::<D>(statement);
        loop {
            let idle = self.take_idle().await;
            let was_idle = idle.is_some();
            let mut open = match idle {
                Some(open) => open,
                None => self.open().await?,
            };
            let connection = &mut open.connection;
            let rows = match &proving {
                Some((proving, sent)) => {
                    let parameters = [parameter, sent];
                    self.dialect.fetch(connection, proving, &parameters, self.timeout).await
                }
                None => self.dialect.fetch(connection, statement, &[parameter], self.timeout).await,
            };
            match rows {
                // After two rows there may be more on the way: the connection is closed.
                Ok(rows) if rows.len() > 1 => return Ok(rows),
                Ok(mut rows) => {
                    let sent = proving.as_ref().map(|(_, sent)| sent.as_str());
                    let is_proven = match (statement.needs_proof(&rows), rows.first_mut(), sent) {
                        (false, _, _) => true,
                        (true, Some(row), Some(sent)) => proves(row, sent),
                        (true, _, _) => self.is_in_step(&mut open).await,
                    };
                    if !is_proven {
                        self.idle().clear();
                        return Err(QueryError::unusable(OUT_OF_STEP));
                    }
                    self.put_back(open);
                    return Ok(rows);
                }
                Err(error) if is_stale(&error) => {
                    // What broke this connection broke those that are idle, too.
                    self.idle().clear();
                    if !was_idle {
                        return Err(QueryError::unreachable(shown(&error, parameter)));
                    }
                }
                Err(error) => {
                    self.put_back(open);
                    return Err(QueryError::unusable(shown(&error, parameter)));
                }
            }
        }
    }

    async fn describe_statement(
        &self,
        statement: &Statement,
    ) -> Result<(Description, Option<String>), QueryError> {
        // A new connection: this also checks that Callgate can log in.
        let mut open = self.open().await?;
        let description = self.dialect.describe(&mut open.connection, statement).await;
        let unusable = |error| QueryError::unusable(shown(&error, ""));
        let description = description.map_err(unusable)?;
        if let Some((proving, _)) = proving::<D>(statement) {
            self.dialect.describe(&mut open.connection, &proving).await.map_err(unusable)?;
        }
        let writable = self.dialect.writable(&mut open.connection, statement).await;
        Ok((description, writable.unwrap_or_default()))
    }

    async fn open(&self) -> Result<Open<D::Connection>, QueryError> {
        let connection = timeout(self.connect_timeout, self.dialect.open(self.timeout)).await;
        let connection = connection
            .map_err(|_elapsed| {
                QueryError::unreachable(format!(
                    "no connection to `{}` within `connect_timeout` ({:?}): is the database \
                     reachable from here, and does `url` name its host and port?",
                    self.target, self.connect_timeout
                ))
            })?
            .map_err(|error| QueryError::unreachable(no_connection(&self.target, &error)))?;
        let now = Instant::now();
        Ok(Open { connection, opened: now, tested: now })
    }

    /// A connection that was used before and still works.
    async fn take_idle(&self) -> Option<Open<D::Connection>> {
        loop {
            let mut open = self.idle().pop()?;
            if open.opened.elapsed() >= MAX_AGE {
                continue;
            }
            if open.tested.elapsed() < TEST_AFTER || self.is_in_step(&mut open).await {
                return Some(open);
            }
            self.idle().clear();
        }
    }

    /// Whether the next answer is the one to the next question. It is not if anything between Callgate
    /// and the database has repeated an answer.
    async fn is_in_step(&self, open: &mut Open<D::Connection>) -> bool {
        let Some(sent) = nonce() else { return false };
        let echo = Statement { sql: D::ECHO.into(), unverified: Unverified::None };
        let parameters = [sent.as_str()];
        let answer = self.dialect.fetch(&mut open.connection, &echo, &parameters, self.timeout);
        let Ok(Ok(rows)) = timeout(self.connect_timeout, answer).await else { return false };
        open.tested = Instant::now();
        let [row] = rows.as_slice() else { return false };
        let [column] = row.as_slice() else { return false };
        column.cell == Some(Cell::Value(sent.into()))
    }

    fn put_back(&self, open: Open<D::Connection>) {
        self.idle().push(open);
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Open<D::Connection>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The statement whose rows prove themselves, and the proof, if every row has to.
fn proving<D: Dialect>(statement: &Statement) -> Option<(Statement, String)> {
    let Statement { sql, unverified } = statement;
    let sql = match unverified {
        Unverified::All => D::proving(sql)?.into(),
        Unverified::None | Unverified::NoRow => return None,
    };
    Some((Statement { sql, unverified: *unverified }, nonce()?))
}

/// Takes the proof out of a row. False if it is not the one that was sent.
fn proves(row: &mut Vec<Column>, sent: &str) -> bool {
    let proof = row.pop_if(|column| column.name == PROOF);
    proof.is_some_and(|column| column.cell == Some(Cell::Value(sent.into())))
}

fn nonce() -> Option<String> {
    let mut random = [0; 16];
    rand::fill(&mut random).ok()?;
    Some(HEXLOWER.encode(&random))
}

/// Work with a pool, in a task.
trait AsyncWork<D: Dialect, T>: Send + 'static {
    fn run(self, pool: &Pool<D>) -> impl Future<Output = Result<T, QueryError>> + Send;
}

struct Fetch(Statement, String);

impl<D: Dialect> AsyncWork<D, Rows> for Fetch {
    async fn run(self, pool: &Pool<D>) -> Result<Rows, QueryError> {
        pool.fetch_rows(&self.0, &self.1).await
    }
}

struct Describe(Statement);

impl<D: Dialect> AsyncWork<D, (Description, Option<String>)> for Describe {
    async fn run(self, pool: &Pool<D>) -> Result<(Description, Option<String>), QueryError> {
        pool.describe_statement(&self.0).await
    }
}

impl<D: Dialect> Database for Pool<D> {
    fn fetch(
        self: Arc<Self>,
        statement: Statement,
        parameter: String,
    ) -> BoxFuture<'static, Result<Rows, QueryError>> {
        Box::pin(self.run(Fetch(statement, parameter)))
    }

    fn describe(
        self: Arc<Self>,
        statement: Statement,
    ) -> BoxFuture<'static, Result<(Description, Option<String>), QueryError>> {
        Box::pin(self.run(Describe(statement)))
    }

    fn prune(&self) -> usize {
        let mut idle = self.idle();
        idle.retain(|open| open.opened.elapsed() < MAX_AGE);
        idle.len()
    }
}
