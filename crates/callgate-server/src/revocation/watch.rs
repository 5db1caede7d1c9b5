//! Waits for changes, and for replicas that no longer run.

use std::{collections::BTreeSet, future::pending, sync::Arc, time::Duration};

use callgate::clock::UnixTime;
use futures_util::future::select_all;
use tokio::{
    sync::watch::Receiver,
    time::{Instant, MissedTickBehavior, interval_at, sleep, sleep_until},
};

use super::{InForce, Revocation};

/// How often to look for replicas that no longer run.
const PEER_CHECK: Duration = Duration::from_secs(3);
/// Replicas that run have the time to say so.
const FIRST_PEER_CHECK: Duration = Duration::from_secs(10);
/// A login that was decided before a change may enter the table so long after it.
const LATE_LOGIN: Duration = Duration::from_secs(5);
/// Before sessions that could not be ended are evaluated again.
const RETRY: Duration = Duration::from_secs(5);
/// Evaluations take at most this part of one core: after each, a pause of `PAUSE` times its duration.
const PAUSE: u32 = 4;

/// Why sessions are evaluated.
enum Trigger {
    /// The configuration changed.
    Configuration,
    /// The source of an authenticator changed.
    Source(Arc<str>),
    /// Nothing changed: logins may have been late, or kicks have failed.
    Again,
    /// A replica no longer runs.
    PeerGone,
}

/// The sources of one configuration.
#[derive(Default)]
struct Sources(Vec<(Arc<str>, Receiver<u64>)>);

impl Sources {
    /// Those of this configuration. Later changes count.
    fn of(in_force: &InForce) -> Self {
        let links = in_force.snapshot.chain.links().iter();
        let changes = links.flat_map(|link| {
            let receivers = link.authenticator.changes().into_iter();
            receivers.map(|receiver| (Arc::clone(&link.name), receiver))
        });
        Self(changes.collect())
    }

    /// Waits for a change; returns the authenticator.
    async fn changed(&mut self) -> Arc<str> {
        loop {
            if self.0.is_empty() {
                pending::<()>().await;
            }
            let waiting = self.0.iter_mut().map(|(_, receiver)| Box::pin(receiver.changed()));
            let (result, index, rest) = select_all(waiting).await;
            drop(rest);
            match (result, self.0.get(index)) {
                (Ok(()), Some((name, _))) => return Arc::clone(name),
                // The source has ended: a newer configuration replaces it.
                (Err(_), _) | (Ok(()), None) => drop(self.0.remove(index)),
            }
        }
    }
}

impl Revocation {
    pub(super) async fn watch(self: Arc<Self>) {
        let mut configurations = self.in_force.subscribe();
        configurations.mark_changed();
        let mut sources = Sources::default();
        let mut peers = interval_at(Instant::now() + FIRST_PEER_CHECK, PEER_CHECK);
        peers.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut dead = Dead::default();
        let mut again: Option<Instant> = None;
        loop {
            let trigger = tokio::select! {
                changed = configurations.changed() => match changed {
                    Ok(()) => Trigger::Configuration,
                    Err(_) => return,
                },
                name = sources.changed() => Trigger::Source(name),
                _ = peers.tick() => match dead.have_changed(&self) {
                    true => Trigger::PeerGone,
                    false => continue,
                },
                () = at(again) => Trigger::Again,
                () = self.unfinished.notified() => {
                    again.get_or_insert(Instant::now() + RETRY);
                    continue;
                }
            };
            let is_change = matches!(trigger, Trigger::Configuration | Trigger::Source(_));
            let settle = configurations.borrow().as_ref().map(|it| it.settings.settle);
            if is_change && let Some(settle) = settle {
                sleep(settle).await;
            }
            // What changes from here on counts as the next change.
            let in_force = configurations.borrow_and_update().clone();
            let Some(in_force) = in_force else { continue };
            let others = std::mem::replace(&mut sources, Sources::of(&in_force));
            let only = self.only(&trigger, &others);
            again = is_change.then(|| Instant::now() + LATE_LOGIN);
            if is_change {
                self.update_digest(&in_force).await;
                self.held().decided.clear();
            }
            let began = Instant::now();
            self.evaluate(only.as_ref(), UnixTime::now()).await;
            sleep(began.elapsed() * PAUSE).await;
        }
    }

    /// The authenticators whose sessions to evaluate; `None` means all.
    fn only(&self, trigger: &Trigger, sources: &Sources) -> Option<BTreeSet<Arc<str>>> {
        match trigger {
            Trigger::Source(first) if self.held().changes.is_empty() => {
                let changed = sources.0.iter().filter(|(_, it)| it.has_changed().unwrap_or(true));
                let names = changed.map(|(name, _)| Arc::clone(name));
                Some(names.chain([Arc::clone(first)]).collect())
            }
            // What is held is evaluated together with the change.
            Trigger::Source(_) | Trigger::Configuration | Trigger::Again | Trigger::PeerGone => {
                None
            }
        }
    }
}

/// Sessions of replicas that no longer run, as last seen.
#[derive(Debug, Default)]
struct Dead {
    replicas: BTreeSet<Box<str>>,
    sessions: usize,
}

impl Dead {
    /// Whether there are more of them for this replica to evaluate.
    fn have_changed(&mut self, revocation: &Revocation) -> bool {
        let Some(replicas) = revocation.replicas().filter(|it| it.is_first()) else {
            *self = Self::default();
            return false;
        };
        let alive: BTreeSet<_> = replicas.peers_alive().into_iter().collect();
        let runs = |id: &str| *id == **replicas.id() || alive.iter().any(|peer| **peer == *id);
        let found = revocation.sessions.table().search(|session| !runs(&session.common().replica));
        let now = Self {
            replicas: found.iter().map(|session| session.common().replica.clone()).collect(),
            sessions: found.len(),
        };
        let has_more = !now.replicas.is_subset(&self.replicas) || now.sessions > self.sessions;
        *self = now;
        has_more
    }
}

async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => pending().await,
    }
}
