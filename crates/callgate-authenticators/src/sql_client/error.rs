//! What went wrong, for the log: where, why and what to do, without values of rows or credentials.

use std::{error::Error, fmt};

use callgate::sanitize::one_line;

use crate::network::{connection_cause, of_io};

/// True if the error may be due to a connection that the database has closed or forgotten, so that the
/// statement is worth another connection. Statements only read: repeating one is harmless.
pub(crate) fn is_stale(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(error) = error else {
        return !matches!(error, sqlx::Error::Configuration(_) | sqlx::Error::Decode(_));
    };
    let code = error.code().unwrap_or_default();
    // Shutdowns, lost connections, statements that were dropped or whose columns changed.
    code.starts_with("57P") || code.starts_with("08") || matches!(&*code, "0A000" | "26000")
}

/// An error of a statement. `parameter` may be part of the database's message.
pub(crate) fn shown(error: &sqlx::Error, parameter: &str) -> impl fmt::Display + use<> {
    let text = match error {
        sqlx::Error::Database(error) => {
            let code = error.code().unwrap_or_default();
            format!("the database answered: {} ({code})", error.message())
        }
        other => of_client(other),
    };
    let text = match parameter.is_empty() {
        true => text,
        false => text.replace(parameter, "…"),
    };
    one_line(&text)
}

/// Why there is no connection to `target`, and what to do.
pub(crate) fn no_connection(target: &str, error: &sqlx::Error) -> impl fmt::Display + use<> {
    let text = match error {
        sqlx::Error::Io(error) => format!(
            "cannot connect to `{target}`: {}: is the database running, and does `url` name its host and \
             port?",
            of_io(error)
        ),
        sqlx::Error::Tls(error) => format!(
            "no TLS with `{target}`: {}: turn TLS on in the database, and check `tls.ca` and \
             `tls.server_name`",
            of_tls(&**error)
        ),
        sqlx::Error::Database(error) => {
            let code = error.code().unwrap_or_default();
            let message = error.message();
            let remedy = remedy(&code, message);
            format!("`{target}` refused the connection: {message} ({code}){remedy}")
        }
        other => format!("cannot connect to `{target}`: {}", of_client(other)),
    };
    one_line(&text)
}

fn of_tls(error: &(dyn Error + 'static)) -> String {
    let cause = connection_cause(error);
    cause.unwrap_or_else(|| match error.to_string().contains("does not support TLS") {
        true => "the database does not support TLS".to_owned(),
        false => "the TLS handshake failed".to_owned(),
    })
}

/// Without the text of the client library, which quotes messages of the protocol and values.
fn of_client(error: &sqlx::Error) -> String {
    let text = match error {
        sqlx::Error::Io(error) => return of_io(error),
        sqlx::Error::Tls(error) => return of_tls(&**error),
        sqlx::Error::Protocol(_) => {
            "the answer does not follow the database's protocol, or asks for something that Callgate does \
             not support, such as another method of authentication"
        }
        sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. } => {
            "a value of the answer cannot be read"
        }
        sqlx::Error::Encode(_) => "the parameter of the query has a type that is not text",
        sqlx::Error::TypeNotFound { .. } => {
            "a column has a type that the database does not describe"
        }
        sqlx::Error::WorkerCrashed => "the thread of the SQLite database ended",
        _ => "the client of the database failed",
    };
    text.to_owned()
}

fn remedy(code: &str, message: &str) -> &'static str {
    match code {
        // PostgreSQL and MySQL: the password, and the rules for hosts.
        "28P01" | "28000" => {
            ": check the user in `url`, its `password`, and the hosts it may come from"
        }
        // PostgreSQL, and MySQL.
        "3D000" | "42000" => ": check the database in `url`, and the rights of the user",
        "53300" | "08004" => ": lower `connections`, or raise the limit of the database",
        // SQLite.
        "14" => ": does the file exist, and may Callgate read it?",
        _ if message.contains("unsupported startup parameter") => {
            ": behind a pooler, set `transaction_pooling = true`"
        }
        _ => "",
    }
}
