//! The connection of an identity that is not connected.

use std::{net::IpAddr, sync::LazyLock};

use callgate::{
    connection::ConnectionKind,
    keys::{KeyKind, KeyPair, ServerKey},
    policy::ConnectionInfo,
    request::{Client, Server},
};

/// A client on a server, as policy sees them.
#[derive(Debug, Clone)]
pub(crate) struct Connection {
    pub(crate) client: Client,
    pub(crate) server: Server,
}

/// Sessions end with the same jitter, so that only the configuration makes a difference.
const USER_NKEY: &[u8; 32] = &[0; 32];

/// The server of every such connection: no decision depends on its key, and generating one costs more
/// than a decision.
static SERVER: LazyLock<Result<ServerKey, String>> = LazyLock::new(|| {
    let server = KeyPair::generate(KeyKind::Server).map_err(|error| error.to_string())?;
    server.public_key().parse().map_err(|_| "no server key".to_owned())
});

impl Connection {
    /// A connection of this kind from this address.
    pub(crate) fn new(kind: ConnectionKind, source: IpAddr) -> Result<Self, String> {
        let id = SERVER.clone()?;
        let (client_kind, kind_of_client) = match kind {
            ConnectionKind::LeafNode => ("Leafnode", ""),
            ConnectionKind::Unknown => ("Unknown", ""),
            ConnectionKind::Nats | ConnectionKind::WebSocket | ConnectionKind::Mqtt => {
                ("Client", kind.as_str())
            }
        };
        Ok(Self {
            client: Client {
                host: source.to_string(),
                ip: Some(source),
                id: 1,
                connection: kind,
                kind: client_kind.to_owned(),
                kind_of_client: kind_of_client.to_owned(),
                name: String::new(),
                lang: String::new(),
                version: String::new(),
                mqtt_id: String::new(),
            },
            server: Server {
                id,
                name: String::new(),
                host: String::new(),
                version: String::new(),
                cluster: String::new(),
                tags: Vec::new(),
            },
        })
    }

    pub(crate) fn info(&self) -> ConnectionInfo<'_> {
        ConnectionInfo { client: &self.client, server: &self.server, user_nkey: USER_NKEY }
    }
}
