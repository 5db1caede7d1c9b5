//! Connection types, each with a third-party client.

use callgate_testkit::nats_server::Version;

use crate::{mode::Mode, tool::Tool};

/// One row of the matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// TCP, by async-nats.
    Tcp,
    /// TCP, by nats-py.
    TcpPython,
    /// TCP, by the `nats` command line.
    TcpCommandLine,
    /// TLS with a client certificate that the server verifies, by async-nats.
    Tls,
    /// WebSocket, by async-nats.
    WebSocket,
    /// WebSocket, by the JavaScript client.
    WebSocketJavaScript,
    /// WebSocket with user and password in cookies, by nats-py.
    UserCookie,
    /// WebSocket with a token in a cookie, by nats-py.
    TokenCookie,
    /// WebSocket with a JWT in a cookie, by nats-py.
    JwtCookie,
    /// MQTT, by Eclipse Paho.
    Mqtt,
    /// A leaf node, which is nats-server.
    LeafNode,
}

/// Why a server line does not support a cell, and what can still be checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absence {
    /// The server rejects the configuration.
    Unconfigurable(&'static str),
    /// The server drops the credential: every login is refused.
    CredentialLost {
        /// Why, for the report.
        why: &'static str,
        /// The reason code, or `None` if Callgate receives no request.
        reason: Option<&'static str>,
    },
}

impl Transport {
    /// All transports.
    pub const ALL: [Transport; 11] = [
        Self::Tcp,
        Self::TcpPython,
        Self::TcpCommandLine,
        Self::Tls,
        Self::WebSocket,
        Self::WebSocketJavaScript,
        Self::UserCookie,
        Self::TokenCookie,
        Self::JwtCookie,
        Self::Mqtt,
        Self::LeafNode,
    ];

    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "TCP (async-nats)",
            Self::TcpPython => "TCP (nats-py)",
            Self::TcpCommandLine => "TCP (`nats` command line)",
            Self::Tls => "TLS, verified client certificate (async-nats)",
            Self::WebSocket => "WebSocket (async-nats)",
            Self::WebSocketJavaScript => "WebSocket (JavaScript)",
            Self::UserCookie => "WebSocket, user and password cookies (nats-py)",
            Self::TokenCookie => "WebSocket, token cookie (nats-py)",
            Self::JwtCookie => "WebSocket, JWT cookie (nats-py)",
            Self::Mqtt => "MQTT (Eclipse Paho)",
            Self::LeafNode => "leaf node (nats-server)",
        }
    }

    /// The connection type, as Callgate names it.
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Tcp | Self::TcpPython | Self::TcpCommandLine | Self::Tls => "nats",
            Self::WebSocket
            | Self::WebSocketJavaScript
            | Self::UserCookie
            | Self::TokenCookie
            | Self::JwtCookie => "websocket",
            Self::Mqtt => "mqtt",
            Self::LeafNode => "leafnode",
        }
    }

    /// What the machine needs for its client.
    pub const fn needs(self) -> Option<Tool> {
        match self {
            Self::WebSocketJavaScript => Some(Tool::NodeJs),
            Self::TcpCommandLine => Some(Tool::GoTools),
            Self::Tcp
            | Self::TcpPython
            | Self::Tls
            | Self::WebSocket
            | Self::UserCookie
            | Self::TokenCookie
            | Self::JwtCookie
            | Self::Mqtt
            | Self::LeafNode => None,
        }
    }

    /// Whether its client can request user info from the server.
    pub const fn can_ask(self) -> bool {
        match self {
            Self::Tcp
            | Self::TcpPython
            | Self::Tls
            | Self::WebSocket
            | Self::WebSocketJavaScript
            | Self::UserCookie
            | Self::TokenCookie
            | Self::JwtCookie => true,
            // The command line sends one message per run, MQTT has no such request, and behind a leaf node
            // the leaf node's own server would answer.
            Self::TcpCommandLine | Self::Mqtt | Self::LeafNode => false,
        }
    }

    /// Why this cell is absent, if it is.
    pub fn absence(self, mode: Mode, version: Version) -> Option<Absence> {
        let before = |minor| version.minor < minor;
        match self {
            Self::UserCookie | Self::TokenCookie if before(11) => {
                Some(Absence::Unconfigurable("cookies other than the JWT cookie require 2.11"))
            }
            Self::JwtCookie if !mode.is_operator() => Some(Absence::Unconfigurable(
                "nats-server accepts JWT cookies only in operator mode",
            )),
            Self::Mqtt if mode.is_operator() && before(12) => Some(Absence::CredentialLost {
                why: "before 2.12 nats-server reads an MQTT password as the sentinel JWT, which leaves no field for a credential",
                reason: None,
            }),
            Self::Tcp
            | Self::TcpPython
            | Self::TcpCommandLine
            | Self::Tls
            | Self::WebSocket
            | Self::WebSocketJavaScript
            | Self::UserCookie
            | Self::TokenCookie
            | Self::JwtCookie
            | Self::Mqtt
            | Self::LeafNode => None,
        }
    }
}
