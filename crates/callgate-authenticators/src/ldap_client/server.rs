//! The directory servers of a configuration.

use std::{fmt, net::IpAddr};

use reqwest::Url;

use crate::http_client::sanitize_url;

/// A directory server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Server {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) transport: Transport,
}

/// How the connection to a server is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    /// TLS from the first byte (`ldaps://`).
    Tls,
    /// TLS after the StartTLS operation, before anything else is sent (`ldap://`).
    StartTls,
    /// No TLS: on the loopback, or with `insecure_plaintext`.
    Plain,
}

/// Why a URL does not name a directory server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ServerError {
    #[error("`{0}` is not the URL of a directory server: write `ldaps://host`")]
    Form(String),
    #[error("a URL must not contain a user or a password: set `bind_dn` and `bind_password`")]
    UserInfo,
    #[error("`{0}` has more than a host and a port: set `base`, `scope` and `filter` instead")]
    Path(String),
}

impl Server {
    /// Parses `ldaps://host[:port]` or `ldap://host[:port]`. `ldap://` means StartTLS, unless
    /// `is_plain_allowed` says so for the host.
    pub(crate) fn parse(
        text: &str,
        is_plain_allowed: impl FnOnce(&str) -> bool,
    ) -> Result<Self, ServerError> {
        let form = || ServerError::Form(sanitize_url(text));
        let url = Url::parse(text).map_err(|_| form())?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(ServerError::UserInfo);
        }
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(form)?;
        let host = host.trim_matches(['[', ']']).to_ascii_lowercase();
        if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
            return Err(ServerError::Path(sanitize_url(text)));
        }
        let (transport, port) = match url.scheme() {
            "ldaps" => (Transport::Tls, 636),
            "ldap" if is_plain_allowed(&host) => (Transport::Plain, 389),
            "ldap" => (Transport::StartTls, 389),
            _ => return Err(form()),
        };
        Ok(Self { port: url.port().unwrap_or(port), host, transport })
    }
}

impl Server {
    /// Whether connections are not encrypted.
    pub(crate) fn is_plain(&self) -> bool {
        self.transport == Transport::Plain
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.transport {
            Transport::Tls => "ldaps",
            Transport::StartTls | Transport::Plain => "ldap",
        };
        match self.host.parse() {
            Ok(IpAddr::V6(address)) => write!(f, "{scheme}://[{address}]:{}", self.port),
            _ => write!(f, "{scheme}://{}:{}", self.host, self.port),
        }
    }
}
