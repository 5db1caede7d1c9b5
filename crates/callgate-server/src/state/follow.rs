//! Follows the bucket, and repairs it: a lock disappears only by `unlock`, or when it ends.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::{Duration, SystemTime},
};

use async_nats::Client;
use callgate::sanitize::log_field;
use callgate_authenticators::kind::{BucketEvent, BucketFacts};
use tokio::{
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, interval, sleep},
};
use tracing::{debug, error, info, warn};

use super::{LOCK, REPLICA, State, bucket, store::WriteError};
use crate::buckets::{self, BucketError};

/// Before the next attempt to open the bucket.
const RETRY_DELAY: Duration = Duration::from_secs(1);
/// An error is logged again after this time.
const LOG_INTERVAL: Duration = Duration::from_secs(60);
/// Between attempts to write missing locks again.
const REPAIR_INTERVAL: Duration = Duration::from_secs(1);
/// Events that are applied at once.
const BATCH: usize = 256;

/// What the watch has shown, beyond the locks themselves.
#[derive(Debug, Default)]
struct View {
    /// The locks of the list that is being read.
    seen: Option<HashSet<Arc<str>>>,
    is_listed: bool,
    /// Locks that the bucket does not have, with the revision that a write must expect.
    missing: BTreeMap<Arc<str>, u64>,
    repair: Option<JoinHandle<()>>,
    opening: Option<JoinHandle<()>>,
}

