//! What replicas share through a JetStream bucket: locks, and proof that the replica is fresh.

mod bucket;
mod follow;
mod freshness;
mod hook;
mod housekeeping;
mod index;
mod lock;
mod locks;
mod orders;
mod peers;
mod settings;
mod store;
mod stored;
mod target;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_nats::Client;
use callgate::{AdmissionHook, clock::UnixTime};
use tokio::{sync::watch, time::Instant};

use crate::{replicas::Replicas, telemetry::Metrics};
pub(crate) use bucket::{BUS_PERMISSION, PERMISSIONS, examine};
use freshness::Freshness;
pub(crate) use lock::Lock;
pub(crate) use locks::{Locks, MAX_LOCKS};
pub(crate) use orders::{Ends, ListedLock, NewLock, NotUnlocked};
pub(crate) use settings::{StateMode, StateSettings};
use store::Store;
pub(crate) use target::{Candidate, IssuedAt, Target, Verdict, parse_network, parse_time};

/// The shared state, as this replica sees it.
pub(crate) struct State {
    settings: StateSettings,
    replicas: Arc<Replicas>,
    metrics: Arc<Metrics>,
    locks: Locks,
    freshness: Freshness,
    /// False for a command, which only reads and gives orders.
    is_member: bool,
    store: OnceLock<Store>,
    /// Whether all locks have been read once.
    is_known: watch::Sender<bool>,
    /// Whether the replica was fresh when it last looked, for the log.
    was_fresh: AtomicBool,
    /// Why the bucket is not available.
    problem: Mutex<Option<String>>,
    /// When the keys of other replicas were last written, as seen here.
    peer_keys: Mutex<BTreeMap<String, Instant>>,
    /// Counts changes of the locks in force.
    changes: watch::Sender<u64>,
}

impl State {
    /// The state of a replica.
    pub(crate) fn member(
        settings: StateSettings,
        replicas: Arc<Replicas>,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        Self::new(settings, replicas, metrics, true)
    }

    /// The state for a command that runs without a replica.
    pub(crate) fn visitor(settings: StateSettings, replicas: Arc<Replicas>) -> Arc<Self> {
        Self::new(settings, replicas, Arc::default(), false)
    }

    fn new(
        settings: StateSettings,
        replicas: Arc<Replicas>,
        metrics: Arc<Metrics>,
        is_member: bool,
    ) -> Arc<Self> {
        Arc::new(Self {
            freshness: Freshness::new(settings.max_stale, Instant::now()),
            settings,
            replicas,
            metrics,
            locks: Locks::default(),
            is_member,
            store: OnceLock::new(),
            is_known: watch::Sender::new(false),
            was_fresh: AtomicBool::new(true),
            problem: Mutex::default(),
            peer_keys: Mutex::default(),
            changes: watch::Sender::new(0),
        })
    }

    /// Starts to follow the bucket and to answer peers. [`Replicas::start`] is called separately.
    pub(crate) fn start(self: &Arc<Self>, client: &Client) {
        let store = Store::new(client, &self.settings.bucket);
        if self.store.set(store).is_err() {
            return;
        }
        self.answer_peers();
        tokio::spawn(Arc::clone(self).follow(client.clone()));
        tokio::spawn(Arc::clone(self).ask_peers());
        tokio::spawn(Arc::clone(self).keep_house());
    }

    /// The hook that refuses what is locked. Its place is after that of the table of sessions.
    pub(crate) fn hook(self: &Arc<Self>) -> Arc<dyn AdmissionHook> {
        Arc::new(hook::LockHook(Arc::clone(self)))
    }

    pub(crate) fn replicas(&self) -> &Arc<Replicas> {
        &self.replicas
    }

    pub(crate) fn locks(&self) -> &Locks {
        &self.locks
    }

    /// Changes with the locks in force.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// A lock that matches a login for sure.
    pub(crate) fn check<S: AsRef<str>>(&self, candidate: &Candidate<'_, S>) -> Option<Arc<Lock>> {
        self.locks.check(candidate, self.now())
    }

