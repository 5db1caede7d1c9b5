//! The connection that authenticators share with the service.

use std::time::Duration;

use async_nats::{Client, RequestErrorKind, connection::State};
use callgate_authenticators::kind::{Bucket, BucketEvent, Bus, BusError};
use futures_util::{StreamExt, future::BoxFuture};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep_until, timeout_at},
};

use crate::buckets::{self, Retention};

/// A bucket of used codes forgets a code long after it has expired.
const USED_CODES: Retention = Retention { history: 1, max_age: Duration::from_secs(10 * 60) };

/// The service's connection to NATS, which exists only after the authenticators were built.
#[derive(Debug, Default)]
pub(crate) struct ServiceBus {
    client: watch::Sender<Option<Client>>,
    read_only: bool,
}

impl ServiceBus {
    /// A bus that never writes to a bucket: a code that `explain` verifies can still be used to log in.
    pub(crate) fn read_only() -> Self {
        Self { read_only: true, ..Self::default() }
    }

    /// Provides the connection. Only the first one counts: a process has one.
    pub(crate) fn bind(&self, client: &Client) {
        self.client.send_if_modified(|bound| {
            let is_first = bound.is_none();
            bound.get_or_insert_with(|| client.clone());
            is_first
        });
    }

    /// The connection, once there is one.
    pub(crate) fn connection(&self) -> watch::Receiver<Option<Client>> {
        self.client.subscribe()
    }

    fn connected(&self) -> Result<Client, BusError> {
        let client = self.client.borrow().clone().ok_or(BusError::NotConnected)?;
        match client.connection_state() {
            State::Connected => Ok(client),
            State::Pending | State::Disconnected => Err(BusError::NotConnected),
        }
    }
}

impl Bus for ServiceBus {
    fn ask<'a>(
        &'a self,
        subject: &'a str,
        payload: Vec<u8>,
        deadline: Instant,
    ) -> BoxFuture<'a, Result<Vec<u8>, BusError>> {
        Box::pin(async move {
            let client = self.connected()?;
            // The client's own timeout never ends a request before its deadline.
            let request = async_nats::Request::new().payload(payload.into()).timeout(None);
            let reply =
                timeout_at(deadline, client.send_request(subject.to_owned(), request)).await;
            let message = reply.map_err(|_elapsed| BusError::NoReply)?;
            message.map(|message| message.payload.to_vec()).map_err(|error| match error.kind() {
                RequestErrorKind::NoResponders => BusError::NoResponders,
                RequestErrorKind::TimedOut => BusError::NoReply,
                RequestErrorKind::InvalidSubject
                | RequestErrorKind::MaxPayloadExceeded
                | RequestErrorKind::Other => BusError::Failed(error.to_string()),
            })
        })
    }

    fn collect<'a>(
        &'a self,
        subject: &'a str,
        deadline: Instant,
    ) -> BoxFuture<'a, Result<Vec<Vec<u8>>, BusError>> {
        Box::pin(async move {
            let client = self.connected()?;
            let inbox = client.new_inbox();
            let failed = |error: &dyn std::error::Error| BusError::Failed(error.to_string());
            let replies = client.subscribe(inbox.clone()).await.map_err(|error| failed(&error))?;
            let sent =
                client.publish_with_reply(subject.to_owned(), inbox, Vec::new().into()).await;
            sent.map_err(|error| failed(&error))?;
            let replies = replies.map(|message| message.payload.to_vec());
            Ok(replies.take_until(sleep_until(deadline)).collect().await)
        })
    }

    fn raise<'a>(
        &'a self,
        bucket: &'a str,
        key: &'a str,
        number: u64,
        deadline: Instant,
    ) -> BoxFuture<'a, Result<bool, BusError>> {
        Box::pin(async move {
            let client = self.connected()?;
            let bucket = Bucket { name: bucket.to_owned(), domain: None };
            let raise = async {
                match self.read_only {
                    true => buckets::is_below(&client, &bucket, key, number).await,
                    false => buckets::raise(&client, &bucket, key, number, USED_CODES).await,
                }
            };
            let raised = timeout_at(deadline, raise).await.map_err(|_elapsed| BusError::NoReply)?;
            raised.map_err(|error| BusError::Failed(error.to_string()))
        })
    }

    fn watch(&self, bucket: &Bucket) -> mpsc::Receiver<BucketEvent> {
        let mut client = self.client.subscribe();
        buckets::watch(bucket.clone(), async move {
            let bound = client.wait_for(Option::is_some).await.ok()?;
            bound.clone()
        })
    }
}
