//! What went wrong, for the log: where, why and what to do, without values of rows or credentials.

use std::fmt;

use callgate::sanitize::one_line;

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
        other => other.to_string(),
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
            "cannot connect to `{target}`: {error}: is the database running, and does `url` name its \
             host and port?"
        ),
        sqlx::Error::Tls(error) => format!(
            "no TLS with `{target}`: {error}: turn TLS on in the database, and check `tls.ca` and \
             `tls.server_name`"
        ),
        sqlx::Error::Database(error) => {
            let code = error.code().unwrap_or_default();
            let message = error.message();
            let remedy = remedy(&code, message);
            format!("`{target}` refused the connection: {message} ({code}){remedy}")
        }
        other => format!("cannot connect to `{target}`: {other}"),
    };
    one_line(&text)
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