    /// A lock that matches a connection, as far as can be said of it.
    pub(crate) fn find<S: AsRef<str>>(
        &self,
        candidate: &Candidate<'_, S>,
    ) -> Option<(Verdict, Arc<Lock>)> {
        self.locks.find(candidate, self.now())
    }

    /// The same for a lock that kicks live sessions.
    pub(crate) fn find_to_kick<S: AsRef<str>>(
        &self,
        candidate: &Candidate<'_, S>,
    ) -> Option<(Verdict, Arc<Lock>)> {
        let found = self.find(candidate)?;
        if found.1.kick {
            return Some(found);
        }
        // One that leaves sessions alone may hide another one.
        let others = self.locks.in_force(self.now()).into_iter().filter(|lock| lock.kick);
        let others = others.map(|lock| (lock.target.matches(candidate), lock));
        others.filter(|(verdict, _)| *verdict != Verdict::No).max_by_key(|(verdict, _)| *verdict)
    }

    /// The time for the ends of locks: a clock that is ahead ends none early.
    pub(crate) fn now(&self) -> UnixTime {
        self.freshness.earliest(Instant::now(), UnixTime::now())
    }

    /// Why this replica does not answer requests yet.
    pub(crate) fn waiting_for(&self) -> Option<String> {
        let is_known = *self.is_known.borrow();
        let is_usable = match self.settings.mode {
            StateMode::BestEffort => is_known,
            StateMode::Strict => is_known && self.freshness.is_proven(),
        };
        if !self.settings.required || is_usable {
            return None;
        }
        let bucket = &self.settings.bucket;
        Some(match self.problem() {
            Some(problem) => format!("state: the locks in the bucket `{bucket}`: {problem}"),
            None => format!("state: the locks in the bucket `{bucket}`"),
        })
    }

    /// Why every login is refused, in the mode `strict`.
    pub(crate) fn refuses_all(&self) -> Option<String> {
        match self.settings.mode {
            StateMode::BestEffort => None,
            StateMode::Strict => self.doubt(),
        }
    }

    fn doubt(&self) -> Option<String> {
        let now = Instant::now();
        if !self.freshness.is_fresh(now) {
            let age = self.freshness.age(now).as_secs();
            return Some(format!("no proof for {age} s that the locks are current"));
        }
        if self.locks.has_unreadable() {
            return Some("a stored lock is unreadable: see `callgate locks`".to_owned());
        }
        None
    }

    /// Waits until all locks have been read once.
    pub(crate) async fn known(&self) {
        let mut is_known = self.is_known.subscribe();
        // The sender lives as long as `self`.
        let _ = is_known.wait_for(|known| *known).await;
    }

    /// Says that this replica stops.
    pub(crate) async fn shut_down(&self) {
        if self.is_member
            && let Some(store) = self.store.get()
        {
            // Without a quorum, the others notice the silence.
            let _ = store.delete(&format!("{REPLICA}{}", self.replicas.id()), None).await;
        }
    }

    fn publish_locks(&self) {
        if self.locks.publish() {
            self.changes.send_modify(|count| *count += 1);
        }
    }

    fn note_known(&self) {
        self.is_known.send_replace(true);
    }

    fn problem(&self) -> Option<String> {
        guard(&self.problem).clone()
    }

    fn set_problem(&self, problem: Option<String>) {
        *guard(&self.problem) = problem;
    }

    fn note_key(&self, id: &str) {
        guard(&self.peer_keys).insert(id.to_owned(), Instant::now());
    }

    fn forget_key(&self, id: &str) {
        guard(&self.peer_keys).remove(id);
    }

    /// The keys of replicas that were not written for this long.
    fn silent_keys(&self, silence: Duration) -> Vec<String> {
        let keys = guard(&self.peer_keys);
        let silent = keys.iter().filter(|(_, seen)| seen.elapsed() > silence);
        silent.map(|(id, _)| id.clone()).collect()
    }

    /// Stores whether the replica is fresh; true if that changed.
    fn note_fresh(&self, fresh: bool) -> bool {
        self.was_fresh.swap(fresh, Ordering::Relaxed) != fresh
    }
}

fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The prefixes of keys.
const LOCK: &str = "lock.";
const REPLICA: &str = "replica.";

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("settings", &self.settings).finish_non_exhaustive()
    }
}
