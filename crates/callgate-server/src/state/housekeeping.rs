//! What a replica does from time to time: prove that it is fresh, remove what has ended, measure, warn.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use callgate::{clock::UnixTime, sanitize::log_field};
use serde_json::{Value, json};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::{debug, error, info, warn};

use super::{LOCK, REPLICA, State, StateMode};

/// How often the state is measured.
const TICK: Duration = Duration::from_secs(1);
/// How often a missing state is logged if it is not required.
const WARN_INTERVAL: Duration = Duration::from_secs(60);
/// Ended locks stay in the bucket for this time.
const KEPT: Duration = Duration::from_secs(60 * 60);
/// The key of a replica that was silent for this many times `max_stale` is removed.
const DEAD: u32 = 20;
/// The actor of a removal when a lock has ended.
const ENDED: &str = "callgate (ended)";

impl State {
    pub(super) async fn keep_house(self: Arc<Self>) {
        if !self.is_member {
            return;
        }
        let mut pulse = interval(self.settings.pulse());
        pulse.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut warned: Option<Instant> = None;
        loop {
            tokio::select! {
                _ = pulse.tick() => {
                    // A write may take longer than a pulse.
                    tokio::spawn(Arc::clone(&self).prove_fresh());
                }
                _ = tick.tick() => {
                    self.measure();
                    self.log_freshness();
                    self.warn_unknown(&mut warned);
                    self.remove_ended().await;
                    self.remove_dead().await;
                }
            }
        }
    }

    /// Writes this replica's key; the proof is that the write comes back through the watch.
    pub(super) async fn prove_fresh(self: Arc<Self>) {
        let Some(store) = self.store.get() else { return };
        let number = self.freshness.send(Instant::now());
        let (locks, unreadable) = self.locks.count(self.now());
        let value = json!({ "v": 1, "number": number, "locks": locks, "unreadable": unreadable });
        let key = format!("{REPLICA}{}", self.replicas.id());
        if let Err(error) = store.write(&key, value.to_string().into_bytes(), None).await {
            debug!(%error, "cannot write this replica's key");
        }
    }

    /// The key of a replica came through the watch.
    pub(super) fn replica_written(&self, id: &str, value: &[u8], written: SystemTime) {
        if *id != **self.replicas.id() {
            let ago = UnixTime::now().seconds_since(UnixTime::from(written));
            let ago = Duration::from_secs(u64::try_from(ago).unwrap_or_default());
            self.replicas.heard(id, ago);
            self.note_key(id);
            return;
        }
        let value: Value = serde_json::from_slice(value).unwrap_or_default();
        if let Some(number) = value.get("number").and_then(Value::as_u64) {
            self.freshness.returned(number, written);
        }
    }

    fn measure(&self) {
        let (locks, unreadable) = self.locks.count(self.now());
        self.metrics.state.set(locks, unreadable, self.freshness.age(Instant::now()));
    }

    fn log_freshness(&self) {
        // At the start there is no proof yet.
        let age = self.freshness.age(Instant::now());
        let fresh = age <= self.settings.max_stale;
        if !self.note_fresh(fresh) {
            return;
        }
        let problem = self.problem().unwrap_or_else(|| "no own write came back".to_owned());
        match (fresh, self.settings.mode) {
            (true, _) => info!("the shared state is fresh again"),
            (false, StateMode::BestEffort) => error!(
                age_seconds = age.as_secs(),
                problem, "the shared state is not fresh: the last known locks stay in force"
            ),
            (false, StateMode::Strict) => error!(
                age_seconds = age.as_secs(),
                problem, "the shared state is not fresh: every login is refused"
            ),
        }
    }

    fn warn_unknown(&self, warned: &mut Option<Instant>) {
        let is_due = warned.is_none_or(|warned| warned.elapsed() >= WARN_INTERVAL);
        let is_late = self.freshness.age(Instant::now()) >= TICK * 2;
        if self.settings.required || *self.is_known.borrow() || !is_due || !is_late {
            return;
        }
        *warned = Some(Instant::now());
        let problem = self.problem().unwrap_or_default();
        error!(
            problem,
            "the locks are unknown, and `state.required` is false: locked users can log in"
        );
    }

    /// Removes the keys of locks that ended long ago. One replica does it.
    async fn remove_ended(&self) {
        let ended = self.locks.ended_since(self.now(), KEPT);
        if ended.is_empty() || !self.replicas.is_first() {
            return;
        }
        let Some(store) = self.store.get() else { return };
        for id in ended {
            match store.delete(&format!("{LOCK}{id}"), Some(ENDED)).await {
                Ok(()) => debug!(lock = log_field(&id), "ended lock removed from the bucket"),
                Err(error) => {
                    warn!(lock = log_field(&id), %error, "cannot remove an ended lock");
                    return;
                }
            }
        }
    }

    /// Removes the keys of replicas that stopped without removing them. One replica does it.
    async fn remove_dead(&self) {
        let dead = self.silent_keys(self.settings.max_stale * DEAD);
        if dead.is_empty() || !self.replicas.is_first() {
            return;
        }
        let Some(store) = self.store.get() else { return };
        for id in dead {
            if store.delete(&format!("{REPLICA}{id}"), None).await.is_err() {
                return;
            }
        }
    }
}
