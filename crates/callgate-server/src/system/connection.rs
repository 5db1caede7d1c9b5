//! Connections, as servers list them.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use callgate::{clock::UnixTime, connection::ConnectionKind};

use super::{ServerId, SessionKey};

/// A connection that a server lists. All texts are as the server sent them: `user` is the name in the user
/// JWT, `client_name` and `mqtt_id` are the client's own words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Connection {
    pub(crate) key: SessionKey,
    /// The server's name.
    pub(crate) server: Arc<str>,
    pub(crate) user: String,
    /// The account's name, if the configuration knows it; otherwise what the server calls it.
    pub(crate) account: Arc<str>,
    pub(crate) kind: ConnectionKind,
    /// The TCP peer.
    pub(crate) source: Option<IpAddr>,
    pub(crate) client_name: String,
    pub(crate) mqtt_id: String,
    /// When the connection was established.
    pub(crate) since: UnixTime,
}

/// Which connections to list: those of all given values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ConnzFilter {
    pub(crate) user: Option<String>,
    /// An account's name.
    pub(crate) account: Option<String>,
}

/// The connections of all servers, without those of the callout and the system account.
#[derive(Debug, Clone, Default)]
pub(crate) struct Listing {
    pub(crate) connections: Vec<Connection>,
    /// Connections that a server lists without an account: logins that are pending, for which `user` is what
    /// the client typed, and sessions in `$G`. Only a decision tells them apart, so these are not sessions
    /// unless there is one.
    pub(crate) without_account: Vec<Connection>,
    /// The servers that do not list leaf nodes, with their names. `connections` has those leaf nodes whose
    /// logins this process has seen.
    pub(crate) without_leaf_nodes: BTreeMap<ServerId, Arc<str>>,
    pub(crate) servers: ServersAnswered,
}

impl Listing {
    /// Whether every server answered in full.
    pub(crate) fn is_complete(&self) -> bool {
        self.servers.is_complete()
    }
}

/// Which servers answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ServersAnswered {
    pub(crate) expected: usize,
    pub(crate) answered: usize,
    /// Whether a server said how many there are.
    pub(crate) is_counted: bool,
    /// The names of those that did not answer, as far as they are known.
    pub(crate) missing: Vec<String>,
}

impl ServersAnswered {
    pub(crate) fn is_complete(&self) -> bool {
        self.is_counted && self.answered >= self.expected && self.missing.is_empty()
    }
}

/// Why no connections can be listed at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unavailable {
    #[error("no connection to the system account: see the log, and check `[system]`")]
    NotConnected,
    #[error(
        "the callout account is not known yet, so its connections cannot be told from others: {0}"
    )]
    CalloutAccountUnknown(String),
    #[error("no server answers requests of the system account: {0}")]
    NoServer(String),
}
