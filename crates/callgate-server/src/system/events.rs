//! What servers report of logins and ended connections.

use std::sync::Arc;

use super::{Connection, SessionKey};

/// An event of a server. Events may be lost and may arrive twice.
#[derive(Debug, Clone)]
pub(crate) enum SystemEvent {
    /// A login was admitted, by a callout or not.
    Connected(Arc<Connection>),
    /// A connection has ended, perhaps one whose login was refused.
    Disconnected(Arc<Disconnected>),
    /// A server refused a login; once per connection. Whose login is not read.
    LoginFailed(SessionKey),
}

/// A connection that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Disconnected {
    pub(crate) key: SessionKey,
    /// The server's reason, such as `Kicked` or `Client Closed`.
    pub(crate) reason: String,
    /// Bytes that the client received.
    pub(crate) sent: u64,
    /// Bytes that the client sent.
    pub(crate) received: u64,
}
