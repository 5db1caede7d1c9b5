//! A verified authorization request with the client's one credential.

use std::{fmt, net::IpAddr};

use tokio::time::Instant;

use crate::{
    clock::UnixTime,
    connection::ConnectionKind,
    keys::{ServerKey, UserKey},
    secret::Secret,
};

#[cfg(feature = "testing")]
mod testing;

/// In bytes. Hashing longer passwords would waste our time.
pub const MAX_PASSWORD: usize = 1024;
/// In bytes; a longer token is refused.
pub const MAX_TOKEN: usize = 16 * 1024;
/// In bytes; a longer user name is refused.
pub const MAX_USER: usize = 512;

/// A request whose origin and form were checked. Only the opener creates one.
#[derive(Debug)]
pub struct AuthRequest {
    pub(crate) id: String,
    pub(crate) server: Server,
    pub(crate) user_nkey: UserKey,
    pub(crate) client: Client,
    pub(crate) credential: Credential,
    pub(crate) certificate: Option<Certificate>,
    pub(crate) received: UnixTime,
    pub(crate) deadline: Instant,
}

impl AuthRequest {
    /// The request's ID (`jti`).
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The server that sent the request.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// The key that the server generated for this connection.
    pub fn user_nkey(&self) -> &UserKey {
        &self.user_nkey
    }

    /// The client, as the server sees it.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The client's one credential.
    pub fn credential(&self) -> &Credential {
        &self.credential
    }

    /// The client certificate, if the server verified one. It may accompany any credential.
    pub fn certificate(&self) -> Option<&Certificate> {
        self.certificate.as_ref()
    }

    /// The same request with its certificate as the only credential, to ask an authenticator of
    /// certificates about a client that sent another credential, too.
    #[must_use]
    pub fn with_certificate_alone(&self) -> Self {
        Self {
            id: self.id.clone(),
            server: self.server.clone(),
            user_nkey: self.user_nkey.clone(),
            client: self.client.clone(),
            credential: Credential::Certificate,
            certificate: self.certificate.clone(),
            received: self.received,
            deadline: self.deadline,
        }
    }

    /// When the request arrived, by the wall clock: the time to check expiries against.
    pub fn received(&self) -> UnixTime {
        self.received
    }

    /// When it is too late to begin a reply.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }
}

/// The server that sent a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Its public nkey, generated at each start.
    pub id: ServerKey,
    /// Its name.
    pub name: String,
    /// The host it listens on.
    pub host: String,
    /// Its version.
    pub version: String,
    /// Its cluster's name, or empty.
    pub cluster: String,
    /// Its tags.
    pub tags: Vec<String>,
}

/// The client, as the server sees it. `name`, `lang`, `version` and `mqtt_id` are unverified claims of
/// the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// The TCP peer, never a forwarded address.
    pub host: String,
    /// `host` as an address, if it is one.
    pub ip: Option<IpAddr>,
    /// The connection's ID on the server.
    pub id: u64,
    /// The kind of connection.
    pub connection: ConnectionKind,
    /// `client_info.kind`: `Client` or `Leafnode`.
    pub kind: String,
    /// `client_info.type`: `nats`, `websocket`, `mqtt`, or empty.
    pub kind_of_client: String,
    /// The name that the client claims.
    pub name: String,
    /// The client library's language.
    pub lang: String,
    /// The client library's version.
    pub version: String,
    /// The MQTT client id.
    pub mqtt_id: String,
}

/// The one credential that a client proves its identity with.
///
/// The values are as the client sent them, limited in length. An nkey has already been proven to have
/// signed the server's nonce.
#[derive(Clone)]
#[non_exhaustive]
pub enum Credential {
    /// A user name and a password that is not a JWT.
    Password {
        /// The user name, not yet verified.
        user: String,
        /// The password.
        password: Secret,
    },
    /// A token: from `auth_token`, from `jwt`, or a JWT sent as the password.
    Token(Secret),
    /// An nkey that signed the server's nonce.
    Nkey(UserKey),
    /// The verified client certificate alone.
    Certificate,
    /// No credential at all. Only authenticators that take anonymous clients see it.
    Anonymous,
}

impl Credential {
    /// The kind, for logs and explanations.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Password { .. } => "password",
            Self::Token(_) => "token",
            Self::Nkey(_) => "nkey",
            Self::Certificate => "certificate",
            Self::Anonymous => "none",
        }
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Password { user, .. } => write!(f, "Password({user:?}, [redacted])"),
            Self::Token(_) => f.write_str("Token([redacted])"),
            Self::Nkey(key) => write!(f, "Nkey({key})"),
            Self::Certificate => f.write_str("Certificate"),
            Self::Anonymous => f.write_str("Anonymous"),
        }
    }
}

/// A client certificate that nats-server verified. Unverified certificates are ignored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The verified chains, each a list of PEM certificates, leaf first.
    pub verified_chains: Vec<Vec<String>>,
    /// The negotiated TLS version.
    pub tls_version: String,
    /// The negotiated cipher.
    pub cipher: String,
}
