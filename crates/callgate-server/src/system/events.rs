//! What servers report of logins and ended connections.

use std::sync::Arc;

use async_nats::{Client, Message, SubscribeError};
use futures_util::StreamExt;
use tracing::debug;

use super::{
    Connection, SessionKey, System,
    wire::{self, Admitted, Anonymous, Event},
};
use crate::recent::Recent;

/// Refused logins that are remembered, since servers before 2.15 report each twice.
const REMEMBERED_FAILURES: usize = 16_384;

/// An event of a server. Events may be lost and may arrive twice.
#[derive(Debug, Clone)]
pub(crate) enum SystemEvent {
    /// A login was admitted, by a callout or not.
    Connected(Arc<Connection>),
    /// A connection has ended, perhaps one whose login was refused.
    Disconnected(Arc<Disconnected>),
    /// A server refused a login; once per connection. Whose login it was is not read.
    LoginFailed(
        #[cfg_attr(not(test), expect(dead_code, reason = "only tests look at it"))] SessionKey,
    ),
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

/// The subscriptions of a system user.
pub(super) const SUBJECTS: [&str; 3] =
    ["$SYS.ACCOUNT.*.CONNECT", "$SYS.ACCOUNT.*.DISCONNECT", "$SYS.SERVER.*.CLIENT.AUTH.ERR"];

/// Passes events on until the connection is closed.
pub(super) async fn run(system: Arc<System>, client: Client) -> Result<(), SubscribeError> {
    let [connects, disconnects, failures] = SUBJECTS;
    let mut connects = client.subscribe(connects).await?;
    let mut disconnects = client.subscribe(disconnects).await?;
    let mut failures = client.subscribe(failures).await?;
    let mut counted = Recent::new(REMEMBERED_FAILURES);
    loop {
        let event = tokio::select! {
            Some(message) = connects.next() => connected(&system, &message),
            Some(message) = disconnects.next() => disconnected(&system, &message),
            Some(message) = failures.next() => login_failed(&system, &message, &mut counted),
            else => return Ok(()),
        };
        match event {
            // Without a receiver, nothing is missed.
            Ok(Some(event)) => drop(system.events.send(event)),
            Ok(None) => {}
            Err(error) => debug!(%error, "event of a server ignored"),
        }
    }
}

type Received = Result<Option<SystemEvent>, wire::WireError>;

fn connected(system: &System, message: &Message) -> Received {
    let event: Event<Admitted> = wire::parse_now(&message.payload)?;
    let Some((connection, account)) = event.into_connection(&system.accounts.load()) else {
        return Ok(None);
    };
    system.leaf_nodes.connected(&connection, &account);
    Ok(Some(SystemEvent::Connected(Arc::new(connection))))
}

fn disconnected(system: &System, message: &Message) -> Received {
    let event: Event<Anonymous> = wire::parse_now(&message.payload)?;
    let Some(key) = event.key(event.client.id) else { return Ok(None) };
    system.leaf_nodes.disconnected(key);
    let Event { reason, sent, received, .. } = event;
    let ended = Disconnected { key, reason, sent: sent.bytes, received: received.bytes };
    Ok(Some(SystemEvent::Disconnected(Arc::new(ended))))
}

fn login_failed(system: &System, message: &Message, counted: &mut Recent<SessionKey>) -> Received {
    let event: Event<Anonymous> = wire::parse_now(&message.payload)?;
    let Some(key) = event.key(event.client.id) else { return Ok(None) };
    if !counted.add(key) {
        return Ok(None);
    }
    system.metrics.count_server_auth_error();
    Ok(Some(SystemEvent::LoginFailed(key)))
}
