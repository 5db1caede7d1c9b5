//! Kinds of connections, and sets of them.

use std::{fmt, str::FromStr};

/// The kind of a client's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ConnectionKind {
    /// The NATS protocol over TCP or TLS.
    Nats,
    /// The NATS protocol over WebSocket.
    WebSocket,
    /// MQTT, over TCP or over WebSocket.
    Mqtt,
    /// A leaf node: a whole server whose clients act with this user's permissions.
    LeafNode,
    /// A kind unknown to this version; never admitted.
    Unknown,
}

impl ConnectionKind {
    /// From `client_info.kind` and `.type`, as in requests, events and lists of connections. The kind comes
    /// first: a leaf node is one regardless of its type.
    pub fn from_wire(kind: &str, kind_of_client: &str) -> Self {
        match (kind, kind_of_client) {
            ("Leafnode", _) => Self::LeafNode,
            ("Client", "nats") => Self::Nats,
            ("Client", "websocket") => Self::WebSocket,
            ("Client", "mqtt") => Self::Mqtt,
            _ => Self::Unknown,
        }
    }

    /// The name in the configuration and in logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Nats => "nats",
            Self::WebSocket => "websocket",
            Self::Mqtt => "mqtt",
            Self::LeafNode => "leafnode",
            Self::Unknown => "unknown",
        }
    }

    const fn bit(self) -> u8 {
        match self {
            Self::Nats => 1,
            Self::WebSocket => 2,
            Self::Mqtt => 4,
            Self::LeafNode => 8,
            Self::Unknown => 0,
        }
    }
}

impl fmt::Display for ConnectionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text does not name a kind of connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a kind of connection: use nats, websocket, mqtt or leafnode")]
pub struct UnknownConnectionKind(String);

impl FromStr for ConnectionKind {
    type Err = UnknownConnectionKind;

    /// Reads `nats`, `websocket`, `mqtt`, `leafnode`, and the names of nats-io/jwt: `STANDARD`,
    /// `WEBSOCKET`, `MQTT`, `LEAFNODE`; case does not matter.
    fn from_str(text: &str) -> Result<Self, UnknownConnectionKind> {
        match text.to_ascii_lowercase().as_str() {
            "nats" | "standard" => Ok(Self::Nats),
            "websocket" => Ok(Self::WebSocket),
            "mqtt" => Ok(Self::Mqtt),
            "leafnode" => Ok(Self::LeafNode),
            _ => Err(UnknownConnectionKind(text.escape_debug().to_string())),
        }
    }
}

/// A set of kinds. The default contains all but leaf nodes, which are never implied.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ConnectionKinds(u8);

impl ConnectionKinds {
    /// The empty set.
    pub const NONE: Self = Self(0);

    /// Whether `kind` is in the set; an unknown kind never is.
    pub const fn contains(self, kind: ConnectionKind) -> bool {
        self.0 & kind.bit() != 0
    }

    /// Whether every kind of this set is also in `other`.
    pub(crate) const fn is_within(self, other: Self) -> bool {
        self.0 & !other.0 == 0
    }

    /// The set with `kind` added.
    #[must_use]
    pub const fn with(self, kind: ConnectionKind) -> Self {
        Self(self.0 | kind.bit())
    }

    /// The kinds in the set.
    pub fn iter(self) -> impl Iterator<Item = ConnectionKind> {
        [
            ConnectionKind::Nats,
            ConnectionKind::WebSocket,
            ConnectionKind::Mqtt,
            ConnectionKind::LeafNode,
        ]
        .into_iter()
        .filter(move |kind| self.contains(*kind))
    }
}

impl Default for ConnectionKinds {
    fn default() -> Self {
        Self::NONE
            .with(ConnectionKind::Nats)
            .with(ConnectionKind::WebSocket)
            .with(ConnectionKind::Mqtt)
    }
}

impl FromIterator<ConnectionKind> for ConnectionKinds {
    fn from_iter<I: IntoIterator<Item = ConnectionKind>>(kinds: I) -> Self {
        kinds.into_iter().fold(Self::NONE, Self::with)
    }
}

impl fmt::Debug for ConnectionKinds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(ConnectionKind::as_str)).finish()
    }
}

impl fmt::Display for ConnectionKinds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.iter().map(ConnectionKind::as_str).collect();
        f.write_str(&names.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaf_node_is_recognized_regardless_of_type() {
        let table = [
            ("Leafnode", "", ConnectionKind::LeafNode),
            ("Leafnode", "nats", ConnectionKind::LeafNode),
            ("Client", "nats", ConnectionKind::Nats),
            ("Client", "websocket", ConnectionKind::WebSocket),
            ("Client", "mqtt", ConnectionKind::Mqtt),
            ("Client", "", ConnectionKind::Unknown),
            ("Client", "quic", ConnectionKind::Unknown),
            ("Router", "nats", ConnectionKind::Unknown),
            ("", "", ConnectionKind::Unknown),
        ];
        for (kind, kind_of_client, expected) in table {
            assert_eq!(ConnectionKind::from_wire(kind, kind_of_client), expected);
        }
    }

    #[test]
    fn kinds_are_parsed_by_both_names_in_any_case() {
        for (text, expected) in [
            ("nats", Some(ConnectionKind::Nats)),
            ("NATS", Some(ConnectionKind::Nats)),
            ("STANDARD", Some(ConnectionKind::Nats)),
            ("WebSocket", Some(ConnectionKind::WebSocket)),
            ("MQTT", Some(ConnectionKind::Mqtt)),
            ("leafnode", Some(ConnectionKind::LeafNode)),
            ("unknown", None),
            ("tcp", None),
            ("", None),
        ] {
            assert_eq!(text.parse().ok(), expected, "{text}");
        }
    }

    #[test]
    fn leaf_nodes_and_unknown_kinds_are_never_implied() {
        assert!(!ConnectionKinds::default().contains(ConnectionKind::LeafNode));
        let all = ConnectionKinds::default().with(ConnectionKind::LeafNode);
        assert!(!all.with(ConnectionKind::Unknown).contains(ConnectionKind::Unknown));
        assert_eq!(all.to_string(), "nats, websocket, mqtt, leafnode");
    }
}
