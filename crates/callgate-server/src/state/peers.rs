//! Locks in messages between replicas: faster than the bucket, and available without it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use data_encoding::BASE64;
use tokio::time::sleep;
use tracing::info;

use super::State;
use crate::replicas::{MAX_PART, PeerMessage};

/// Asks for all locks.
const HELD: &str = "held";
/// Announces a lock that was stored.
const STORED: &str = "stored";
/// Asks whether a lock is in force.
pub(super) const CONFIRM: &str = "confirm";
/// Asks how often each lock refused a login.
pub(super) const REFUSED: &str = "refused";
/// How long a peer may take to send its locks.
const PEER_TIMEOUT: Duration = Duration::from_secs(2);
/// Before peers are asked again.
const RETRY_DELAY: Duration = Duration::from_millis(500);

/// A lock's ID and its value in Base64.
type Sent = (String, String);

impl State {
    /// Answers the questions of peers, and takes their announcements.
    pub(super) fn answer_peers(self: &Arc<Self>) {
        let mut announced = self.replicas.subscribe(STORED);
        let state = Arc::downgrade(self);
        tokio::spawn(async move {
            while let Some(message) = announced.recv().await {
                let Some(state) = state.upgrade() else { return };
                state.take(&message.payload, true);
            }
        });
        if !self.is_member {
            return;
        }
        let state = Arc::downgrade(self);
        self.replicas.respond(HELD, move |_| {
            let parts = state.upgrade().map(|state| state.held_parts()).unwrap_or_default();
            async move { parts }
        });
        let state = Arc::downgrade(self);
        self.replicas.respond(CONFIRM, move |message: PeerMessage| {
            let id = String::from_utf8_lossy(&message.payload).into_owned();
            let in_force = state.upgrade().is_some_and(|state| state.locks.contains(&id));
            async move { vec![if in_force { vec![1] } else { vec![0] }] }
        });
        let state = Arc::downgrade(self);
        self.replicas.respond(REFUSED, move |_| {
            let parts = state.upgrade().map(|state| state.refused_parts()).unwrap_or_default();
            async move { parts }
        });
    }

    /// Takes the locks of a peer, unless the bucket has been read before.
    pub(super) async fn ask_peers(self: Arc<Self>) {
        while self.is_member && !*self.is_known.borrow() {
            let Some(parts) = self.replicas.ask_any(HELD, Vec::new(), PEER_TIMEOUT).await else {
                sleep(RETRY_DELAY).await;
                continue;
            };
            let taken: usize = parts.iter().map(|part| self.take(part, false)).sum();
            if !*self.is_known.borrow() {
                info!(locks = taken, "locks received from another replica");
                self.note_known();
            }
        }
    }

    /// Tells all replicas of a lock that was stored.
    pub(super) async fn announce(&self, id: &str, value: &[u8]) {
        let sent: [Sent; 1] = [(id.to_owned(), BASE64.encode(value))];
        self.replicas.publish(STORED, serde_json::to_vec(&sent).unwrap_or_default()).await;
    }

    /// How often this replica refused a login, by lock.
    pub(super) fn refused(&self) -> BTreeMap<String, u64> {
        let entries = self.locks.entries().into_iter();
        let counts =
            entries.filter_map(|(id, entry)| Some((id.to_string(), entry.lock?.refused())));
        counts.filter(|(_, count)| *count > 0).collect()
    }

    /// Puts the locks of a message in force; returns how many it has.
    fn take(&self, payload: &Bytes, is_live: bool) -> usize {
        let sent: Vec<Sent> = serde_json::from_slice(payload).unwrap_or_default();
        let count = sent.len();
        for (id, value) in sent {
            if let Ok(value) = BASE64.decode(value.as_bytes())
                && self.locks.put_unless_removed(&id, &value)
            {
                self.log_lock(&id, is_live);
            }
        }
        self.publish_locks();
        count
    }

    /// All locks for a peer; nothing before they are known.
    fn held_parts(&self) -> Vec<Vec<u8>> {
        if !*self.is_known.borrow() {
            return Vec::new();
        }
        let entries = self.locks.entries().into_iter();
        let sent = entries.map(|(id, entry)| (id.to_string(), BASE64.encode(&entry.value)));
        in_parts(sent, |(id, value)| id.len() + value.len() + 8)
            .iter()
            .map(|part| serde_json::to_vec(part).unwrap_or_default())
            .collect()
    }

    fn refused_parts(&self) -> Vec<Vec<u8>> {
        in_parts(self.refused(), |(id, _)| id.len() + 24)
            .into_iter()
            .map(|part| {
                let part: BTreeMap<String, u64> = part.into_iter().collect();
                serde_json::to_vec(&part).unwrap_or_default()
            })
            .collect()
    }
}

/// Divides items into lists that fit into one message each; at least one list.
fn in_parts<T>(items: impl IntoIterator<Item = T>, size: impl Fn(&T) -> usize) -> Vec<Vec<T>> {
    let mut parts = vec![Vec::new()];
    let mut length = 0;
    for item in items {
        let size = size(&item);
        if length + size > MAX_PART {
            parts.push(Vec::new());
            length = 0;
        }
        length += size;
        if let Some(part) = parts.last_mut() {
            part.push(item);
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_stay_below_the_limit() {
        assert_eq!(in_parts(Vec::<u8>::new(), |_| 1), [Vec::<u8>::new()]);
        let parts = in_parts(vec![MAX_PART / 2; 5], |size| *size);
        assert_eq!(parts.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 1]);
    }
}
