//! Connections that are being closed, until their ends are recorded.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::Session;
use crate::system::SessionKey;

/// How long a server may take to report the end of a connection that it was asked to close.
const REPORTED_WITHIN: Duration = Duration::from_secs(60);
/// Above this number, ends that were never reported are forgotten.
const MANY: usize = 4096;

/// See the top of the file.
#[derive(Debug, Default)]
pub(super) struct Closing(Mutex<HashMap<SessionKey, Closed>>);

/// A connection that a server was asked to close.
#[derive(Debug)]
pub(super) struct Closed {
    pub(super) cause: &'static str,
    /// The confirmation removes it from the table, perhaps before the server reports the end.
    pub(super) session: Option<Arc<Session>>,
    pub(super) since: Instant,
}

impl Closing {
    /// A server is about to be asked to close a connection.
    pub(super) fn begin(&self, key: SessionKey, closed: Closed) {
        let mut closing = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if closing.len() >= MANY {
            let now = closed.since;
            closing.retain(|_, closed| now.duration_since(closed.since) < REPORTED_WITHIN);
        }
        closing.insert(key, closed);
    }

    /// What is known of an ended connection that this replica had closed.
    pub(super) fn take(&self, key: SessionKey) -> Option<Closed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&key)
    }
}
