//! The kind `sql`: users in the tables of PostgreSQL, MySQL, MariaDB or SQLite.
#![doc = include_str!("../docs/sql.md")]

use std::sync::Arc;

use callgate::authn::Authenticator;
use callgate_config::{Item, Key, Table, Type};

use crate::{
    backend::{CONNECT_TIMEOUT_KEY, TLS_KEY, connections_key, insecure_key},
    directory::DirectoryAuthenticator,
    kind::{BuildContext, FALL_THROUGH_KEY, Kind, never_falls_through},
    passwords::{Cost, StoredPassword},
    sql_client::{
        Connecting, INSECURE, PASSWORD_KEY, Statement, TRANSACTION_POOLING_KEY, URL_KEY, Unverified,
    },
};

mod directory;
mod probe;
mod row;

use directory::SqlDirectory;
use probe::Statements;

/// The kind `sql`.
#[derive(Debug, Clone, Copy, Default)]
pub struct SqlKind;

const KEYS: &[Key] = &[
    URL_KEY,
    PASSWORD_KEY,
    Key::optional(
        "query",
        Type::Text,
        "returns one row for a user name. It takes one parameter: `$1` in PostgreSQL, `?` in MySQL and SQLite",
    ),
    Key::optional(
        "token_query",
        Type::Text,
        "returns one row for a token. The parameter is the token's SHA-256 in lower-case hexadecimal",
    ),
    Key::optional("nkey_query", Type::Text, "returns one row for a public nkey (`U…`)"),
    TRANSACTION_POOLING_KEY,
    Key::optional(
        "hash",
        Type::Text,
        "what an unknown user costs before any row has been seen, such as `$argon2id$v=19$m=19456,t=2,p=1`",
    )
    .or_else("that of `hash-password`"),
    FALL_THROUGH_KEY,
    connections_key("8"),
    CONNECT_TIMEOUT_KEY,
    TLS_KEY,
    insecure_key(INSECURE),
];

impl Kind for SqlKind {
    fn name(&self) -> &'static str {
        "sql"
    }

    fn keys(&self) -> &'static [Key] {
        KEYS
    }

    fn has_entries(&self) -> bool {
        true
    }

    fn takes_passwords(&self, table: &serde_json::Value) -> bool {
        table.get("query").is_some()
    }

    fn refuses_unknown_users(&self, table: &serde_json::Value) -> bool {
        table.get("query").is_some() && never_falls_through(table)
    }

    fn build(&self, context: &BuildContext, table: Table<'_>) -> Option<Arc<dyn Authenticator>> {
        let settings = Settings::read(context, table)?;
        Some(Arc::new(settings.start(context.clone())))
    }
}

/// The table `[authenticators.sql]`.
struct Settings {
    connecting: Connecting,
    statements: Statements,
    unknown_user_cost: Option<Cost>,
    fall_through: bool,
}

impl Settings {
    fn read(context: &BuildContext, mut table: Table<'_>) -> Option<Self> {
        let connecting = Connecting::read(&mut table);
        let fall_through = context.chain.read_password_fall_through(&mut table);
        let mut statement = |key, unverified| {
            table.filled_string(key).map(|sql| Statement { sql: sql.into(), unverified })
        };
        let no_row = if fall_through { Unverified::NoRow } else { Unverified::None };
        let by_name = statement("query", no_row);
        let by_token = statement("token_query", Unverified::All);
        let by_nkey = statement("nkey_query", Unverified::All);
        if by_name.is_none() && by_token.is_none() && by_nkey.is_none() {
            table.fault_here("needs a `query`, a `token_query` or an `nkey_query`");
        }
        let unknown_user_cost = table.raw("hash").and_then(|item| hash_prefix(&item));
        if fall_through && by_name.is_none() {
            table.fault("fall_through", "has no effect without a `query`");
        }
        let proposes = [&by_name, &by_token, &by_nkey].into_iter().flatten().any(proposes);
        let ceiling_warning = context.policy.ceiling_warning("rows");
        if let Some(warning) = ceiling_warning.as_ref().filter(|_| proposes) {
            table.warn_here(warning);
        }
        let good = table.finish();
        let connecting = connecting.filter(|_| good)?;
        let product = connecting.address.product;
        let statements = Statements { product, by_name, by_token, by_nkey, ceiling_warning };
        Some(Self { connecting, statements, unknown_user_cost, fall_through })
    }

    fn start(self, context: BuildContext) -> DirectoryAuthenticator<SqlDirectory> {
        let Self { connecting, statements, unknown_user_cost, fall_through } = self;
        let directory = SqlDirectory::new(&context, &connecting, statements, unknown_user_cost);
        DirectoryAuthenticator::new(directory, context, fall_through)
    }
}

/// Whether a statement seems to return what only a ceiling permits.
fn proposes(statement: &Statement) -> bool {
    let sql = statement.sql.to_ascii_lowercase();
    let mut words = sql.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.any(|word| ["account", "roles", "permissions"].contains(&word))
}

/// The cost of hashes that begin like this.
fn hash_prefix(item: &Item<'_>) -> Option<Cost> {
    let text = item.string()?;
    let cost = StoredPassword::cost_of_prefix(text);
    if cost.is_none() {
        item.fault(
            "is not the beginning of a hash up to its parameters, such as \
             `$argon2id$v=19$m=19456,t=2,p=1` or `$2b$12`",
        );
    }
    cost
}

#[cfg(test)]
mod tests;
