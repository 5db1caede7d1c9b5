//! Closes sessions.

use std::{collections::HashMap, time::Duration};

use futures_util::{StreamExt, stream};
use tokio::time::{Instant, timeout_at};

use super::{KickedBy, Sessions};
use crate::system::{KickResult, Priority, SessionKey};

/// Kicks that wait for their turn at a time; [`System`](crate::system::System) paces them.
const AT_ONCE: usize = 512;

impl Sessions {
    /// Closes connections, and removes those from the table that are certainly gone. What is not done after
    /// `within` counts as failed.
    pub(crate) async fn kick(
        &self,
        keys: Vec<SessionKey>,
        priority: Priority,
        by: &KickedBy,
        within: Duration,
    ) -> HashMap<SessionKey, KickResult> {
        let deadline = Instant::now() + within;
        self.announce_closing(&keys, by).await;
        let kicks = stream::iter(keys).map(|key| async move {
            let session = self.table.find(key);
            self.begin_kick(key, by);
            let kick = self.system.kick(key, priority, by.cause);
            let kicked = timeout_at(deadline, kick).await;
            let late = || KickResult::Failed("no confirmation in time".to_owned());
            let result = kicked.unwrap_or_else(|_elapsed| late());
            self.record_kick(session.as_deref(), key, by, &result);
            match &result {
                KickResult::Kicked | KickResult::AlreadyGone => self.ended(key),
                KickResult::Failed(_) => {}
            }
            (key, result)
        });
        kicks.buffer_unordered(AT_ONCE).collect().await
    }
}
