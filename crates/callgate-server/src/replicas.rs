//! Messages between the replicas of a queue group, in the callout account. They may be lost: nothing that
//! a lock needs exists only here.

mod bus;
mod message;
mod roster;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use async_nats::{Client, HeaderMap};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, future::BoxFuture};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};
use tracing::warn;

use crate::telemetry::sanitize;
use message::{COMMAND, MORE, REPLICA, header};
pub(crate) use message::{PeerMessage, ReplicaId};
use roster::Roster;

/// Messages of one kind that wait for their receiver. Further ones are lost.
const CAPACITY: usize = 4096;
/// The longest part of an answer, well below the smallest usual `max_payload`.
pub(crate) const MAX_PART: usize = 256 * 1024;

/// How long a replica that knows no peer waits for one to answer.
const ALONE: Duration = Duration::from_millis(200);

/// The answer to a question of a peer, in parts of at most [`MAX_PART`] bytes; none means no answer.
type Responder = Arc<dyn Fn(PeerMessage) -> BoxFuture<'static, Vec<Vec<u8>>> + Send + Sync>;

/// This replica among its peers.
pub(crate) struct Replicas {
    id: ReplicaId,
    /// `CALLGATE.<queue>`.
    prefix: String,
    /// How often each replica says that it is alive.
    pulse: Duration,
    /// False for a command, which asks replicas and is not one.
    is_member: bool,
    client: OnceLock<Client>,
    listeners: Mutex<HashMap<&'static str, mpsc::Sender<PeerMessage>>>,
    responders: Mutex<HashMap<&'static str, Responder>>,
    roster: Mutex<Roster>,
}

impl Replicas {
    /// A replica of this queue group, which says every `pulse` that it is alive.
    pub(crate) fn member(queue: &str, pulse: Duration) -> Arc<Self> {
        Self::new(queue, pulse, true)
    }

    /// A command that asks the replicas of this queue group.
    pub(crate) fn visitor(queue: &str, pulse: Duration) -> Arc<Self> {
        Self::new(queue, pulse, false)
    }

    fn new(queue: &str, pulse: Duration, is_member: bool) -> Arc<Self> {
        Arc::new(Self {
            id: message::new_id(),
            prefix: format!("CALLGATE.{queue}"),
            pulse,
            is_member,
            client: OnceLock::new(),
            listeners: Mutex::default(),
            responders: Mutex::default(),
            roster: Mutex::new(Roster::new(pulse)),
        })
    }

    /// This replica's ID, which is new at each start.
    pub(crate) fn id(&self) -> &ReplicaId {
        &self.id
    }

    /// The subjects that the callout user must be permitted to publish and to subscribe to.
    pub(crate) fn permissions(&self) -> Vec<String> {
        vec![format!("{}.>", self.prefix)]
    }

    /// Starts to receive. Listeners and responders may be added later.
    pub(crate) fn start(self: &Arc<Self>, client: &Client) {
        if self.client.set(client.clone()).is_ok() {
            tokio::spawn(Arc::clone(self).run(client.clone()));
        }
    }

    /// Sends a message to all peers. Lost without a connection.
    pub(crate) async fn publish(&self, kind: &'static str, payload: Vec<u8>) {
        let Some(client) = self.client.get() else { return };
        let subject = self.subject(kind);
        // A broken connection is visible elsewhere.
        let _ = client.publish_with_headers(subject, self.headers(), payload.into()).await;
    }

    /// Receives the messages of this kind that peers publish. One receiver for each kind: the last one.
    pub(crate) fn subscribe(&self, kind: &'static str) -> mpsc::Receiver<PeerMessage> {
        let (sender, receiver) = mpsc::channel(CAPACITY);
        lock(&self.listeners).insert(kind, sender);
        receiver
    }

    /// Answers the questions of this kind that peers ask.
    pub(crate) fn respond<F>(
        &self,
        kind: &'static str,
        responder: impl Fn(PeerMessage) -> F + Send + Sync + 'static,
    ) where
        F: Future<Output = Vec<Vec<u8>>> + Send + 'static,
    {
        let responder: Responder = Arc::new(move |message| responder(message).boxed());
        lock(&self.responders).insert(kind, responder);
    }

