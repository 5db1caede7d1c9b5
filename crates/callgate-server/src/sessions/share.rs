//! Replicas tell each other what they admit. Messages may be lost; `reconcile` finds what is missing.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Notify, mpsc},
    time::{sleep, timeout},
};
use tracing::{debug, info};

use super::{
    Sessions,
    closing::CLOSING,
    codec::{Item, decode, encode},
    session::Session,
};
use crate::{
    recent::Recent,
    replicas::{PeerMessage, Replicas},
    system::SessionKey,
};

/// Messages with new and ended sessions.
const CHANGES: &str = "sessions";
/// The question for all sessions of a peer.
const TABLE: &str = "table";
/// Messages and the question about what was kicked although it may be a static user's.
const UNATTRIBUTED: &str = "unattributed";
/// What is admitted within this time is sent together.
const BATCH: Duration = Duration::from_millis(20);
/// How long peers may take to send their tables to a replica that starts.
const TABLE_TIMEOUT: Duration = Duration::from_secs(10);
/// Sessions and ends that wait to be sent. More are not sent.
const MAX_WAITING: usize = 100_000;
/// Ended connections that are remembered, because the news that they began may be late.
const REMEMBERED_ENDS: usize = 16_384;

/// What peers do not know yet.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    waiting: Mutex<Batch>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct Batch {
    entered: Vec<Arc<Session>>,
    ended: Vec<SessionKey>,
}

/// The connections that ended last.
#[derive(Debug)]
pub(super) struct RecentEnds(Mutex<Recent<SessionKey>>);

impl Default for RecentEnds {
    fn default() -> Self {
        Self(Mutex::new(Recent::new(REMEMBERED_ENDS)))
    }
}

impl Outgoing {
    pub(super) fn entered(&self, session: &Arc<Session>) {
        self.add(|batch| batch.entered.push(Arc::clone(session)));
    }

    pub(super) fn ended(&self, key: SessionKey) {
        self.add(|batch| batch.ended.push(key));
    }

    fn add(&self, push: impl FnOnce(&mut Batch)) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.entered.len() + waiting.ended.len() < MAX_WAITING {
            push(&mut waiting);
        }
        drop(waiting);
        self.filled.notify_one();
    }

    fn take(&self) -> Batch {
        std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl RecentEnds {
    pub(super) fn add(&self, key: SessionKey) {
        self.keys().add(key);
    }

    fn contains(&self, key: SessionKey) -> bool {
        self.keys().contains(&key)
    }

    fn keys(&self) -> MutexGuard<'_, Recent<SessionKey>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sessions {
    /// Exchanges sessions with peers from now on.
    pub(super) fn share(self: &Arc<Self>, replicas: &Arc<Replicas>) {
        let changes = replicas.subscribe(CHANGES);
        let asked = Arc::downgrade(self);
        let among = Arc::downgrade(replicas);
        replicas.respond(TABLE, move |_question| {
            let parts = asked.upgrade().zip(among.upgrade());
            let parts = parts.map(|(sessions, replicas)| sessions.parts_for_peer(&replicas));
            std::future::ready(parts.unwrap_or_default())
        });
        let mut unattributed = replicas.subscribe(UNATTRIBUTED);
        let learning = Arc::clone(self);
        tokio::spawn(async move {
            while let Some(message) = unattributed.recv().await {
                learning.unattributed.learn(&message.payload);
            }
        });
        let asked = Arc::downgrade(self);
        replicas.respond(UNATTRIBUTED, move |_question| {
            let all = asked.upgrade().map(|sessions| sessions.unattributed.all());
            std::future::ready(all.into_iter().collect())
        });
        tokio::spawn(send_changes(Arc::clone(self), Arc::clone(replicas)));
        let closing = replicas.subscribe(CLOSING);
        tokio::spawn(receive_changes(Arc::clone(self), changes, closing));
        tokio::spawn(learn_table(Arc::clone(self), Arc::clone(replicas)));
    }

    /// Tells peers which connections were kicked although they may be those of static users.
    pub(super) async fn share_unattributed(&self) {
        if let (Some(replicas), Some(news)) = (&self.replicas, self.unattributed.take_news()) {
            replicas.publish(UNATTRIBUTED, news).await;
        }
    }

    /// Asks running replicas for their sessions.
    pub(crate) async fn learn(&self, replicas: &Replicas, within: Duration) -> usize {
        let answers = replicas.ask_all(TABLE, Vec::new(), within).await;
        let unattributed = replicas.ask_all(UNATTRIBUTED, Vec::new(), within).await;
        unattributed.iter().for_each(|(_, part)| self.unattributed.learn(part));
        let replicas: HashSet<_> = answers.iter().map(|(replica, _)| replica).collect();
        let count: usize = answers.iter().map(|(_, part)| self.apply(part)).sum();
        if !replicas.is_empty() {
            info!(
                replicas = replicas.len(),
                sessions = count,
                "learned the sessions of other replicas"
            );
        }
        replicas.len()
    }

    /// The sessions that this replica admitted, and those of replicas that have gone.
    fn parts_for_peer(&self, replicas: &Replicas) -> Vec<Vec<u8>> {
        let is_ours = |session: &Session| {
            let replica = &*session.common().replica;
            replica == &*self.replica || !replicas.is_alive(replica)
        };
        let parts = encode(&self.table.search(is_ours), &[]);
        // An answer without parts does not count.
        if parts.is_empty() { vec![Vec::new()] } else { parts }
    }

    fn apply(&self, message: &[u8]) -> usize {
        let items = decode(message).unwrap_or_default();
        let count = items.len();
        for item in items {
            match item {
                Item::Entered(session) if self.recent_ends.contains(session.key()) => {}
                Item::Entered(session) => drop(self.table.enter_foreign(session)),
                Item::Ended(key) => drop(self.table.remove(key)),
            }
        }
        count
    }
}

async fn send_changes(sessions: Arc<Sessions>, replicas: Arc<Replicas>) {
    loop {
        sessions.outgoing.filled.notified().await;
        sleep(BATCH).await;
        let Batch { entered, ended } = sessions.outgoing.take();
        // Without peers, there is no work to do. A replica that starts asks for the table.
        if replicas.peers_known().is_empty() {
            continue;
        }
        for message in encode(&entered, &ended) {
            replicas.publish(CHANGES, message).await;
        }
    }
}

async fn receive_changes(
    sessions: Arc<Sessions>,
    mut changes: mpsc::Receiver<PeerMessage>,
    mut closing: mpsc::Receiver<PeerMessage>,
) {
    loop {
        tokio::select! {
            // A replica announces that it closes a connection before it says that the session has ended.
            biased;
            Some(PeerMessage { from: _, payload }) = closing.recv() => sessions.learn_closing(&payload),
            Some(PeerMessage { from, payload }) = changes.recv() => {
                let count = sessions.apply(&payload);
                debug!(replica = &*from, count, "sessions of another replica");
            }
            else => return,
        }
    }
}

/// Asks the replicas that run already, as soon as there is a connection. One that finds no peer within a
/// minute is the first.
async fn learn_table(sessions: Arc<Sessions>, replicas: Arc<Replicas>) {
    let learned = async {
        while sessions.learn(&replicas, TABLE_TIMEOUT).await == 0 {
            sleep(Duration::from_secs(1)).await;
        }
    };
    let _alone = timeout(Duration::from_secs(60), learned).await;
}
