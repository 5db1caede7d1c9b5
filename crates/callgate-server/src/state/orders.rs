//! Orders: lock, unlock, list, and who has a lock in force.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, SystemTime},
};

use callgate::{clock::UnixTime, sanitize::log_field};
use tokio::time::{Instant, sleep};
use tracing::info;

use super::{
    LOCK, Lock, MAX_LOCKS, State, Target,
    lock::{MAX_VALUE, id_at},
    peers::{CONFIRM, REFUSED},
    store::{Store, WriteError},
};
use crate::replicas::ReplicaId;

/// IDs that are tried until one is free.
const MAX_IDS: u64 = 64;
/// Before the second attempt to store a lock.
const LEADER_CHANGE: Duration = Duration::from_millis(300);
/// Between questions to replicas that have not confirmed.
const CONFIRM_INTERVAL: Duration = Duration::from_millis(20);
/// How long one question waits for all of them.
const CONFIRM_TIMEOUT: Duration = Duration::from_millis(300);
/// How long the counts of replicas are waited for.
const COUNT_TIMEOUT: Duration = Duration::from_secs(1);

/// A lock that is ordered.
#[derive(Debug, Clone)]
pub(crate) struct NewLock {
    pub(crate) target: Target,
    pub(crate) ends: Ends,
    pub(crate) reason: Option<String>,
    pub(crate) actor: String,
    /// Whether live sessions are kicked.
    pub(crate) kick: bool,
}

/// When a lock ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ends {
    Never,
    After(Duration),
    At(UnixTime),
}

/// Why a lock was not stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotStored {
    #[error("the lock has no target")]
    NoTarget,
    #[error(
        "there are {MAX_LOCKS} locks, and there can be no more: remove some with `callgate unlock`"
    )]
    TooMany,
    #[error("the lock would have {0} bytes, more than {MAX_VALUE}: shorten its reason")]
    TooLong(usize),
    #[error("the stored locks have not been read yet")]
    Unknown,
    #[error("{0}; it may be stored nevertheless: see `callgate locks`")]
    NotConfirmed(WriteError),
    #[error("{0}")]
    Write(WriteError),
}

/// Why a lock was not removed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotUnlocked {
    #[error("there is no such lock")]
    NoSuchLock,
    #[error("the stored locks have not been read yet")]
    Unknown,
    #[error("{0}")]
    Write(WriteError),
}

/// Which replicas have a lock in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Confirmations {
    pub(crate) confirmed: Vec<ReplicaId>,
    pub(crate) unconfirmed: Vec<ReplicaId>,
    /// How long it took.
    pub(crate) after: Duration,
}

/// A stored lock.
#[derive(Debug, Clone)]
pub(crate) struct ListedLock {
    pub(crate) id: Arc<str>,
    /// `None` if it was never understood.
    pub(crate) lock: Option<Arc<Lock>>,
    /// Logins that all replicas refused, as far as they answered.
    pub(crate) refused: u64,
    /// Why its value is not understood.
    pub(crate) unreadable: Option<String>,
}

impl State {
    /// Stores a lock. It is in force on this replica when this returns.
    ///
    /// # Errors
    /// If the bucket has not confirmed it: then it is not in force anywhere because of this call, unless the
    /// confirmation was lost.
    pub(crate) async fn lock(&self, order: NewLock) -> Result<Arc<Lock>, NotStored> {
        let NewLock { target, ends, reason, actor, kick } = order;
        let (count, _) = self.locks.count(self.now());
        let Some(store) = self.store.get() else { return Err(NotStored::Unknown) };
        match (target.is_empty(), *self.is_known.borrow()) {
            (true, _) => return Err(NotStored::NoTarget),
            (false, false) => return Err(NotStored::Unknown),
            (false, true) if count >= MAX_LOCKS => return Err(NotStored::TooMany),
            (false, true) => {}
        }
        let created = UnixTime::now();
        let ends = match ends {
            Ends::Never => None,
            Ends::After(duration) => {
                Some(self.freshness.latest(Instant::now(), created).plus(duration))
            }
            Ends::At(time) => Some(time),
        };
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let milliseconds = since_epoch.unwrap_or_default().as_millis();
        let first = u64::try_from(milliseconds).unwrap_or_default();
        for id in (first..first + MAX_IDS).map(id_at) {
            let (target, reason, actor) = (target.clone(), reason.clone(), actor.clone());
            let lock = Lock::new(&id, target, reason, actor, created, ends).with_kick(kick);
            let value = lock.to_value();
            if value.len() > MAX_VALUE {
                return Err(NotStored::TooLong(value.len()));
            }
            match store_new(store, &id, &value).await {
                Ok(()) => {
                    if self.locks.put_unless_removed(&id, &value) {
                        self.log_lock(&id, true);
                    }
                    self.publish_locks();
                    self.announce(&id, &value).await;
                    return Ok(self.locks.readable(&id).unwrap_or_else(|| Arc::new(lock)));
                }
                Err(NotStored::Write(WriteError::Conflict)) => {}
                Err(error) => return Err(error),
            }
        }
        Err(NotStored::Write(WriteError::Conflict))
    }

