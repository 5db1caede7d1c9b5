//! Compares all connections with the table and the locks, now and then, by one replica at a time.

use std::{
    collections::HashSet,
    hash::{BuildHasher, RandomState},
    sync::Arc,
    time::Duration,
};

use callgate::clock::UnixTime;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};
use tracing::{debug, info, warn};

use super::{KickedBy, Sessions, find::Found, session::Session};
use crate::{
    nats::Link,
    replicas::PeerMessage,
    state::{State, Verdict},
    system::{ConnzFilter, KickResult, Priority, ServerId, SessionKey, Unavailable},
};

/// Says that a replica begins to compare, so that the others wait.
const RECONCILE: &str = "reconcile";
/// The replicas wait between this share of `reconcile` and all of it.
const LEAST_WAIT: f64 = 0.8;
/// A session may not be listed yet this long after its request.
const SETTLED_AFTER: Duration = Duration::from_secs(10);
/// For the kicks of one comparison.
const KICK_TIMEOUT: Duration = Duration::from_secs(60);
/// After a lock changed, before this replica kicks what is left of its own sessions: the replica that has the
/// order kicks at once.
const LOCK_DELAY: Duration = Duration::from_millis(300);

impl Sessions {
    /// Compares until the process ends.
    pub(super) async fn reconcile_regularly(self: Arc<Self>) {
        let mut heard = self.replicas.as_ref().map(|replicas| replicas.subscribe(RECONCILE));
        let mut link = self.system.link();
        let mut next = self.next_reconcile();
        loop {
            tokio::select! {
                () = sleep_until(next) => {
                    if let Some(replicas) = &self.replicas {
                        replicas.publish(RECONCILE, Vec::new()).await;
                    }
                    self.reconcile().await;
                    next = self.next_reconcile();
                }
                Some(_) = heard_of(&mut heard) => next = self.next_reconcile(),
                // Events were lost while there was no connection.
                Ok(()) = link.changed() => if *link.borrow_and_update() != Link::Down {
                    next = Instant::now() + Duration::from_millis(500);
                },
            }
        }
    }

    fn next_reconcile(&self) -> Instant {
        let random = f64::from(u32::try_from(RandomState::new().hash_one(0) >> 32).unwrap_or(0));
        let share = LEAST_WAIT + (1.0 - LEAST_WAIT) * random / f64::from(u32::MAX);
        Instant::now() + self.system.settings().reconcile.mul_f64(share)
    }

    async fn reconcile(&self) {
        let asked = UnixTime::now();
        self.table.remove_ended(asked);
        let listing = match self.system.connections(&ConnzFilter::default()).await {
            Ok(listing) => listing,
            Err(Unavailable::NotConnected) => return,
            Err(error) => return warn!(%error, "cannot compare connections with sessions"),
        };
        let is_complete = listing.is_complete();
        let without_leaf_nodes = listing.without_leaf_nodes.clone();
        let found: Vec<Found> = self.join(listing).collect();
        let attributed = found.iter().filter(|found| found.session.is_some()).count();
        self.metrics.set_sessions(attributed, found.len() - attributed);
        if let Some(state) = &self.state {
            let current = state.locks().in_force(state.now());
            self.unattributed.keep_only(|lock| current.iter().any(|it| *it.id == *lock));
            self.kick_locked(state, &found, asked).await;
        }
        if is_complete {
            let listed: HashSet<SessionKey> = found.iter().map(|it| it.connection.key).collect();
            self.remove_unlisted(&listed, |server| without_leaf_nodes.contains_key(&server), asked);
        }
        debug!(
            connections = found.len(),
            attributed, is_complete, "compared connections with sessions"
        );
    }

    /// Kicks what locks match and is there again, or still.
    async fn kick_locked(&self, state: &State, found: &[Found], now: UnixTime) {
        let mut keys = Vec::new();
        for one in found {
            let Some((verdict, lock)) = state.find_to_kick(&one.candidate()) else { continue };
            let is_to_kick = match (&one.session, verdict) {
                (_, Verdict::No) | (Some(_), Verdict::Unknown) => false,
                (Some(_), Verdict::Yes) => true,
                (None, Verdict::Yes | Verdict::Unknown) => {
                    self.unattributed.may_kick(&lock, &one.connection, now)
                }
            };
            if is_to_kick {
                keys.push(one.connection.key);
            }
        }
        self.share_unattributed().await;
        if keys.is_empty() {
            return;
        }
        let results = self.kick(keys, Priority::Lock, &KickedBy::lock(None), KICK_TIMEOUT).await;
        let failed = results.values().filter(|it| matches!(it, KickResult::Failed(_))).count();
        info!(kicked = results.len() - failed, failed, "kicked connections that a lock matches");
    }

    /// Removes sessions that no server lists any more, although all have answered.
    fn remove_unlisted(
        &self,
        listed: &HashSet<SessionKey>,
        lists_no_leaf_nodes: impl Fn(ServerId) -> bool,
        asked: UnixTime,
    ) {
        let is_gone = |session: &Session| {
            !listed.contains(&session.key())
                && session.since().plus(SETTLED_AFTER) < asked
                && !session.is_unlisted_leaf_node(&lists_no_leaf_nodes)
        };
        let gone = self.table.search(is_gone);
        gone.iter().for_each(|session| self.ended(session.key()));
    }

    /// Kicks this replica's own sessions that a new lock matches, in case the replica with the order cannot.
    pub(super) async fn follow_locks(self: Arc<Self>, state: Arc<State>) {
        let mut changes = state.changes();
        while changes.changed().await.is_ok() {
            tokio::time::sleep(LOCK_DELAY).await;
            changes.borrow_and_update();
            let is_locked = |session: &Session| {
                *session.common().replica == *self.replica
                    && state
                        .find_to_kick(&session.candidate())
                        .is_some_and(|(verdict, _)| verdict == Verdict::Yes)
            };
            let keys: Vec<_> = self.table.search(is_locked).iter().map(|it| it.key()).collect();
            if !keys.is_empty() {
                let sessions = Arc::clone(&self);
                tokio::spawn(async move {
                    let by = KickedBy::lock(None);
                    sessions.kick(keys, Priority::Lock, &by, KICK_TIMEOUT).await;
                });
            }
        }
    }
}

/// A message of a peer; never without peers.
async fn heard_of(heard: &mut Option<mpsc::Receiver<PeerMessage>>) -> Option<PeerMessage> {
    match heard {
        Some(heard) => heard.recv().await,
        None => std::future::pending().await,
    }
}
