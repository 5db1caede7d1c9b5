//! Connections to PostgreSQL, MySQL, MariaDB and SQLite that only read, each with a time limit.

mod dialect;
mod error;
mod mysql;
mod pool;
mod postgres;
mod relay;
mod row;
mod settings;
mod sqlite;
mod url;
mod verified_tls;

pub(crate) use dialect::{Cell, Column, Description, Rows, Statement, Unverified};
pub(crate) use pool::Database;
pub(crate) use row::Row;
pub(crate) use settings::{Connecting, INSECURE, PASSWORD_KEY, TRANSACTION_POOLING_KEY, URL_KEY};
pub(crate) use url::Product;
