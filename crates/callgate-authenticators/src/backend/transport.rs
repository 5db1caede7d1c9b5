//! The keys for the connections to a backend.

use std::{net::IpAddr, sync::Arc, time::Duration};

use callgate_config::{Key, Table, Type};
use rustls::ClientConfig;

use super::tls::{self, TlsSettings};

pub(crate) const CONNECT_TIMEOUT_KEY: Key =
    Key::optional("connect_timeout", Type::Duration, "time limit for DNS, TCP and TLS together")
        .or("\"500ms\"");
pub(crate) const TLS_KEY: Key =
    Key::optional("tls", Type::Table(tls::KEYS), "TLS of the connections").or("{}");

/// `connections`, with the default of the kind, in JSON.
pub(crate) const fn connections_key(default: &'static str) -> Key {
    Key::optional(
        "connections",
        Type::Integer(1, MAX_CONNECTIONS),
        "maximum number of connections from this replica; a login that finds none free waits until its \
         deadline",
    )
    .or(default)
}

/// `insecure_plaintext`, or `insecure_http` for the kinds that use HTTP.
pub(crate) const fn insecure_key(name: &'static str) -> Key {
    Key::optional(
        name,
        Type::Boolean,
        "allow connections without TLS to a host that is not the loopback",
    )
    .or("false")
}

const MAX_CONNECTIONS: i64 = 256;
const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_millis(500);

/// How to connect to a backend.
#[derive(Debug, Clone)]
pub(crate) struct Transport {
    /// Maximum number of connections.
    pub(crate) connections: usize,
    /// For DNS, TCP and TLS together.
    pub(crate) connect_timeout: Duration,
    pub(crate) tls: TlsSettings,
    /// The key that allows plain text, and whether it is set.
    insecure: (&'static str, bool),
}

impl Transport {
    /// Reads the keys; `insecure_key` is `insecure_plaintext` or `insecure_http`.
    pub(crate) fn read(
        table: &mut Table<'_>,
        default_connections: usize,
        insecure_key: &'static str,
    ) -> Option<Self> {
        let connections = table.integer("connections", 1..=MAX_CONNECTIONS);
        let connections = connections.and_then(|number| usize::try_from(number).ok());
        let connect_timeout = table.duration("connect_timeout").unwrap_or(DEFAULT_CONNECT_TIMEOUT);
        if connect_timeout.is_zero() {
            table.fault("connect_timeout", "must be greater than zero");
        }
        let insecure = table.boolean(insecure_key).unwrap_or(false);
        if insecure {
            table.warn(
                insecure_key,
                "credentials cross the network unencrypted, and anyone on the path can answer: use TLS",
            );
        }
        Some(Self {
            connections: connections.unwrap_or(default_connections),
            connect_timeout,
            tls: TlsSettings::read(table)?,
            insecure: (insecure_key, insecure),
        })
    }

    /// Reports an error in `key` if a plain-text connection to `host` is not allowed.
    pub(crate) fn check_plaintext(&self, table: &Table<'_>, key: &str, host: &str) -> bool {
        let is_allowed = self.allows_plaintext(host);
        if !is_allowed {
            let (insecure_key, _) = self.insecure;
            let host = host.escape_debug();
            table.fault(
                key,
                format!(
                    "the connection to `{host}` would not be encrypted: use TLS, or set \
                     `{insecure_key} = true`"
                ),
            );
        }
        is_allowed
    }

    /// Whether a plain-text connection to `host` is allowed.
    pub(crate) fn allows_plaintext(&self, host: &str) -> bool {
        let (_, insecure) = self.insecure;
        insecure || is_loopback(host)
    }

    /// The TLS configuration; the error is reported.
    pub(crate) fn client_config(&self, table: &Table<'_>) -> Option<Arc<ClientConfig>> {
        self.tls.client_config().map(Arc::new).map_err(|error| table.fault("tls", error)).ok()
    }
}

/// True for `localhost` and loopback addresses, also in brackets.
pub(crate) fn is_loopback(host: &str) -> bool {
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}
