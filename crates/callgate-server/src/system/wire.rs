//! What servers send (nats-server `events.go`, `monitor.go`). Only what is used is read, so that secrets that
//! some versions put into other members are never held.

use std::{net::IpAddr, sync::Arc};

use bytes::Bytes;
use callgate::{clock::UnixTime, connection::ConnectionKind, json};
use serde::{Deserialize, de::DeserializeOwned};

use super::{AccountNames, Connection, ServerId, SessionKey};

/// Larger messages are parsed off the event loop.
const LARGE: usize = 64 * 1024;

/// A message is not what a server of a known version sends.
#[derive(Debug, thiserror::Error)]
#[error("a server sent an unexpected message: {0}")]
pub(super) struct WireError(String);

/// Parses a message.
pub(super) async fn parse<T: DeserializeOwned + Send + 'static>(
    message: Bytes,
) -> Result<T, WireError> {
    if message.len() < LARGE {
        return parse_now(&message);
    }
    let parsing = tokio::task::spawn_blocking(move || parse_now(&message));
    parsing.await.map_err(|error| WireError(error.to_string()))?
}

/// Parses a message that is small.
pub(super) fn parse_now<T: DeserializeOwned>(message: &[u8]) -> Result<T, WireError> {
    json::parse_typed(message).map_err(|error| WireError(error.to_string()))
}

/// The server that sent a message.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Server {
    #[serde(default)]
    pub(super) name: String,
    id: String,
    #[serde(default)]
    ver: String,
}

impl Server {
    pub(super) fn id(&self) -> Option<ServerId> {
        self.id.parse().ok()
    }

    /// Whether lists of connections have leaf nodes: since 2.12.
    pub(super) fn lists_leaf_nodes(&self) -> bool {
        let mut numbers = self.ver.split('.').map(|number| number.parse::<u32>().unwrap_or(0));
        let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        version >= (2, 12)
    }

    /// Whether the server has a name of its own, which it keeps when it restarts.
    pub(super) fn is_named(&self) -> bool {
        !self.name.is_empty() && self.name != self.id
    }
}

/// The answer to `$SYS.REQ.SERVER.PING`.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Stats {
    pub(super) server: Server,
    pub(super) statsz: Statsz,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Statsz {
    /// How many servers this one knows, with itself.
    #[serde(default)]
    pub(super) active_servers: usize,
    #[serde(default)]
    pub(super) routes: Option<Vec<Route>>,
}

/// A route to another server of the cluster.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Route {
    /// The other server's name.
    #[serde(default)]
    pub(super) name: String,
}

/// The answer to a request about connections.
#[derive(Debug, Deserialize)]
pub(super) struct Page {
    pub(super) server: Server,
    #[serde(default)]
    data: Option<Connz>,
}

#[derive(Debug, Deserialize)]
struct Connz {
    /// `null` for an unknown account.
    #[serde(default)]
    connections: Option<Vec<Listed>>,
}

impl Page {
    pub(super) fn into_connections(self) -> Vec<Listed> {
        self.data.and_then(|data| data.connections).unwrap_or_default()
    }
}

/// One connection of a [`Page`].
#[derive(Debug, Deserialize)]
pub(super) struct Listed {
    pub(super) cid: u64,
    #[serde(default)]
    kind: String,
    #[serde(default, rename = "type")]
    kind_of_client: String,
    #[serde(default)]
    ip: String,
    #[serde(default)]
    start: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    mqtt_client: String,
    #[serde(default)]
    authorized_user: String,
    #[serde(default)]
    pub(super) account: String,
}

impl Listed {
    pub(super) fn into_connection(
        self,
        server: ServerId,
        server_name: &Arc<str>,
        accounts: &AccountNames,
    ) -> Connection {
        Connection {
            key: SessionKey { server, client_id: self.cid },
            server: Arc::clone(server_name),
            user: self.authorized_user,
            account: accounts.name(&self.account),
            kind: ConnectionKind::from_wire(&self.kind, &self.kind_of_client),
            source: address(&self.ip),
            client_name: self.name,
            mqtt_id: self.mqtt_client,
            since: time(&self.start),
        }
    }
}

/// `$SYS.ACCOUNT.*.CONNECT`, `$SYS.ACCOUNT.*.DISCONNECT` and `$SYS.SERVER.*.CLIENT.AUTH.ERR`.
#[derive(Debug, Deserialize)]
pub(super) struct Event<C> {
    pub(super) server: Server,
    pub(super) client: C,
    #[serde(default)]
    pub(super) reason: String,
    #[serde(default)]
    pub(super) sent: Bytecount,
    #[serde(default)]
    pub(super) received: Bytecount,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Bytecount {
    #[serde(default)]
    pub(super) bytes: u64,
}

/// All that is read of a client that was refused or is gone: servers of 2.10 put passwords into `user` and
/// `jwt` of refused logins.
#[derive(Debug, Deserialize)]
pub(super) struct Anonymous {
    #[serde(default)]
    pub(super) id: u64,
}

/// An admitted client.
#[derive(Debug, Deserialize)]
pub(super) struct Admitted {
    #[serde(default)]
    id: u64,
    #[serde(default)]
    acc: String,
    #[serde(default)]
    user: String,
    #[serde(default)]
    host: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    start: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    client_type: String,
    /// The MQTT client ID.
    #[serde(default)]
    client_id: String,
}

impl<C> Event<C> {
    pub(super) fn key(&self, client_id: u64) -> Option<SessionKey> {
        Some(SessionKey { server: self.server.id()?, client_id })
    }
}

impl Event<Admitted> {
    /// The new connection, and what the server calls its account.
    pub(super) fn into_connection(self, accounts: &AccountNames) -> Option<(Connection, String)> {
        let key = self.key(self.client.id)?;
        let client = self.client;
        let connection = Connection {
            key,
            server: self.server.name.into(),
            user: client.user,
            account: accounts.name(&client.acc),
            kind: ConnectionKind::from_wire(&client.kind, &client.client_type),
            source: address(&client.host),
            client_name: client.name,
            mqtt_id: client.client_id,
            since: time(&client.start),
        };
        Some((connection, client.acc))
    }
}

/// The answer to a request that does something.
#[derive(Debug, Deserialize)]
pub(super) struct Done {
    #[serde(default)]
    pub(super) error: Option<Failure>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Failure {
    #[serde(default)]
    pub(super) description: String,
}

/// An IPv4 address that a server writes as IPv6 is the IPv4 address.
fn address(text: &str) -> Option<IpAddr> {
    text.parse().ok().map(|address: IpAddr| address.to_canonical())
}

/// The beginning of time if the server's text is not a time, so that the connection counts as old.
fn time(text: &str) -> UnixTime {
    let parsed = text.parse::<jiff::Timestamp>();
    UnixTime::from_seconds(parsed.map_or(0, jiff::Timestamp::as_second))
}
