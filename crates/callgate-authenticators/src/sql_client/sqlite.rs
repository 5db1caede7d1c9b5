//! SQLite.

use std::{path::Path, time::Duration};

use sqlx::{
    Column as _, ConnectOptions, Decode, Executor, Row as _, SqlSafeStr, Sqlite, SqliteConnection,
    Statement as _, TypeInfo as _, ValueRef as _,
    sqlite::{SqliteConnectOptions, SqliteRow},
};
use tokio::time::Instant;

use super::dialect::{Cell, Description, Dialect, Rows, Statement, first_two, parameter_count};

/// Steps of SQLite's virtual machine between two looks at the clock.
const STEPS: i32 = 1000;

pub(crate) struct SqliteDialect {
    options: SqliteConnectOptions,
}

impl SqliteDialect {
    pub(crate) fn new(path: &Path) -> Self {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .read_only(true)
            .create_if_missing(false)
            .disable_statement_logging();
        Self { options }
    }
}

impl Dialect for SqliteDialect {
    type Connection = SqliteConnection;

    const ECHO: &'static str = "SELECT ?";

    async fn open(&self, timeout: Duration) -> Result<SqliteConnection, sqlx::Error> {
        self.options.clone().busy_timeout(timeout).connect().await
    }

    async fn fetch(
        &self,
        connection: &mut SqliteConnection,
        statement: &Statement,
        parameters: &[&str],
        timeout: Duration,
    ) -> Result<Rows, sqlx::Error> {
        // SQLite has no time limit of its own.
        let end = Instant::now() + timeout;
        let mut handle = connection.lock_handle().await?;
        handle.set_progress_handler(STEPS, move || Instant::now() < end);
        drop(handle);
        let query = sqlx::query::<Sqlite>(statement.sql());
        let query = parameters.iter().fold(query, |query, value| query.bind((*value).to_owned()));
        first_two(connection, query, cell).await
    }

    async fn describe(
        &self,
        connection: &mut SqliteConnection,
        statement: &Statement,
    ) -> Result<Description, sqlx::Error> {
        let prepared = connection.prepare(statement.sql().into_sql_str()).await?;
        let parameters = parameter_count(prepared.parameters());
        // Values have types of their own: whether they can be read shows at the login.
        let columns = prepared
            .columns()
            .iter()
            .map(|column| (column.name().to_owned(), column.type_info().name().to_owned(), true));
        Ok(Description { parameters: (parameters, Vec::new()), columns: columns.collect() })
    }

    async fn writable(
        &self,
        _connection: &mut SqliteConnection,
        _statement: &Statement,
    ) -> Result<Option<String>, sqlx::Error> {
        let path = self.options.get_filename();
        let is_writable = std::fs::OpenOptions::new().append(true).open(path).is_ok();
        Ok(is_writable.then(|| "the file".to_owned()))
    }
}

fn cell(row: &SqliteRow, index: usize) -> Option<Cell> {
    let value = row.try_get_raw(index).ok()?;
    if value.is_null() {
        return Some(Cell::Null);
    }
    let kind = value.type_info().name().to_owned();
    match kind.as_str() {
        "TEXT" => Cell::text(<&str as Decode<Sqlite>>::decode(value).ok()?.as_bytes()),
        "INTEGER" | "BOOLEAN" => {
            Some(Cell::Value(<i64 as Decode<Sqlite>>::decode(value).ok()?.into()))
        }
        "REAL" => {
            let number =
                serde_json::Number::from_f64(<f64 as Decode<Sqlite>>::decode(value).ok()?)?;
            Some(Cell::Value(number.into()))
        }
        _ => None,
    }
}
