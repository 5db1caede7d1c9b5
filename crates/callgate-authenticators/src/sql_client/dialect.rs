//! What the databases have in common.

use std::{sync::Arc, time::Duration};

use callgate::clock::UnixTime;
use futures_util::TryStreamExt;
use serde_json::Value;
use sqlx::{
    AssertSqlSafe, Column as _, Connection, Database, Either, Executor, Row as _, TypeInfo as _,
};

/// A statement of the configuration, with one parameter.
#[derive(Debug, Clone)]
pub(crate) struct Statement {
    pub(crate) sql: Arc<str>,
    pub(crate) unverified: Unverified,
}

/// Which answers nothing else verifies. A connection on which an answer was repeated gives every answer to
/// the next question, and so one client's row to another: before such an answer counts, it proves that it
/// belongs to its question, or the connection proves that it is in step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unverified {
    /// A row is compared with a password, and without one the login is refused.
    None,
    /// Without a row, the next authenticator is asked.
    NoRow,
    /// A row is proof enough.
    All,
}

impl Statement {
    /// Whether it must be proven that these rows are the answer to this statement.
    pub(super) fn needs_proof(&self, rows: &Rows) -> bool {
        match self.unverified {
            Unverified::None => false,
            Unverified::NoRow => rows.is_empty(),
            Unverified::All => true,
        }
    }

    /// The statement, for sqlx. Values are bound to it and never become part of its text.
    pub(crate) fn sql(&self) -> AssertSqlSafe<Arc<str>> {
        AssertSqlSafe(Arc::clone(&self.sql))
    }
}

/// The number of parameters of a prepared statement.
pub(crate) fn parameter_count<T>(parameters: Option<Either<&[T], usize>>) -> usize {
    match parameters {
        Some(Either::Left(types)) => types.len(),
        Some(Either::Right(count)) => count,
        None => 0,
    }
}

/// One column of a row.
#[derive(Debug)]
pub(crate) struct Column {
    pub(crate) name: String,
    /// The database's name of the type.
    pub(crate) kind: String,
    /// `None` if the type is not supported, or the value cannot be read.
    pub(crate) cell: Option<Cell>,
}

/// A value.
#[derive(Debug, PartialEq)]
pub(crate) enum Cell {
    Null,
    Value(Value),
    /// A time with a zone.
    Time(UnixTime),
}

impl Cell {
    pub(crate) fn text(text: &[u8]) -> Option<Self> {
        std::str::from_utf8(text).ok().map(|text| Self::Value(text.into()))
    }

    pub(crate) fn json(text: &[u8]) -> Option<Self> {
        serde_json::from_slice(text).ok().map(Self::Value)
    }
}

/// The column that proves that a row is the answer to its statement.
pub(super) const PROOF: &str = "callgate_proof";

/// The first rows of a result; two are enough to know that a name is ambiguous.
pub(crate) type Rows = Vec<Vec<Column>>;

/// How a statement looks to the database.
#[derive(Debug)]
pub(crate) struct Description {
    /// The number of parameters, and their types if the database names them.
    pub(crate) parameters: (usize, Vec<String>),
    /// Names, types, and whether Callgate can read the type.
    pub(crate) columns: Vec<(String, String, bool)>,
}

/// A database product: how to connect, and how to read its values.
pub(crate) trait Dialect: Send + Sync + Sized + 'static {
    type Connection: Connection + Send + 'static;

    /// A statement that returns its parameter.
    const ECHO: &'static str;

    /// The statement with a second parameter, which every row returns in the column [`PROOF`]: a row then proves
    /// itself that it belongs to the question. `None` if that is not possible.
    fn proving(_sql: &str) -> Option<String> {
        None
    }

    /// A connection that cannot write and has a time limit for statements.
    fn open(
        &self,
        timeout: Duration,
    ) -> impl Future<Output = Result<Self::Connection, sqlx::Error>> + Send;

    /// The first two rows for these parameters.
    fn fetch(
        &self,
        connection: &mut Self::Connection,
        statement: &Statement,
        parameters: &[&str],
        timeout: Duration,
    ) -> impl Future<Output = Result<Rows, sqlx::Error>> + Send;

    /// Prepares a statement without running it.
    fn describe(
        &self,
        connection: &mut Self::Connection,
        statement: &Statement,
    ) -> impl Future<Output = Result<Description, sqlx::Error>> + Send;

    /// What Callgate could write to, for a warning. Errors mean that it is not known.
    fn writable(
        &self,
        connection: &mut Self::Connection,
        statement: &Statement,
    ) -> impl Future<Output = Result<Option<String>, sqlx::Error>> + Send;
}

/// At most two rows.
pub(crate) async fn first_two<'c, DB, E>(
    executor: E,
    query: sqlx::query::Query<'c, DB, DB::Arguments>,
    read: impl Fn(&DB::Row, usize) -> Option<Cell>,
) -> Result<Rows, sqlx::Error>
where
    DB: Database,
    DB::Arguments: sqlx::IntoArguments<DB>,
    E: Executor<'c, Database = DB>,
{
    let mut rows = query.fetch(executor);
    let mut found = Vec::new();
    while found.len() < 2
        && let Some(row) = rows.try_next().await?
    {
        let columns = row.columns().iter().map(|column| Column {
            name: column.name().to_owned(),
            kind: column.type_info().name().to_owned(),
            cell: read(&row, column.ordinal()),
        });
        found.push(columns.collect());
    }
    Ok(found)
}
