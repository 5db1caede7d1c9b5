//! The keys of a connection to a database.

use std::sync::Arc;

use callgate::secret::Secret;
use callgate_config::{Key, Table, Type};

use super::{
    dialect::Dialect,
    mysql::MySqlDialect,
    pool::{Database, Pool},
    postgres::PostgresDialect,
    sqlite::SqliteDialect,
    url::{Address, Place, Product},
    verified_tls::VerifiedTls,
};
use crate::{backend::Transport, kind::BuildContext};

pub(crate) const URL_KEY: Key = Key::required(
    "url",
    Type::Secret,
    "`postgres://user@host/database`, `mysql://…` (also for MariaDB) or `sqlite:FILE`",
);
pub(crate) const PASSWORD_KEY: Key =
    Key::optional("password", Type::Secret, "replaces the password in the URL");
pub(crate) const TRANSACTION_POOLING_KEY: Key = Key::optional(
    "transaction_pooling",
    Type::Boolean,
    "for PostgreSQL behind PgBouncer or a similar pooler that pools transactions",
)
.or("false");
pub(crate) const INSECURE: &str = "insecure_plaintext";
const DEFAULT_CONNECTIONS: usize = 8;

/// How to connect to a database.
pub(crate) struct Connecting {
    pub(crate) address: Address,
    pub(crate) transport: Transport,
    /// Whether connections use TLS.
    with_tls: bool,
    /// For PostgreSQL behind a pooler.
    transaction_pooling: bool,
}

impl Connecting {
    /// Reads the keys; errors are reported.
    pub(crate) fn read(table: &mut Table<'_>) -> Option<Self> {
        let address = address(table);
        let wants_tls = table.has("tls");
        let transport = Transport::read(table, DEFAULT_CONNECTIONS, INSECURE);
        let transaction_pooling = table.boolean("transaction_pooling").unwrap_or(false);
        let address = address?;
        if transaction_pooling && address.product != Product::Postgres {
            table.fault("transaction_pooling", "only PostgreSQL needs this");
        }
        refuse_environment(table, address.product);
        let transport = transport?;
        let with_tls = uses_tls(table, &address, &transport, wants_tls);
        Some(Self { address, transport, with_tls, transaction_pooling })
    }

    /// A pool without connections: the first statement opens one.
    pub(crate) fn database(&self, context: &BuildContext) -> Arc<dyn Database> {
        let address = &self.address;
        let tls = self.with_tls.then(|| VerifiedTls::new(&self.transport.tls));
        match (address.product, &address.place) {
            (Product::Sqlite, Place::File(path) | Place::Socket(path)) => {
                let path = context.services.sources.resolve(&path.to_string_lossy());
                self.pool(context, SqliteDialect::new(&path))
            }
            (Product::MySql, _) => self.pool(context, MySqlDialect::new(address, tls.as_ref())),
            (Product::Postgres | Product::Sqlite, _) => {
                let pooling = self.transaction_pooling;
                let timeout = context.timeout;
                let dialect = PostgresDialect::new(address, tls.as_ref(), pooling, timeout);
                self.pool(context, dialect)
            }
        }
    }

    fn pool(&self, context: &BuildContext, dialect: impl Dialect) -> Arc<dyn Database> {
        let target = self.address.to_string();
        let Transport { connections, connect_timeout, .. } = self.transport;
        Arc::new(Pool::new(dialect, target, connections, connect_timeout, context.timeout))
    }
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
