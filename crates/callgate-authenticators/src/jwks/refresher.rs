//! Fetches keys, one attempt at a time, and holds the result of the last successful one.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use callgate::clock::UnixTime;
use sha2::{Digest, Sha256};
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};

use super::{
    KeySet, KeySetError, KeysUnavailable, RefreshObserver, Timing,
    source::{KeySource, KeySourceError},
};
use crate::{
    jws::Algorithm,
    state_dir::{SavedKeys, StateFile},
};

/// How long the next refresh waits for the disk.
const SAVE_TIMEOUT: Duration = Duration::from_secs(2);

pub(super) struct Refresher {
    pub(super) source: Arc<dyn KeySource>,
    pub(super) algorithms: Vec<Algorithm>,
    pub(super) timing: Timing,
    observer: RefreshObserver,
    /// Where the set is kept for the next start.
    saved: Option<StateFile>,
    /// Whether sets are saved; otherwise they are only restored.
    pub(super) saves: bool,
    loaded: ArcSwapOption<Loaded>,
    /// Held while a set is loaded, so that of two who load the same new set only one sees a change.
    loading: Mutex<()>,
    /// A preloaded set is in force that has not been reported: the next attempt reports it.
    unreported: AtomicBool,
    one_at_a_time: tokio::sync::Mutex<()>,
    progress: watch::Sender<Progress>,
    /// Counts the changes of the set in force.
    pub(super) changes: watch::Sender<u64>,
}

/// The set in force.
pub(super) struct Loaded {
    pub(super) keys: Arc<KeySet>,
    digest: [u8; 32],
    at: Instant,
    /// The age that the set had then, if an earlier process fetched it.
    restored: Option<Duration>,
}

impl Loaded {
    /// The time since the set was fetched.
    fn age(&self) -> Duration {
        self.at.elapsed() + self.restored.unwrap_or_default()
    }
}

#[derive(Debug, Clone, Default)]
struct Progress {
    /// Number of started attempts.
    started: u64,
    /// Number of finished attempts.
    finished: u64,
    /// The error of the last finished attempt.
    error: Option<Arc<str>>,
}

/// The result of a successful attempt.
struct Refreshed {
    /// The keys differ from those last reported.
    changed: bool,
    max_age: Option<Duration>,
}

impl Refresher {
    pub(super) fn new(
        source: Arc<dyn KeySource>,
        algorithms: &[Algorithm],
        timing: Timing,
        observer: RefreshObserver,
    ) -> Self {
        Self {
            source,
            algorithms: algorithms.to_vec(),
            timing,
            observer,
            saved: None,
            saves: false,
            loaded: ArcSwapOption::empty(),
            loading: Mutex::default(),
            unreported: AtomicBool::new(false),
            one_at_a_time: tokio::sync::Mutex::default(),
            progress: watch::Sender::new(Progress::default()),
            changes: watch::Sender::new(0),
        }
    }

    /// Keeps sets in this file; only for the next start, unless it `saves`.
    pub(super) fn kept_in(self, saved: Option<StateFile>, saves: bool) -> Self {
        Self { saved, saves, ..self }
    }

    /// The set in force, unless it is too old.
    pub(super) fn in_force(&self) -> Result<Arc<Loaded>, KeysUnavailable> {
        let Some(loaded) = self.loaded.load_full() else {
            return Err(self.unavailable("waiting for"));
        };
        match loaded.age() > self.timing.keep {
            true => Err(self.unavailable("too long without a refresh of")),
            false => Ok(loaded),
        }
    }

    pub(super) fn unavailable(&self, what: &str) -> KeysUnavailable {
        let source = self.source.describe();
        KeysUnavailable(match self.last_error() {
            Some(error) => format!("{what} {source}: {error}"),
            None => format!("{what} {source}"),
        })
    }

    /// The error of the last finished attempt, unless it succeeded.
    pub(super) fn last_error(&self) -> Option<Arc<str>> {
        self.progress.borrow().error.clone()
    }

