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
pub(super) struct Statement {
    pub(super) sql: Arc<str>,
}

impl Statement {
    /// The statement, for sqlx. Values are bound to it and never become part of its text.
    pub(super) fn sql(&self) -> AssertSqlSafe<Arc<str>> {
        AssertSqlSafe(Arc::clone(&self.sql))
    }
}

/// The number of parameters of a prepared statement.
pub(super) fn parameter_count<T>(parameters: Option<Either<&[T], usize>>) -> usize {
    match parameters {
        Some(Either::Left(types)) => types.len(),
        Some(Either::Right(count)) => count,
        None => 0,
    }
}

/// One column of a row.
#[derive(Debug)]
pub(super) struct Column {
    pub(super) name: String,
    /// The database's name of the type.
    pub(super) kind: String,
    /// `None` if the type is not supported, or the value cannot be read.
    pub(super) cell: Option<Cell>,
}

/// A value.
#[derive(Debug, PartialEq)]
pub(super) enum Cell {
    Null,
    Value(Value),
    /// A time with a zone.
    Time(UnixTime),
}

impl Cell {
    pub(super) fn text(text: &[u8]) -> Option<Self> {
        std::str::from_utf8(text).ok().map(|text| Self::Value(text.into()))
    }

    pub(super) fn json(text: &[u8]) -> Option<Self> {
        serde_json::from_slice(text).ok().map(Self::Value)
    }
}

/// The first rows of a result; two are enough to know that a name is ambiguous.
pub(super) type Rows = Vec<Vec<Column>>;

/// How a statement looks to the database.
#[derive(Debug)]
pub(super) struct Description {
    /// The number of parameters, and their types if the database names them.
    pub(super) parameters: (usize, Vec<String>),
    /// Names, types, and whether Callgate can read the type.
    pub(super) columns: Vec<(String, String, bool)>,
}

/// A database product: how to connect, and how to read its values.
pub(super) trait Dialect: Send + Sync + Sized + 'static {
    type Connection: Connection + Send + 'static;

    /// A connection that cannot write and has a time limit for statements.
    fn open(
        &self,
        timeout: Duration,
    ) -> impl Future<Output = Result<Self::Connection, sqlx::Error>> + Send;

    /// The first two rows for this parameter.
    fn fetch(
        &self,
        connection: &mut Self::Connection,
        statement: &Statement,
        parameter: &str,
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
pub(super) async fn first_two<'c, DB, E>(
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