    /// Asks all peers, and waits until each one known to be alive has answered, at most for `within`.
    /// An answer in several parts appears several times.
    pub(crate) async fn ask_all(
        &self,
        kind: &'static str,
        payload: Vec<u8>,
        within: Duration,
    ) -> Vec<(ReplicaId, Bytes)> {
        let mut missing: Vec<ReplicaId> = self.peers_alive();
        let knows_peers = !missing.is_empty();
        let within = match self.is_member && !knows_peers {
            true => within.min(ALONE),
            false => within,
        };
        let is_complete = |done: &ReplicaId| {
            missing.retain(|id| id != done);
            knows_peers && missing.is_empty()
        };
        self.ask(kind, payload, within, is_complete).await
    }

    /// Asks all peers, and takes the complete answer of the first one.
    pub(crate) async fn ask_any(
        &self,
        kind: &'static str,
        payload: Vec<u8>,
        within: Duration,
    ) -> Option<Vec<Bytes>> {
        let mut first = None;
        let is_complete = |done: &ReplicaId| {
            first = Some(done.clone());
            true
        };
        let parts = self.ask(kind, payload, within, is_complete).await;
        let first = first?;
        Some(parts.into_iter().filter(|(from, _)| *from == first).map(|(_, part)| part).collect())
    }

    /// Collects answers until `is_complete`, which is called with each peer that has sent its last part.
    async fn ask(
        &self,
        kind: &'static str,
        payload: Vec<u8>,
        within: Duration,
        mut is_complete: impl FnMut(&ReplicaId) -> bool,
    ) -> Vec<(ReplicaId, Bytes)> {
        let deadline = Instant::now() + within;
        let mut parts = Vec::new();
        let Some(client) = self.client.get() else { return parts };
        let inbox = client.new_inbox();
        let Ok(mut answers) = client.subscribe(inbox.clone()).await else { return parts };
        let subject = self.subject(kind);
        let headers = self.headers();
        let sent = client.publish_with_reply_and_headers(subject, inbox, headers, payload.into());
        if sent.await.is_err() {
            return parts;
        }
        while let Ok(Some(answer)) = timeout_at(deadline, answers.next()).await {
            let Some(from) = header(&answer, REPLICA).filter(|from| **from != *self.id) else {
                continue;
            };
            let from = ReplicaId::from(from);
            self.heard(&from, Duration::ZERO);
            let is_last = header(&answer, MORE).is_none();
            parts.push((from.clone(), answer.payload));
            if is_last && is_complete(&from) {
                break;
            }
        }
        parts
    }

    /// A peer was heard of this long ago, for example in the bucket.
    pub(crate) fn heard(&self, id: &str, ago: Duration) {
        if *id != *self.id {
            lock(&self.roster).heard(id, Instant::now(), ago);
        }
    }

    /// A peer has stopped.
    pub(crate) fn left(&self, id: &str) {
        lock(&self.roster).left(id);
    }

    /// Whether a replica runs, as far as known.
    pub(crate) fn is_alive(&self, id: &str) -> bool {
        *id == *self.id || lock(&self.roster).is_alive(id, Instant::now())
    }

    /// The peers that run, as far as known.
    pub(crate) fn peers_alive(&self) -> Vec<ReplicaId> {
        lock(&self.roster).alive(Instant::now())
    }

    /// The peers that run, or that have become silent without saying that they stop: they may be cut off.
    pub(crate) fn peers_known(&self) -> Vec<ReplicaId> {
        lock(&self.roster).known(Instant::now())
    }

    /// Whether this replica is the one for work that only one should do: the first by ID.
    pub(crate) fn is_first(&self) -> bool {
        self.is_member && self.peers_alive().iter().all(|peer| *self.id < **peer)
    }

    /// Says that this replica stops.
    pub(crate) async fn shut_down(&self) {
        if self.is_member {
            self.publish(bus::BYE, Vec::new()).await;
        }
    }

    fn subject(&self, kind: &str) -> String {
        format!("{}.{kind}", self.prefix)
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(REPLICA, &*self.id);
        if !self.is_member {
            headers.insert(COMMAND, "1");
        }
        headers
    }

    fn deliver(&self, kind: &str, message: PeerMessage) {
        let listeners = lock(&self.listeners);
        let Some(listener) = listeners.get(kind) else { return };
        if listener.try_send(message).is_err() {
            warn!(
                kind = sanitize(kind),
                "messages of other replicas arrive too fast; one was lost"
            );
        }
    }
}

impl fmt::Debug for Replicas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replicas").field("id", &self.id).finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