impl State {
    pub(super) async fn follow(self: Arc<Self>, client: Client) {
        self.open_bucket(&client).await;
        let bound = client.clone();
        let bucket = bucket::of(&self.settings);
        let mut events = buckets::watch(bucket, async move { Some(bound) });
        let mut view = View::default();
        let mut batch = Vec::with_capacity(BATCH);
        let mut repair = interval(REPAIR_INTERVAL);
        repair.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                count = events.recv_many(&mut batch, BATCH) => {
                    if count == 0 {
                        return;
                    }
                    for event in batch.drain(..) {
                        self.apply(event, &mut view, &client);
                    }
                    self.publish_locks();
                }
                _ = repair.tick() => self.repair(&mut view),
            }
        }
    }

    /// Waits until the bucket exists and may be used.
    async fn open_bucket(&self, client: &Client) {
        let mut logged: Option<(BucketError, Instant)> = None;
        while let Err(error) = bucket::open(client, &self.settings).await {
            self.set_problem(Some(error.to_string()));
            let is_new = logged
                .as_ref()
                .is_none_or(|(logged, at)| *logged != error || at.elapsed() > LOG_INTERVAL);
            if is_new {
                error!(bucket = self.settings.bucket, %error, "cannot use the bucket of [state]; retrying");
                logged = Some((error, Instant::now()));
            }
            sleep(RETRY_DELAY).await;
        }
        self.set_problem(None);
    }

    fn apply(self: &Arc<Self>, event: BucketEvent, view: &mut View, client: &Client) {
        match event {
            BucketEvent::Listing(facts) => {
                warn_expiring(&facts);
                view.seen = Some(HashSet::new());
            }
            BucketEvent::Value { key, value, revision: _, written } => {
                if let Some(id) = key.strip_prefix(LOCK) {
                    self.lock_written(id, &value, written, view);
                } else if let Some(id) = key.strip_prefix(REPLICA) {
                    self.replica_written(id, &value, written);
                }
            }
            BucketEvent::Removed { key, revision, by } => {
                if let Some(id) = key.strip_prefix(LOCK) {
                    self.lock_removed(id, revision, by.as_deref(), view);
                } else if let Some(id) = key.strip_prefix(REPLICA) {
                    self.replicas.left(id);
                    self.forget_key(id);
                }
            }
            BucketEvent::Listed => self.listed(view),
            BucketEvent::Lost(why) => {
                view.is_listed = false;
                view.seen = None;
                self.set_problem(Some(why));
                // It may have been deleted; the watch is established again by itself.
                if view.opening.as_ref().is_none_or(JoinHandle::is_finished) {
                    let (state, client) = (Arc::clone(self), client.clone());
                    let opening = async move { state.open_bucket(&client).await };
                    view.opening = Some(tokio::spawn(opening));
                }
            }
        }
    }

    fn lock_written(&self, id: &str, value: &[u8], written: SystemTime, view: &mut View) {
        view.missing.remove(id);
        if let Some(seen) = &mut view.seen {
            seen.insert(id.into());
        }
        let is_new = self.locks.put(id, value);
        if let Some(since) = self.locks.shown(id)
            && view.is_listed
        {
            let delay = since.duration_since(written).unwrap_or_default();
            self.metrics.state.lock_delayed(delay);
        }
        if is_new {
            self.log_lock(id, view.is_listed);
        }
    }

    /// Logs a new lock; those that are read at the start only if they are unreadable.
    pub(super) fn log_lock(&self, id: &str, is_live: bool) {
        match self.locks.unreadable(id) {
            Some(why) => error!(
                lock = log_field(id),
                %why,
                "a stored lock is unreadable: it is kept, and refuses all logins in the mode `strict`; \
                 update Callgate, or remove it with `callgate unlock`"
            ),
            None if is_live => info!(lock = log_field(id), "lock in force"),
            None => {}
        }
    }

    fn lock_removed(&self, id: &str, revision: u64, by: Option<&str>, view: &mut View) {
        view.missing.remove(id);
        if let Some(seen) = &mut view.seen {
            seen.insert(id.into());
        }
        match by {
            Some(actor) => {
                if self.locks.remove(id) {
                    info!(lock = log_field(id), actor = log_field(actor), "lock removed");
                }
            }
            None => self.note_missing(id, revision, view),
        }
    }

    /// A key disappeared without an actor: that unlocks nothing.
    fn note_missing(&self, id: &str, revision: u64, view: &mut View) {
        match self.locks.is_over(id, self.now()) {
            None => {}
            Some(true) => {
                self.locks.remove(id);
            }
            Some(false) => {
                error!(
                    lock = log_field(id),
                    "a lock disappeared from the bucket without `callgate unlock`: it stays in force, and is \
                     written again"
                );
                view.missing.insert(id.into(), revision);
            }
        }
    }

    /// The list is complete: what it does not contain disappeared without a marker.
    fn listed(self: &Arc<Self>, view: &mut View) {
        let seen = view.seen.take().unwrap_or_default();
        let lost = self.locks.ids().into_iter().filter(|id| !seen.contains(id));
        for id in lost.collect::<Vec<_>>() {
            self.note_missing(&id, 0, view);
        }
        view.is_listed = true;
        self.set_problem(None);
        let (locks, unreadable) = self.locks.count(self.now());
        info!(bucket = self.settings.bucket, locks, unreadable, "locks read from the bucket");
        self.publish_locks();
        self.note_known();
        // The next regular proof may be seconds away.
        if self.is_member {
            tokio::spawn(Arc::clone(self).prove_fresh());
        }
        self.repair(view);
    }

    /// Writes missing locks again, unless a command reads them. All replicas try; one succeeds.
    fn repair(self: &Arc<Self>, view: &mut View) {
        let is_running = view.repair.as_ref().is_some_and(|repair| !repair.is_finished());
        if view.missing.is_empty() || !view.is_listed || !self.is_member || is_running {
            return;
        }
        let missing = view
            .missing
            .iter()
            .filter_map(|(id, revision)| Some((Arc::clone(id), self.locks.value(id)?, *revision)));
        let missing: Vec<_> = missing.collect();
        view.missing.retain(|id, _| missing.iter().any(|(it, ..)| it == id));
        let state = Arc::clone(self);
        view.repair = Some(tokio::spawn(async move {
            for (id, value, revision) in missing {
                if let Err(error) = state.write_again(&id, &value, revision).await {
                    debug!(lock = log_field(&id), %error, "cannot write a lock again; retrying");
                    return;
                }
            }
        }));
    }

    async fn write_again(&self, id: &str, value: &[u8], revision: u64) -> Result<(), WriteError> {
        let Some(store) = self.store.get() else { return Ok(()) };
        match store.write(&format!("{LOCK}{id}"), value.to_vec(), Some(revision)).await {
            Ok(()) => {
                info!(lock = log_field(id), "lock written to the bucket again");
                Ok(())
            }
            // Another replica was faster; the watch shows its write.
            Err(WriteError::Conflict) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

fn warn_expiring(facts: &BucketFacts) {
    if let Some(max_age) = facts.max_age {
        warn!(
            max_age_seconds = max_age.as_secs(),
            "the bucket of [state] forgets values after its `max_age`: locks are then written again; remove \
             that limit"
        );
    }
}