    /// Puts a set in force that was read elsewhere.
    pub(super) fn preload(&self, json: &[u8]) -> Result<(), KeySetError> {
        let changed = self.load(json)?;
        self.unreported.fetch_or(changed, Ordering::Relaxed);
        Ok(())
    }

    /// Puts the set in force that an earlier process saved, unless there is one already.
    pub(super) fn restore(&self) {
        let Some(saved) = &self.saved else { return };
        let source = self.source.describe();
        let now = UnixTime::now();
        match saved.read(now) {
            Ok(None) => {}
            Ok(Some(found)) => {
                let age = now.seconds_since(found.fetched);
                let age = Duration::from_secs(age.try_into().unwrap_or_default());
                match self.restore_keys(&found, age) {
                    Ok(true) => tracing::warn!(
                        source,
                        age_seconds = age.as_secs(),
                        "keys that an earlier process fetched are in force until the first fetch succeeds"
                    ),
                    Ok(false) => {}
                    Err(error) => tracing::error!(source, %error, "saved keys are not used"),
                }
            }
            Err(error) => tracing::error!(source, %error, "saved keys are not used"),
        }
    }

    fn restore_keys(&self, found: &SavedKeys, age: Duration) -> Result<bool, KeySourceError> {
        if age > self.timing.keep {
            let limit = self.timing.keep.as_secs();
            let age = age.as_secs();
            return Err(
                format!("they are {age} s old, more than `jwks_max_stale` ({limit} s)").into()
            );
        }
        let json = found.keys.as_bytes();
        let keys = Arc::new(KeySet::parse(json, &self.algorithms)?);
        let _loading = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        if self.loaded.load().is_some() {
            return Ok(false);
        }
        self.source.restore_issuer(found.issuer.as_deref())?;
        let digest = Sha256::digest(json).into();
        let loaded = Loaded { keys, digest, at: Instant::now(), restored: Some(age) };
        self.loaded.store(Some(Arc::new(loaded)));
        // The first fetch reports the keys, also if they are the same.
        self.unreported.store(true, Ordering::Relaxed);
        Ok(true)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.loaded.load().is_none()
    }

    /// The age of the set in force, if an earlier process fetched it.
    pub(super) fn restored_age(&self) -> Option<Duration> {
        let loaded = self.loaded.load_full()?;
        loaded.restored.map(|_| loaded.age())
    }

    /// Saves a set before it is in force, so that a set that was replaced never comes back.
    async fn save(&self, body: &[u8]) {
        let Some(file) = self.saved.clone().filter(|_| self.saves) else { return };
        let keys = String::from_utf8_lossy(body).into_owned();
        let issuer = self.source.learned_issuer();
        let saved = SavedKeys { fetched: UnixTime::now(), issuer, keys };
        let write = tokio::task::spawn_blocking(move || file.write(&saved));
        let why = match timeout(SAVE_TIMEOUT, write).await {
            Ok(Ok(Ok(()))) => return,
            Ok(Ok(Err(error))) => error.to_string(),
            Ok(Err(_)) => "writing the file panicked".to_owned(),
            Err(_) => "writing the file takes too long".to_owned(),
        };
        let source = self.source.describe();
        tracing::error!(source, error = why, "keys cannot be saved for the next start");
    }

    /// Puts a set in force. True if it differs from the previous one.
    fn load(&self, json: &[u8]) -> Result<bool, KeySetError> {
        let _loading = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        let digest = Sha256::digest(json).into();
        let at = Instant::now();
        let unchanged = self.loaded.load_full().filter(|before| before.digest == digest);
        let changed = unchanged.is_none();
        let keys = match unchanged {
            Some(before) => Arc::clone(&before.keys),
            None => Arc::new(KeySet::parse(json, &self.algorithms)?),
        };
        self.loaded.store(Some(Arc::new(Loaded { keys, digest, at, restored: None })));
        if changed {
            self.changes.send_modify(|count| *count += 1);
        }
        Ok(changed)
    }

    /// Starts an attempt in its own task: it goes on if the caller goes away, because others wait too.
    pub(super) fn spawn_attempt(self: &Arc<Self>) {
        tokio::spawn(Arc::clone(self).attempt());
    }

