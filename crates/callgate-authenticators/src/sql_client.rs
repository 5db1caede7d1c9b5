//! Connections to PostgreSQL, MySQL, MariaDB and SQLite that only read, each with a time limit.

mod dialect;
mod error;
mod mysql;
mod pool;
mod postgres;
mod relay;
mod sqlite;
mod url;
mod verified_tls;

use std::{sync::Arc, time::Duration};

use callgate_config::Sources;

use crate::backend::TlsSettings;
use dialect::Dialect;
use mysql::MySqlDialect;
use pool::Pool;
use postgres::PostgresDialect;
use sqlite::SqliteDialect;
use verified_tls::VerifiedTls;

pub(crate) use dialect::{Cell, Column, Description, Rows, Statement, Unverified};
pub(crate) use pool::Database;
pub(crate) use url::{Address, Place, Product};

/// How to connect to a database.
pub(crate) struct Connecting<'a> {
    pub(crate) address: &'a Address,
    /// Resolves the path of a file.
    pub(crate) sources: &'a Sources,
    /// `None` for plain text.
    pub(crate) tls: Option<&'a TlsSettings>,
    pub(crate) connections: usize,
    pub(crate) connect_timeout: Duration,
    /// For a statement.
    pub(crate) timeout: Duration,
    /// For PostgreSQL behind a pooler.
    pub(crate) transaction_pooling: bool,
}

impl Connecting<'_> {
    /// A pool without connections: the first statement opens one.
    pub(crate) fn database(&self) -> Arc<dyn Database> {
        let address = self.address;
        let tls = self.tls.map(VerifiedTls::new);
        match (address.product, &address.place) {
            (Product::Sqlite, Place::File(path) | Place::Socket(path)) => {
                self.pool(SqliteDialect::new(&self.sources.resolve(&path.to_string_lossy())))
            }
            (Product::MySql, _) => self.pool(MySqlDialect::new(address, tls.as_ref())),
            (Product::Postgres | Product::Sqlite, _) => {
                let pooling = self.transaction_pooling;
                self.pool(PostgresDialect::new(address, tls.as_ref(), pooling, self.timeout))
            }
        }
    }

    fn pool(&self, dialect: impl Dialect) -> Arc<dyn Database> {
        let target = self.address.to_string();
        let Self { connections, connect_timeout, timeout, .. } = *self;
        Arc::new(Pool::new(dialect, target, connections, connect_timeout, timeout))
    }
}
