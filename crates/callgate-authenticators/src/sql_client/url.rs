//! The address of a database.

use std::{fmt, path::PathBuf};

use callgate::secret::Secret;
use percent_encoding::percent_decode_str;
use reqwest::Url;

/// A database product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Product {
    Postgres,
    /// MySQL or MariaDB.
    MySql,
    Sqlite,
}

/// Where the database is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    Tcp {
        host: String,
        port: u16,
    },
    /// PostgreSQL: the folder of the socket; MySQL: the socket.
    Socket(PathBuf),
    /// SQLite.
    File(PathBuf),
}

/// A parsed URL. `Display` shows scheme, host, port and database, and no more.
#[derive(Clone)]
pub(crate) struct Address {
    pub(crate) product: Product,
    pub(crate) place: Place,
    pub(crate) user: String,
    pub(crate) password: Option<Secret>,
    pub(crate) database: String,
}

impl Address {
    /// # Errors
    /// What is wrong, without any part of the URL.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        if let Some(path) = text.strip_prefix("sqlite:") {
            return sqlite(path.strip_prefix("//").unwrap_or(path));
        }
        let url = Url::parse(text).map_err(|_| "is not a URL of a database")?;
        let (product, default_port) = match url.scheme() {
            "postgres" | "postgresql" => (Product::Postgres, 5432),
            "mysql" | "mariadb" => (Product::MySql, 3306),
            _ => return Err("must begin with `postgres://`, `mysql://` or `sqlite:`"),
        };
        if url.query().is_some() || url.fragment().is_some() {
            return Err(NO_PARAMETERS);
        }
        let user = decode(url.username())?;
        let password = url.password().map(decode).transpose()?.map(Secret::from);
        let database = decode(url.path().trim_start_matches('/'))?;
        let host = decode(url.host_str().unwrap_or_default())?;
        if user.is_empty() || host.is_empty() || database.is_empty() {
            return Err("needs a user, a host and a database: `postgres://user@host/database`");
        }
        let place = match host.starts_with('/') {
            true => Place::Socket(host.into()),
            false => Place::Tcp {
                host: host.trim_matches(['[', ']']).to_owned(),
                port: url.port().unwrap_or(default_port),
            },
        };
        Ok(Self { product, place, user, password, database })
    }
}

const NO_PARAMETERS: &str =
    "parameters after `?` are not supported: what they would set has keys here";

fn sqlite(path: &str) -> Result<Address, &'static str> {
    if path.contains(['?', '#']) {
        return Err(NO_PARAMETERS);
    }
    if path.is_empty() || path.starts_with(":memory:") || path.starts_with("file:") {
        return Err("must name a file: `sqlite:users.db`");
    }
    Ok(Address {
        product: Product::Sqlite,
        place: Place::File(path.into()),
        user: String::new(),
        password: None,
        database: String::new(),
    })
}

fn decode(text: &str) -> Result<String, &'static str> {
    let decoded = percent_decode_str(text).decode_utf8().map_err(|_| "is not UTF-8")?;
    match decoded.contains('\0') {
        true => Err("contains a NUL character"),
        false => Ok(decoded.into_owned()),
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.product {
            Product::Postgres => "postgres",
            Product::MySql => "mysql",
            Product::Sqlite => "sqlite",
        };
        let database = self.database.escape_debug();
        match &self.place {
            Place::Tcp { host, port } if host.contains(':') => {
                write!(f, "{scheme}://[{}]:{port}/{database}", host.escape_debug())
            }
            Place::Tcp { host, port } => {
                write!(f, "{scheme}://{}:{port}/{database}", host.escape_debug())
            }
            Place::Socket(path) => write!(f, "{scheme}://{:?}/{database}", path),
            Place::File(path) => write!(f, "{scheme}:{}", path.display()),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}