    /// Lets a stored lock kick live sessions, too.
    ///
    /// # Errors
    /// If there is no such lock, or the bucket has not confirmed it.
    pub(crate) async fn begin_kicks(&self, lock: &Lock) -> Result<(), NotUnlocked> {
        let Some(store) = self.store.get() else { return Err(NotUnlocked::Unknown) };
        let stored = self.locks.value(&lock.id).ok_or(NotUnlocked::NoSuchLock)?;
        let stored = Lock::read(&lock.id, &stored).map_err(|_| NotUnlocked::NoSuchLock)?;
        let value = stored.with_kick(true).to_value();
        let key = format!("{LOCK}{}", lock.id);
        store.write(&key, value.clone(), None).await.map_err(NotUnlocked::Write)?;
        self.locks.put_unless_removed(&lock.id, &value);
        self.publish_locks();
        Ok(())
    }

    /// Removes a lock, also an unreadable one.
    ///
    /// # Errors
    /// If there is no such lock, or the bucket has not confirmed it.
    pub(crate) async fn unlock(&self, id: &str, actor: &str) -> Result<(), NotUnlocked> {
        let Some(store) = self.store.get() else { return Err(NotUnlocked::Unknown) };
        if !*self.is_known.borrow() {
            return Err(NotUnlocked::Unknown);
        }
        if self.locks.value(id).is_none() {
            return Err(NotUnlocked::NoSuchLock);
        }
        store.delete(&format!("{LOCK}{id}"), Some(actor)).await.map_err(NotUnlocked::Write)?;
        if self.locks.remove(id) {
            info!(lock = log_field(id), actor = log_field(actor), "lock removed");
        }
        self.publish_locks();
        Ok(())
    }

    /// All stored locks that have not ended, in the order of their creation.
    pub(crate) async fn list(&self) -> Vec<ListedLock> {
        let mut refused = self.refused();
        let answers = self.replicas.ask_all(REFUSED, Vec::new(), COUNT_TIMEOUT).await;
        for (_, part) in answers {
            let counts: BTreeMap<String, u64> = serde_json::from_slice(&part).unwrap_or_default();
            for (id, count) in counts {
                *refused.entry(id).or_default() += count;
            }
        }
        let now = self.now();
        let entries = self.locks.entries().into_iter().filter(|(_, entry)| !entry.is_over(now));
        let listed = entries.map(|(id, entry)| ListedLock {
            refused: refused.get(&*id).copied().unwrap_or_default(),
            lock: entry.lock,
            unreadable: entry.unreadable.map(|why| why.to_string()),
            id,
        });
        listed.collect()
    }

    /// Asks all replicas until each has this lock in force, at most for `within`. One that was heard of
    /// before and is silent counts as not confirmed: it may be cut off and still answer logins.
    pub(crate) async fn confirmations(&self, id: &str, within: Duration) -> Confirmations {
        let start = Instant::now();
        let deadline = start + within;
        let mut confirmed = BTreeSet::new();
        let mut expected: BTreeSet<ReplicaId> = self.replicas.peers_known().into_iter().collect();
        if self.is_member {
            expected.insert(self.replicas.id().clone());
        }
        loop {
            if self.is_member && self.locks.contains(id) {
                confirmed.insert(self.replicas.id().clone());
            }
            let remaining = deadline.saturating_duration_since(Instant::now());
            if confirmed.len() < expected.len() || !self.is_member {
                let within = remaining.min(CONFIRM_TIMEOUT);
                let answers = self.replicas.ask_all(CONFIRM, id.as_bytes().to_vec(), within).await;
                for (replica, answer) in answers {
                    expected.insert(replica.clone());
                    if *answer == [1] {
                        confirmed.insert(replica);
                    }
                }
            }
            let unconfirmed: Vec<_> = expected.difference(&confirmed).cloned().collect();
            if unconfirmed.is_empty() || Instant::now() >= deadline {
                let confirmed = confirmed.into_iter().collect();
                return Confirmations { confirmed, unconfirmed, after: start.elapsed() };
            }
            sleep(CONFIRM_INTERVAL).await;
        }
    }
}

/// Stores a value under a new key. Without an answer it tries once more, for example at a new leader.
async fn store_new(store: &Store, id: &str, value: &[u8]) -> Result<(), NotStored> {
    let key = format!("{LOCK}{id}");
    let is_doubtful = match store.write(&key, value.to_vec(), Some(0)).await {
        Ok(()) => return Ok(()),
        Err(WriteError::NoAnswer(_)) => true,
        Err(WriteError::NoBucket(_)) => false,
        Err(error) => return Err(NotStored::Write(error)),
    };
    sleep(LEADER_CHANGE).await;
    match store.write(&key, value.to_vec(), Some(0)).await {
        Ok(()) => Ok(()),
        // The first write may have arrived, but nothing confirmed it.
        Err(error) if is_doubtful => Err(NotStored::NotConfirmed(error)),
        Err(error @ WriteError::NoAnswer(_)) => Err(NotStored::NotConfirmed(error)),
        Err(error) => Err(NotStored::Write(error)),
    }
}
