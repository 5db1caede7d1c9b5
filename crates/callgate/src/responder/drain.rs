//! Ends a subscription without losing what is on its way to it.
//!
//! async-nats' own `Subscriber::drain` forgets the subscription as soon as it has written `UNSUB`,
//! without waiting for the server to have read it: what the server sent before is thrown away, and
//! for us that is a client that nobody answers.

use std::time::Duration;

use async_nats::{Client, Subscriber, UnsubscribeError};

use super::own_account;

/// A number of messages after which the subscription shall end. To async-nats it is so large that
/// the subscription stays; nats-server reads numbers of at most nine digits, takes a longer one for
/// none at all, and unsubscribes at once (`parseSize` in util.go, `processUnsub` in client.go).
const NEVER_TO_US_NOW_TO_THE_SERVER: u64 = 1_000_000_000_000;

/// For messages that the server had routed to us, on another thread, when it unsubscribed us.
const STRAGGLERS: Duration = Duration::from_millis(100);

/// Has the server send no more. The subscription goes on with what was sent already.
pub(super) async fn say_goodbye(subscription: &mut Subscriber) -> Result<(), UnsubscribeError> {
    subscription.unsubscribe_after(NEVER_TO_US_NOW_TO_THE_SERVER).await
}

/// Returns when all that a server had sent before the goodbye has reached the subscription.
pub(super) async fn all_has_arrived(client: &Client) {
    // One connection, one order: the answer comes after what was sent before the question. Without
    // an answer there is no server, and so nothing on its way.
    let _ = own_account(client).await;
    tokio::time::sleep(STRAGGLERS).await;
}
