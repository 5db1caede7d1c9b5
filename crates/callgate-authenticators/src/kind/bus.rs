//! The service's connection to NATS, as far as authenticators may use it.

use std::fmt;

use futures_util::future::BoxFuture;
use tokio::{sync::mpsc, time::Instant};

use super::{Bucket, BucketEvent};

/// Sends messages on the service's own connection, and therefore in the callout account.
///
/// Authenticators are built before the service connects: until then, and while the connection is lost,
/// every call fails with [`BusError::NotConnected`].
pub trait Bus: fmt::Debug + Send + Sync {
    /// Sends a request and waits for the first reply, until `deadline` at the latest.
    fn ask<'a>(
        &'a self,
        subject: &'a str,
        payload: Vec<u8>,
        deadline: Instant,
    ) -> BoxFuture<'a, Result<Vec<u8>, BusError>>;

    /// Sends an empty request and collects all replies until `deadline`.
    fn collect<'a>(
        &'a self,
        subject: &'a str,
        deadline: Instant,
    ) -> BoxFuture<'a, Result<Vec<Vec<u8>>, BusError>>;

    /// Watches all keys of a bucket until the receiver is dropped.
    ///
    /// A watch that is lost (the connection, the bucket or its quorum) is established again, and then
    /// lists everything.
    fn watch(&self, bucket: &Bucket) -> mpsc::Receiver<BucketEvent>;

    /// Raises the number stored under `key` in a bucket to `number`; false if the stored one is not
    /// lower. Of several callers, on any replica, one succeeds. Creates the bucket if it is missing.
    /// A read-only connection, such as that of `explain`, only compares.
    fn raise<'a>(
        &'a self,
        bucket: &'a str,
        key: &'a str,
        number: u64,
        deadline: Instant,
    ) -> BoxFuture<'a, Result<bool, BusError>>;
}

/// Why there is no reply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BusError {
    /// No server is connected.
    #[error("no connection to NATS")]
    NotConnected,
    /// The server answered that no client subscribes to the subject.
    #[error("no responders: no service subscribes to the subject in the callout account")]
    NoResponders,
    /// No reply before the deadline.
    #[error("no reply in time")]
    NoReply,
    /// The request could not be sent.
    #[error("the request failed: {0}")]
    Failed(String),
}