    /// Waits for all attempts that have started by now.
    pub(super) async fn attempts_in_flight(&self) {
        let mut progress = self.progress.subscribe();
        let started = progress.borrow_and_update().started;
        // Fails only if the sender is gone, which `self` owns.
        let _ = progress.wait_for(|now| now.finished >= started).await;
    }

    /// Counts an attempt as started now, before the future is polled. The set in force changes only
    /// if the attempt succeeds.
    fn attempt(self: Arc<Self>) -> impl Future<Output = Result<Option<Duration>, ()>> + Send {
        self.progress.send_modify(|progress| progress.started += 1);
        let mut finish = Finish { refresher: self, error: Some("the attempt was aborted".into()) };
        async move {
            let refresher = Arc::clone(&finish.refresher);
            let _one = refresher.one_at_a_time.lock().await;
            let result = refresher.fetch().await.map_err(|error| Arc::from(error.to_string()));
            refresher.report(&result);
            finish.with(result.as_ref().err().cloned());
            result.map(|refreshed| refreshed.max_age).map_err(drop)
        }
    }

    async fn fetch(&self) -> Result<Refreshed, KeySourceError> {
        let fetched = self.source.fetch().await?;
        if self.saves && KeySet::parse(&fetched.body, &self.algorithms).is_ok() {
            self.save(&fetched.body).await;
        }
        let changed = self
            .load(&fetched.body)
            .map_err(|error| format!("{} is not usable: {error}", self.source.describe()))?;
        let unreported = self.unreported.swap(false, Ordering::Relaxed);
        Ok(Refreshed { changed: changed || unreported, max_age: fetched.max_age })
    }

    /// Reports each attempt, but for a source with a fixed period only changes, and the first success
    /// after an error.
    fn report(&self, result: &Result<Refreshed, Arc<str>>) {
        let source = self.source.describe();
        let is_news = self.source.fixed_period().is_none()
            || match result {
                Ok(refreshed) => refreshed.changed || self.last_error().is_some(),
                Err(error) => self.last_error().as_deref() != Some(error),
            };
        if is_news {
            (self.observer)(result.is_ok());
        }
        match result {
            Ok(Refreshed { changed: true, .. }) => self.log_keys(&source),
            Ok(Refreshed { changed: false, .. }) => tracing::debug!(source, "keys are unchanged"),
            Err(error) if is_news => {
                let kept = self.loaded.load().is_some();
                tracing::warn!(source, %error, old_keys_kept = kept, "keys were not refreshed");
            }
            Err(error) => tracing::debug!(source, %error, "keys were not refreshed"),
        }
    }

    fn log_keys(&self, source: &str) {
        let Some(loaded) = self.loaded.load_full() else { return };
        tracing::info!(source, keys = loaded.keys.len(), "signing keys are in force");
        for remark in loaded.keys.remarks() {
            tracing::warn!(source, remark, "a key was left out");
        }
    }
}

/// Counts an attempt as finished however it ends, so that no caller waits forever.
struct Finish {
    refresher: Arc<Refresher>,
    error: Option<Arc<str>>,
}

impl Finish {
    fn with(&mut self, error: Option<Arc<str>>) {
        self.error = error;
    }
}

impl Drop for Finish {
    fn drop(&mut self) {
        let error = self.error.take();
        self.refresher.progress.send_modify(|progress| {
            progress.finished += 1;
            progress.error = error;
        });
    }
}

/// Fetches the keys now, and again before they become stale. Clients have no influence on this
/// schedule: a flood of made-up key ids cannot hide a rotation.
pub(super) async fn keep_fresh(refresher: Arc<Refresher>) {
    let mut failures = 0u32;
    loop {
        let pause = match Arc::clone(&refresher).attempt().await {
            Ok(max_age) => {
                failures = 0;
                refresher.timing.pause_after_success(max_age)
            }
            Err(()) => {
                failures = failures.saturating_add(1);
                refresher.timing.pause_after_failure(failures)
            }
        };
        tokio::time::sleep(refresher.source.fixed_period().unwrap_or(pause)).await;
    }
}
