//! PostgreSQL.

use std::time::Duration;

use callgate::clock::UnixTime;
use serde_json::Value;
use sqlx::{
    AssertSqlSafe, Column as _, ConnectOptions, Either, Executor, PgConnection, Postgres, Row as _,
    SqlSafeStr, Statement as _, TypeInfo as _, ValueRef as _,
    postgres::{PgConnectOptions, PgRow, PgSslMode, PgTypeInfo, PgTypeKind},
};

use super::{
    dialect::{Cell, Description, Dialect, PROOF, Rows, Statement, first_two},
    relay::Relay,
    url::{Address, Place},
    verified_tls::VerifiedTls,
};

/// Seconds from the Unix epoch to 2000-01-01, PostgreSQL's epoch.
const EPOCH: i64 = 946_684_800;

pub(crate) struct PostgresDialect {
    options: PgConnectOptions,
    relay: Option<Relay>,
    transaction_pooling: bool,
}

impl PostgresDialect {
    pub(crate) fn new(
        address: &Address,
        tls: Option<&VerifiedTls>,
        transaction_pooling: bool,
        timeout: Duration,
    ) -> Self {
        let mut options = PgConnectOptions::new_without_pgpass()
            .username(&address.user)
            .password(address.password.as_ref().map_or("", |password| password.expose()))
            .database(&address.database)
            .application_name("callgate")
            .disable_statement_logging();
        let mut relay = None;
        options = match &address.place {
            Place::Tcp { host, port } => {
                let (name, needed) = Relay::for_name(host, *port, tls);
                relay = needed;
                options.host(name).port(*port)
            }
            Place::Socket(path) | Place::File(path) => options.socket(path),
        };
        options = match tls {
            None => options.ssl_mode(PgSslMode::Disable),
            Some(tls) => {
                options = options
                    .ssl_mode(PgSslMode::VerifyFull)
                    .ssl_root_cert_from_pem(tls.authorities.clone());
                match &tls.identity {
                    None => options,
                    Some((cert, key)) => options
                        .ssl_client_cert_from_pem(cert)
                        .ssl_client_key_from_pem(key.as_slice()),
                }
            }
        };
        options = match transaction_pooling {
            // A pooler accepts no session settings, and the next statement may run in another session.
            true => options.extra_float_digits(None).statement_cache_capacity(0),
            false => options.options([
                ("default_transaction_read_only", "on".to_owned()),
                ("statement_timeout", timeout.as_millis().max(1).to_string()),
            ]),
        };
        Self { options, relay, transaction_pooling }
    }
}

impl Dialect for PostgresDialect {
    type Connection = PgConnection;

    const ECHO: &'static str = "SELECT $1::text";

    fn proving(sql: &str) -> Option<String> {
        let sql = sql.trim().trim_end_matches(';').trim_end();
        let first = sql.split(|c: char| !c.is_ascii_alphabetic()).next()?;
        let is_query = ["select", "with"].iter().any(|word| first.eq_ignore_ascii_case(word));
        // The line break ends a comment.
        (is_query && !sql.contains(';'))
            .then(|| format!("SELECT answer.*, $2::text AS {PROOF} FROM (\n{sql}\n) AS answer"))
    }

    async fn open(&self, _timeout: Duration) -> Result<PgConnection, sqlx::Error> {
        let Some(relay) = &self.relay else { return self.options.connect().await };
        let socket = relay.start(&format!("/.s.PGSQL.{}", relay.port)).await?;
        self.options.clone().socket(socket).connect().await
    }

    async fn fetch(
        &self,
        connection: &mut PgConnection,
        statement: &Statement,
        parameters: &[&str],
        timeout: Duration,
    ) -> Result<Rows, sqlx::Error> {
        let query = sqlx::query::<Postgres>(statement.sql());
        let query = parameters.iter().fold(query, |query, value| query.bind(*value));
        if !self.transaction_pooling {
            return first_two(connection, query, cell).await;
        }
        // In a transaction, a pooler keeps one server connection for all messages.
        let begin = format!(
            "BEGIN READ ONLY; SET LOCAL statement_timeout = {}",
            timeout.as_millis().max(1)
        );
        connection.execute(AssertSqlSafe(begin)).await?;
        let rows = first_two(&mut *connection, query.persistent(false), cell).await;
        connection.execute("ROLLBACK").await?;
        rows
    }

