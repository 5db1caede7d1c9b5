//! What a decision and a connection have in common.

use std::{fmt, str::FromStr};

use callgate::keys::{KeyError, ServerKey};

/// Identifies a connection: the server, and the connection's ID on it. A server has another key after a
/// restart, and its IDs only grow, so a key never identifies two connections.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct SessionKey {
    pub(crate) server: ServerId,
    /// `client_info.id` of a request, `cid` of a list.
    pub(crate) client_id: u64,
}

/// The public key of a server process, without the text form, of which a table of sessions would have
/// very many.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ServerId([u8; 32]);

impl SessionKey {
    pub(crate) fn new(server: &ServerKey, client_id: u64) -> Self {
        Self { server: ServerId::from(server), client_id }
    }
}

/// A text is not `SERVER_ID/CID`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SessionKeyError {
    #[error("`{0}` is not a session: write SERVER_ID/CID, such as `NABC…/28113`")]
    Format(String),
    #[error("the server in `{text}` is not a server's key: {error}")]
    Server { text: String, error: KeyError },
}

impl FromStr for SessionKey {
    type Err = SessionKeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = text.split_once('/');
        let parts = parts.and_then(|(server, id)| Some((server, id.parse().ok()?)));
        let Some((server, client_id)) = parts else {
            return Err(SessionKeyError::Format(text.escape_debug().to_string()));
        };
        let server = server.parse().map_err(|error| {
            let text = text.escape_debug().to_string();
            SessionKeyError::Server { text, error }
        })?;
        Ok(Self { server, client_id })
    }
}

impl fmt::Display for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.server, self.client_id)
    }
}

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl ServerId {
    pub(crate) fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl From<[u8; 32]> for ServerId {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl From<&ServerKey> for ServerId {
    fn from(key: &ServerKey) -> Self {
        Self(*key.bytes())
    }
}

impl FromStr for ServerId {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        text.parse::<ServerKey>().map(|key| Self::from(&key))
    }
}

impl fmt::Display for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&ServerKey::from_bytes(self.0), f)
    }
}

impl fmt::Debug for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use callgate::keys::{KeyKind, KeyPair};

    use super::*;

    #[test]
    fn session_key_is_read_as_it_is_written() {
        let server = KeyPair::generate(KeyKind::Server).unwrap().public_key();
        let text = format!("{server}/18446744073709551615");
        let key: SessionKey = text.parse().unwrap();
        assert_eq!(key.to_string(), text);
        assert_eq!(key, SessionKey::new(&server.parse().unwrap(), u64::MAX));
        let account = KeyPair::generate(KeyKind::Account).unwrap().public_key();
        for wrong in [server.as_str(), "", "/7", &format!("{server}/x"), &format!("{account}/7")] {
            assert!(wrong.parse::<SessionKey>().is_err(), "{wrong}");
        }
    }
}
