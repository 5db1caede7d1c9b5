//! MySQL and MariaDB.

use std::time::Duration;

use callgate::clock::UnixTime;
use sqlx::{
    AssertSqlSafe, Column as _, ConnectOptions, Decode, Executor, MySql, MySqlConnection, Row as _,
    SqlSafeStr, Statement as _, Type, TypeInfo as _, ValueRef as _,
    mysql::{MySqlConnectOptions, MySqlRow, MySqlSslMode, MySqlTypeInfo, MySqlValueRef},
};

use super::{
    dialect::{Cell, Description, Dialect, Rows, Statement, first_two, parameter_count},
    relay::Relay,
    url::{Address, Place},
    verified_tls::VerifiedTls,
};

pub(crate) struct MySqlDialect {
    options: MySqlConnectOptions,
    relay: Option<Relay>,
}

impl MySqlDialect {
    pub(crate) fn new(address: &Address, tls: Option<&VerifiedTls>) -> Self {
        let mut options = MySqlConnectOptions::new()
            .username(&address.user)
            .password(address.password.as_ref().map_or("", |password| password.expose()))
            .database(&address.database)
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
            None => options.ssl_mode(MySqlSslMode::Disabled),
            Some(tls) => {
                options = options
                    .ssl_mode(MySqlSslMode::VerifyIdentity)
                    .ssl_ca_from_pem(tls.authorities.clone());
                match &tls.identity {
                    None => options,
                    Some((cert, key)) => options
                        .ssl_client_cert_from_pem(cert)
                        .ssl_client_key_from_pem(key.as_slice()),
                }
            }
        };
        Self { options, relay }
    }
}

impl Dialect for MySqlDialect {
    type Connection = MySqlConnection;

    const ECHO: &'static str = "SELECT CAST(? AS CHAR)";

    async fn open(&self, timeout: Duration) -> Result<MySqlConnection, sqlx::Error> {
        let mut connection = match &self.relay {
            None => self.options.connect().await?,
            Some(relay) => self.options.clone().socket(relay.start("").await?).connect().await?,
        };
        connection.execute("SET SESSION TRANSACTION READ ONLY").await?;
        // MariaDB runs `/*M! … */` and ignores `/*!50708 … */`; MySQL does the opposite.
        let limit = format!(
            "SET SESSION /*M! max_statement_time = {} */ /*!50708 max_execution_time = {} */",
            timeout.as_secs_f64(),
            timeout.as_millis().max(1)
        );
        connection.execute(AssertSqlSafe(limit)).await?;
        Ok(connection)
    }

    async fn fetch(
        &self,
        connection: &mut MySqlConnection,
        statement: &Statement,
        parameters: &[&str],
        _timeout: Duration,
    ) -> Result<Rows, sqlx::Error> {
        let query = sqlx::query::<MySql>(statement.sql());
        let query = parameters.iter().fold(query, |query, value| query.bind(*value));
        first_two(connection, query, cell).await
    }

    async fn describe(
        &self,
        connection: &mut MySqlConnection,
        statement: &Statement,
    ) -> Result<Description, sqlx::Error> {
        let prepared = connection.prepare(statement.sql().into_sql_str()).await?;
        let parameters = parameter_count(prepared.parameters());
        let columns = prepared.columns().iter().map(|column| {
            let kind = column.type_info();
            (column.name().to_owned(), kind.name().to_owned(), reader(kind).is_some())
        });
        Ok(Description { parameters: (parameters, Vec::new()), columns: columns.collect() })
    }

    async fn writable(
        &self,
        connection: &mut MySqlConnection,
        _statement: &Statement,
    ) -> Result<Option<String>, sqlx::Error> {
        let query = sqlx::query::<MySql>(
            "SELECT 1 FROM information_schema.user_privileges WHERE privilege_type = 'INSERT' \
             UNION SELECT 1 FROM information_schema.schema_privileges \
             WHERE privilege_type = 'INSERT' AND DATABASE() LIKE table_schema \
             UNION SELECT 1 FROM information_schema.table_privileges \
             WHERE privilege_type = 'INSERT' AND table_schema = DATABASE()",
        );
        let rows = first_two(connection, query, cell).await?;
        Ok((!rows.is_empty()).then(|| "tables of this database".to_owned()))
    }
}

fn cell(row: &MySqlRow, index: usize) -> Option<Cell> {
    let value = row.try_get_raw(index).ok()?;
    if value.is_null() {
        return Some(Cell::Null);
    }
    reader(row.columns().get(index)?.type_info())?(value)
}

/// How to read values of a type; `None` if it is not supported.
fn reader(kind: &MySqlTypeInfo) -> Option<fn(MySqlValueRef<'_>) -> Option<Cell>> {
    if <str as Type<MySql>>::compatible(kind) {
        return Some(|value| Cell::text(bytes(value)?));
    }
    Some(match kind.name() {
        "NULL" => |_| Some(Cell::Null),
        "JSON" => |value| Cell::json(bytes(value)?),
        "BOOLEAN" => |value| match <i64 as Decode<MySql>>::decode(value).ok()? {
            0 => Some(Cell::Value(false.into())),
            1 => Some(Cell::Value(true.into())),
            other => Some(Cell::Value(other.into())),
        },
        "TINYINT" | "SMALLINT" | "MEDIUMINT" | "INT" | "BIGINT" => {
            |value| Some(Cell::Value(<i64 as Decode<MySql>>::decode(value).ok()?.into()))
        }
        "TINYINT UNSIGNED" | "SMALLINT UNSIGNED" | "MEDIUMINT UNSIGNED" | "INT UNSIGNED"
        | "BIGINT UNSIGNED" => {
            |value| Some(Cell::Value(<u64 as Decode<MySql>>::decode(value).ok()?.into()))
        }
        "FLOAT" | "DOUBLE" => |value| {
            let number = serde_json::Number::from_f64(<f64 as Decode<MySql>>::decode(value).ok()?)?;
            Some(Cell::Value(number.into()))
        },
        "DECIMAL" => |value| match Cell::json(bytes(value)?)? {
            Cell::Value(number) if number.is_number() => Some(Cell::Value(number)),
            Cell::Null | Cell::Value(_) | Cell::Time(_) => None,
        },
        "TIMESTAMP" => |value| time(bytes(value)?),
        _ => return None,
    })
}

fn bytes(value: MySqlValueRef<'_>) -> Option<&[u8]> {
    <&[u8] as Decode<MySql>>::decode(value).ok()
}

/// A time in the binary protocol; the zone of the session is UTC.
fn time(bytes: &[u8]) -> Option<Cell> {
    let [_length, low, high, month, day, rest @ ..] = bytes else { return None };
    let year = i16::try_from(u16::from_le_bytes([*low, *high])).ok()?;
    let part = |index: usize| rest.get(index).map_or(Some(0), |part| i8::try_from(*part).ok());
    let month = i8::try_from(*month).ok()?;
    let day = i8::try_from(*day).ok()?;
    let time =
        jiff::civil::DateTime::new(year, month, day, part(0)?, part(1)?, part(2)?, 0).ok()?;
    let zoned = time.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    Some(Cell::Time(UnixTime::from_seconds(zoned.timestamp().as_second())))
}