    async fn describe(
        &self,
        connection: &mut PgConnection,
        statement: &Statement,
    ) -> Result<Description, sqlx::Error> {
        if self.transaction_pooling {
            connection.execute("BEGIN READ ONLY").await?;
        }
        let prepared = (&mut *connection).prepare(statement.sql().into_sql_str()).await;
        if self.transaction_pooling {
            connection.execute("ROLLBACK").await?;
        }
        let prepared = prepared?;
        let parameters = match prepared.parameters() {
            Some(Either::Left(types)) => {
                (types.len(), types.iter().map(|kind| kind.name().to_owned()).collect())
            }
            Some(Either::Right(count)) => (count, Vec::new()),
            None => (0, Vec::new()),
        };
        let columns = prepared.columns().iter().map(|column| {
            let kind = column.type_info();
            (column.name().to_owned(), kind.name().to_owned(), reader(kind).is_some())
        });
        Ok(Description { parameters, columns: columns.collect() })
    }

    async fn writable(
        &self,
        connection: &mut PgConnection,
        statement: &Statement,
    ) -> Result<Option<String>, sqlx::Error> {
        let query = sqlx::query::<Postgres>(
            "SELECT c.relname::text FROM pg_catalog.pg_class c \
             WHERE c.relkind IN ('r', 'p', 'v') AND has_table_privilege(c.oid, 'INSERT') \
             AND strpos(lower($1), lower(c.relname)) > 0",
        );
        let query = query.bind(&*statement.sql).persistent(false);
        let rows = first_two(connection, query, cell).await?;
        let first = rows.into_iter().flatten().find_map(|column| column.cell);
        Ok(first.and_then(|cell| match cell {
            Cell::Value(Value::String(table)) => Some(format!("table `{table}`")),
            Cell::Null | Cell::Value(_) | Cell::Time(_) => None,
        }))
    }
}

fn cell(row: &PgRow, index: usize) -> Option<Cell> {
    let value = row.try_get_raw(index).ok()?;
    if value.is_null() {
        return Some(Cell::Null);
    }
    let bytes = value.as_bytes().ok()?;
    let column = row.columns().get(index)?;
    match reader(column.type_info())? {
        Reader::Plain(read) => read(bytes),
        Reader::Texts => {
            let texts: Vec<String> = row.try_get_unchecked(index).ok()?;
            Some(Cell::Value(texts.into()))
        }
    }
}

enum Reader {
    Plain(fn(&[u8]) -> Option<Cell>),
    Texts,
}

/// How to read values of a type in the binary format; `None` if it is not supported.
fn reader(kind: &PgTypeInfo) -> Option<Reader> {
    if matches!(kind.kind(), PgTypeKind::Enum(_)) || kind.name().eq_ignore_ascii_case("citext") {
        return Some(Reader::Plain(Cell::text));
    }
    let read = match kind.name() {
        "TEXT" | "VARCHAR" | "CHAR" | "NAME" | "UNKNOWN" => Cell::text,
        "TEXT[]" | "VARCHAR[]" | "NAME[]" => return Some(Reader::Texts),
        "JSON" => Cell::json,
        "JSONB" => |bytes: &[u8]| match bytes {
            [1, json @ ..] => Cell::json(json),
            _ => None,
        },
        "BOOL" => |bytes: &[u8]| Some(Cell::Value((*bytes.first()? != 0).into())),
        "INT2" => |bytes: &[u8]| integer(i16::from_be_bytes(bytes.try_into().ok()?)),
        "INT4" => |bytes: &[u8]| integer(i32::from_be_bytes(bytes.try_into().ok()?)),
        "INT8" => |bytes: &[u8]| integer(i64::from_be_bytes(bytes.try_into().ok()?)),
        "FLOAT4" => |bytes: &[u8]| float(f32::from_be_bytes(bytes.try_into().ok()?)),
        "FLOAT8" => |bytes: &[u8]| float(f64::from_be_bytes(bytes.try_into().ok()?)),
        "TIMESTAMPTZ" => |bytes: &[u8]| match i64::from_be_bytes(bytes.try_into().ok()?) {
            // `infinity` never expires, and `-infinity` is in the past.
            i64::MAX => Some(Cell::Null),
            microseconds => {
                let seconds = microseconds.div_euclid(1_000_000).saturating_add(EPOCH);
                Some(Cell::Time(UnixTime::from_seconds(seconds)))
            }
        },
        _ => return None,
    };
    Some(Reader::Plain(read))
}

#[expect(clippy::unnecessary_wraps, reason = "the result of every reader")]
fn integer(number: impl Into<i64>) -> Option<Cell> {
    Some(Cell::Value(number.into().into()))
}

fn float(number: impl Into<f64>) -> Option<Cell> {
    serde_json::Number::from_f64(number.into()).map(|number| Cell::Value(number.into()))
}
