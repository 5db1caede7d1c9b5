//! Fetches keys, one attempt at a time, and keeps what the last good one brought.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use sha2::{Digest, Sha256};
use tokio::{sync::watch, time::Instant};

use super::{
    KeySet, KeySetError, KeysUnavailable, RefreshObserver, Timing,
    source::{BoxSourceError, KeySource},
};
use crate::jws::Algorithm;

pub(super) struct Refresher {
    pub(super) source: Arc<dyn KeySource>,
    pub(super) algorithms: Vec<Algorithm>,
    pub(super) timing: Timing,
    observer: RefreshObserver,
    loaded: ArcSwapOption<Loaded>,
    /// Held while a set is taken, so that of two who bring the same set one brings news.
    taking: Mutex<()>,
    /// Keys came into force that no attempt brought: the next one tells of them.
    untold: AtomicBool,
    one_at_a_time: tokio::sync::Mutex<()>,
    progress: watch::Sender<Progress>,
}

/// The set in force.
pub(super) struct Loaded {
    pub(super) keys: Arc<KeySet>,
    digest: [u8; 32],
    at: Instant,
}

/// How far fetching has come.
#[derive(Debug, Clone, Default)]
struct Progress {
    started: u64,
    finished: u64,
    /// What went wrong in the last attempt that is finished.
    error: Option<Arc<str>>,
}

/// What a good attempt brought.
struct Refreshed {
    /// The keys are others than those that were told of.
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
            loaded: ArcSwapOption::empty(),
            taking: Mutex::default(),
            untold: AtomicBool::new(false),
            one_at_a_time: tokio::sync::Mutex::default(),
            progress: watch::Sender::new(Progress::default()),
        }
    }

    /// The set in force, unless there is none or it is too old.
    pub(super) fn in_force(&self) -> Result<Arc<Loaded>, KeysUnavailable> {
        let Some(loaded) = self.loaded.load_full() else {
            return Err(self.unavailable("waiting for"));
        };
        match loaded.at.elapsed() > self.timing.keep {
            true => Err(self.unavailable("for too long there was no refresh of")),
            false => Ok(loaded),
        }
    }

    fn unavailable(&self, what: &str) -> KeysUnavailable {
        let source = self.source.describe();
        KeysUnavailable(match self.last_error() {
            Some(error) => format!("{what} {source}: {error}"),
            None => format!("{what} {source}"),
        })
    }

    /// What went wrong in the last attempt; nothing if it was good.
    pub(super) fn last_error(&self) -> Option<Arc<str>> {
        self.progress.borrow().error.clone()
    }

    /// Takes a set into force that was read elsewhere.
    pub(super) fn preload(&self, json: &[u8]) -> Result<(), KeySetError> {
        let changed = self.take(json)?;
        self.untold.fetch_or(changed, Ordering::Relaxed);
        Ok(())
    }

    /// Takes a set into force. True if it is another one than before.
    fn take(&self, json: &[u8]) -> Result<bool, KeySetError> {
        let _taking = self.taking.lock().unwrap_or_else(PoisonError::into_inner);
        let (digest, at) = (Sha256::digest(json).into(), Instant::now());
        let before = self.loaded.load_full().filter(|before| before.digest == digest);
        let changed = before.is_none();
        let keys = match before {
            Some(before) => Arc::clone(&before.keys),
            None => Arc::new(KeySet::parse(json, &self.algorithms)?),
        };
        self.loaded.store(Some(Arc::new(Loaded { keys, digest, at })));
        Ok(changed)
    }

    /// Fetches in a task of its own: whoever asked may go away, and others wait for the same.
    pub(super) fn spawn_attempt(self: &Arc<Self>) {
        let attempt = Arc::clone(self).attempt();
        tokio::spawn(attempt);
    }

    /// Waits for every attempt that has started by now.
    pub(super) async fn attempts_in_flight(&self) {
        let mut progress = self.progress.subscribe();
        let started = progress.borrow_and_update().started;
        // The sender lives as long as `self`: this ends with the attempts, or with the caller.
        let _ = progress.wait_for(|now| now.finished >= started).await;
    }

    /// One attempt. It counts as started at once, before the future is polled. The set in force
    /// changes only if it succeeds.
    fn attempt(self: Arc<Self>) -> impl Future<Output = Result<Option<Duration>, ()>> + Send {
        self.progress.send_modify(|progress| progress.started += 1);
        let mut finish =
            Finish { refresher: self, error: Some(Arc::from("the attempt broke off")) };
        async move {
            let refresher = Arc::clone(&finish.refresher);
            let _one = refresher.one_at_a_time.lock().await;
            let result =
                refresher.fetch().await.map_err(|error| Arc::<str>::from(error.to_string()));
            refresher.tell(&result);
            finish.with(result.as_ref().err().cloned());
            result.map(|refreshed| refreshed.max_age).map_err(drop)
        }
    }

    async fn fetch(&self) -> Result<Refreshed, BoxSourceError> {
        let fetched = self.source.fetch().await?;
        let changed = self
            .take(&fetched.body)
            .map_err(|error| format!("{} is not usable: {error}", self.source.describe()))?;
        let untold = self.untold.swap(false, Ordering::Relaxed);
        Ok(Refreshed { changed: changed || untold, max_age: fetched.max_age })
    }

    fn tell(&self, result: &Result<Refreshed, Arc<str>>) {
        let source = self.source.describe();
        let is_news = match result {
            Ok(refreshed) => refreshed.changed || self.source.fixed_period().is_none(),
            Err(error) => {
                self.last_error().as_deref() != Some(error) || self.source.fixed_period().is_none()
            }
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

/// Counts an attempt as finished however it ends, so that nobody waits for ever.
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

/// Fetches at once, and again before the keys go stale. What clients ask for has no influence on
/// this schedule: a storm of made-up key ids cannot keep a rotation from being noticed.
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
