//! Ends a subscription without losing the messages that are on their way to it.
//!
//! async-nats' own `Subscriber::drain` forgets the subscription as soon as it has written `UNSUB`,
//! before the server has read it. Messages that the server sent before that are discarded, and each of
//! them is a client without a reply.

use std::time::Duration;

use async_nats::{Client, Subscriber, UnsubscribeError};

use super::own_account;

/// A message count after which the subscription shall end. async-nats takes it as so large that the
/// subscription stays open. nats-server reads at most nine digits, ignores a longer number and
/// unsubscribes immediately (`parseSize` in util.go, `processUnsub` in client.go).
const MAX_MESSAGES_IGNORED_BY_SERVER: u64 = 1_000_000_000_000;

/// For messages that another thread of the server was routing to us when it unsubscribed us.
const STRAGGLER_TIMEOUT: Duration = Duration::from_millis(100);

/// Makes the server send no further messages. Those already sent still arrive.
pub(super) async fn unsubscribe(subscription: &mut Subscriber) -> Result<(), UnsubscribeError> {
    subscription.unsubscribe_after(MAX_MESSAGES_IGNORED_BY_SERVER).await
}

/// Returns when everything that the server sent before [`unsubscribe`] has reached the subscription.
pub(super) async fn flush_in_flight(client: &Client) {
    // One connection, one order: the response arrives after everything sent before the request.
    // Without a response there is no server, so nothing is in flight.
    let _ = own_account(client).await;
    tokio::time::sleep(STRAGGLER_TIMEOUT).await;
}
