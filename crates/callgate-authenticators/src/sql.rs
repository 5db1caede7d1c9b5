//! The kind `sql`: users in the tables of PostgreSQL, MySQL, MariaDB or SQLite.
#![doc = include_str!("../docs/sql.md")]

use std::sync::Arc;

use callgate::{authn::Authenticator, secret::Secret};
use callgate_config::{Item, Key, Table, Type};

use crate::{
    backend::{CONNECT_TIMEOUT_KEY, TLS_KEY, Transport, connections_key, insecure_key},
    directory::DirectoryAuthenticator,
    kind::{BuildContext, FALL_THROUGH_KEY, Kind, never_falls_through},
    passwords::{Cost, StoredPassword},
    sql_client::{Address, Connecting, Database, Place, Product, Statement, Unverified},
};

mod directory;
mod probe;
mod row;

use directory::SqlDirectory;
use probe::Statements;

/// The kind `sql`.
#[derive(Debug, Clone, Copy, Default)]
pub struct SqlKind;

const DEFAULT_CONNECTIONS: usize = 8;

const KEYS: &[Key] = &[
    Key::required(
        "url",
        Type::Secret,
        "`postgres://user@host/database`, `mysql://…` (also for MariaDB) or `sqlite:FILE`",
    ),
    Key::optional("password", Type::Secret, "replaces the password in the URL"),
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
    Key::optional(
        "transaction_pooling",
        Type::Boolean,
        "for PostgreSQL behind PgBouncer or a similar pooler that pools transactions",
    )
    .or("false"),
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
    insecure_key("insecure_plaintext"),
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
    address: Address,
    transport: Transport,
    /// Whether connections use TLS.
    with_tls: bool,
    statements: Statements,
    transaction_pooling: bool,
    unknown_user_cost: Option<Cost>,
    fall_through: bool,
}

impl Settings {
    fn read(context: &BuildContext, mut table: Table<'_>) -> Option<Self> {
        let address = address(&mut table);
        let wants_tls = table.has("tls");
        let transport = Transport::read(&mut table, DEFAULT_CONNECTIONS, "insecure_plaintext");
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
        let transaction_pooling = table.boolean("transaction_pooling").unwrap_or(false);
        let unknown_user_cost = table.raw("hash").and_then(|item| hash_prefix(&item));
        if fall_through && by_name.is_none() {
            table.fault("fall_through", "has no effect without a `query`");
        }
        let proposes = [&by_name, &by_token, &by_nkey].into_iter().flatten().any(proposes);
        let ceiling_warning = context.policy.ceiling_warning("rows");
        if let Some(warning) = ceiling_warning.as_ref().filter(|_| proposes) {
            table.warn_here(warning);
        }
        if let Some(address) = &address {
            if transaction_pooling && address.product != Product::Postgres {
                table.fault("transaction_pooling", "only PostgreSQL needs this");
            }
            refuse_environment(&table, address.product);
        }
        let places = address.zip(transport).map(|(address, transport)| {
            let with_tls = uses_tls(&table, &address, &transport, wants_tls);
            (address, transport, with_tls)
        });
        let good = table.finish();
        let (address, transport, with_tls) = places.filter(|_| good)?;
        let statements =
            Statements { product: address.product, by_name, by_token, by_nkey, ceiling_warning };
        Some(Self {
            address,
            transport,
            with_tls,
            statements,
            transaction_pooling,
            unknown_user_cost,
            fall_through,
        })
    }

    fn start(self, context: BuildContext) -> DirectoryAuthenticator<SqlDirectory> {
        let target = self.address.to_string();
        let connections = self.transport.connections;
        let database = self.database(&context);
        let directory = SqlDirectory::new(
            &context,
            &target,
            connections,
            database,
            self.statements,
            self.unknown_user_cost,
        );
        DirectoryAuthenticator::new(directory, context, self.fall_through)
    }

    fn database(&self, context: &BuildContext) -> Arc<dyn Database> {
        let Transport { connections, connect_timeout, ref tls, .. } = self.transport;
        let connecting = Connecting {
            address: &self.address,
            sources: &context.services.sources,
            tls: self.with_tls.then_some(tls),
            connections,
            connect_timeout,
            timeout: context.timeout,
            transaction_pooling: self.transaction_pooling,
        };
        connecting.database()
    }
}

/// Whether a statement seems to return what only a ceiling permits.
fn proposes(statement: &Statement) -> bool {
    let sql = statement.sql.to_ascii_lowercase();
    let mut words = sql.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.any(|word| ["account", "roles", "permissions"].contains(&word))
}

fn address(table: &mut Table<'_>) -> Option<Address> {
    let password = table.secret("password");
    let Some(item) = table.raw("url") else {
        table.fault_here("needs a `url`");
        return None;
    };
    // A URL without a password may be written into the file.
    let written = item.value().as_str();
    let url = written.map_or_else(|| item.secret(), |text| Some(Secret::from(text)))?;
    let parsed = Address::parse(url.expose());
    let mut address = parsed.map_err(|error| table.fault("url", error)).ok()?;
    if written.is_some() && address.password.is_some() {
        table.warn(
            "url",
            "contains a password: move the URL or the `password` to a file or an environment variable",
        );
    }
    address.password = password.or(address.password);
    Some(address)
}

/// Whether to use TLS: always, except on this machine without a table `tls`, or if plain text is allowed.
fn uses_tls(table: &Table<'_>, address: &Address, transport: &Transport, wants_tls: bool) -> bool {
    match &address.place {
        Place::Socket(_) | Place::File(_) => {
            if wants_tls {
                table.fault("tls", "a file or a Unix socket has no TLS");
            }
            false
        }
        Place::Tcp { host, port: _ } => wants_tls || !transport.allows_plaintext(host),
    }
}

/// sqlx reads these variables and offers no way to ignore them. All others are overridden.
fn refuse_environment(table: &Table<'_>, product: Product) {
    if product != Product::Postgres {
        return;
    }
    for variable in ["PGOPTIONS", "PGSSLCERT", "PGSSLKEY"] {
        if std::env::var_os(variable).is_some() {
            table.fault_here(format!(
                "the environment variable `{variable}` would change the connection: only the \
                 configuration decides, so unset it"
            ));
        }
    }
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
