//! The keys in force: refreshed before they become stale, kept when a refresh fails, and never fetched
//! more often than the cool-down allows, whatever key ids clients make up.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use callgate::authn::Decline;
use futures_util::future::BoxFuture;
use tokio::{sync::watch, time::Instant};

use super::{
    JsonWebKey, KeySetError, NoKey, Timing,
    refresher::{Refresher, keep_fresh},
    set::MAX_SHOWN_ID,
    source::KeySource,
};
use callgate::sanitize::excerpt_up_to;

use crate::{
    jws::{Algorithm, claims::bad_signature},
    network::{AnswerCache, BackgroundTasks},
    state_dir::StateFile,
};

/// Maximum number of unknown key ids to remember.
const MAX_UNKNOWN_IDS: usize = 1024;

/// Called after each refresh, with `true` if it succeeded.
pub type RefreshObserver = Arc<dyn Fn(bool) + Send + Sync>;

/// There are no valid keys, for the reason in the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct KeysUnavailable(pub String);

/// Why there is no key for a token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// It cannot be decided now.
    #[error(transparent)]
    Unavailable(#[from] KeysUnavailable),
    /// The issuer has no such key.
    #[error("the issuer has no key `{0}`")]
    Unknown(String),
    /// The issuer has no key for tokens without a key id.
    #[error("the token names no key (`kid`), and the issuer has none for {0}")]
    NoMatch(Algorithm),
    /// The key is for other algorithms.
    #[error("the issuer's key `{0}` is not for {1}")]
    WrongAlgorithm(String, Algorithm),
    /// Trying all of them would leave the choice to the token.
    #[error("the token names no key (`kid`), and the issuer has several for {0}")]
    Ambiguous(Algorithm),
}

/// A token is rejected only if the keys are known.
impl From<LookupError> for Decline {
    fn from(error: LookupError) -> Self {
        match error {
            LookupError::Unavailable(error) => Self::Unavailable(error.into()),
            LookupError::Unknown(_)
            | LookupError::NoMatch(_)
            | LookupError::WrongAlgorithm(..)
            | LookupError::Ambiguous(_) => bad_signature(error.to_string()).into(),
        }
    }
}

/// The keys of one issuer.
pub struct KeyStore {
    pub(super) refresher: Arc<Refresher>,
    /// When tokens may cause the next fetch.
    next_fetch: Mutex<Option<Instant>>,
    unknown_ids: AnswerCache<Box<str>, ()>,
    _background: BackgroundTasks,
}

impl KeyStore {
    /// Creates a store for the keys of `source` that may be used with `algorithms`. With `background`,
    /// it fetches them now and again before they become stale, on the caller's runtime; otherwise only
    /// on demand.
    pub fn new(
        source: Arc<dyn KeySource>,
        algorithms: &[Algorithm],
        timing: Timing,
        observer: RefreshObserver,
        background: bool,
    ) -> Self {
        Self::kept_in(None, source, algorithms, timing, observer, background)
    }

    /// The same; [`KeyStore::restore`] puts the keys in force that are in this file. With `background`,
    /// fetched keys are saved there.
    pub(crate) fn kept_in(
        saved: Option<StateFile>,
        source: Arc<dyn KeySource>,
        algorithms: &[Algorithm],
        timing: Timing,
        observer: RefreshObserver,
        background: bool,
    ) -> Self {
        let refresher = Refresher::new(source, algorithms, timing, observer);
        let saves = background && saved.as_ref().is_some_and(StateFile::is_writable);
        let refresher = Arc::new(refresher.kept_in(saved, saves));
        let background = BackgroundTasks::spawn(background, [keep_fresh(Arc::clone(&refresher))]);
        Self {
            refresher,
            next_fetch: Mutex::default(),
            unknown_ids: AnswerCache::new(MAX_UNKNOWN_IDS),
            _background: background,
        }
    }

    /// Puts keys in force that an earlier process saved, unless there are keys already.
    pub(crate) fn restore(&self) {
        if self.refresher.is_empty() {
            self.refresher.restore();
        }
    }

    /// Says how old the keys are, if an earlier process fetched them.
    pub(crate) fn age_remark(&self) -> Option<String> {
        let age = self.refresher.restored_age()?.as_secs();
        let source = self.refresher.source.describe();
        let error = self.refresher.last_error();
        let error = error.map(|error| format!(" ({error})")).unwrap_or_default();
        Some(format!(
            "{source} were fetched {} h {} min ago by an earlier process and not since then{error}",
            age / 3600,
            age / 60 % 60
        ))
    }

    /// Puts keys in force that were read elsewhere, so that they are there from the start.
    ///
    /// # Errors
    /// If the text is not a usable key set.
    pub fn preload(&self, json: &[u8]) -> Result<(), KeySetError> {
        self.refresher.preload(json)
    }

    /// Why keys of the set in force were left out, one line for each.
    pub fn remarks(&self) -> Vec<String> {
        self.refresher.in_force().map(|loaded| loaded.keys.remarks().to_vec()).unwrap_or_default()
    }

    /// The algorithms that the keys may be used with.
    pub fn algorithms(&self) -> &[Algorithm] {
        &self.refresher.algorithms
    }

    /// The key for a token with this header. If there is none, fetches the set again unless the
    /// cool-down forbids it; all waiting callers share one fetch.
    ///
    /// # Errors
    /// If there is no such key, or it cannot be decided now.
    pub async fn find(
        &self,
        id: Option<&str>,
        algorithm: Algorithm,
    ) -> Result<Arc<JsonWebKey>, LookupError> {
        if !self.refresher.saves && self.refresher.restored_age().is_some() {
            // Beside the service, saved keys are used only if there are no newer ones.
            self.request_fetch();
            self.refresher.attempts_in_flight().await;
        }
        let first = self.look_up(id, algorithm);
        if first.is_ok() || id.is_some_and(|id| self.unknown_ids.get(id).is_some()) {
            return first;
        }
        // A fetch that is already running may bring the key.
        self.refresher.attempts_in_flight().await;
        let second = self.look_up(id, algorithm);
        if second.is_ok() {
            return second;
        }
        let next_fetch = self.request_fetch();
        // Callers that came too late to start a fetch wait for the one that did.
        self.refresher.attempts_in_flight().await;
        let last = self.judge_miss(id, self.look_up(id, algorithm));
        // Not longer than until the next fetch: otherwise anyone could keep a new id refused by
        // sending it before it is published.
        if let (Some(until), Err(LookupError::Unknown(_)), Some(id)) = (next_fetch, &last, id) {
            self.unknown_ids.insert(id.into(), (), until);
        }
        last
    }

    /// The key that replaced `tried`, under the same id or without one, after a signature turned out
    /// not to be by `tried`. `None` if it was not replaced. Fetches the set as [`KeyStore::find`]
    /// does, within the same cool-down: made-up signatures cause no more fetches than made-up ids.
    ///
    /// # Errors
    /// If the current set has no key for the token, or is too old.
    pub async fn find_successor(
        &self,
        tried: &Arc<JsonWebKey>,
        id: Option<&str>,
        algorithm: Algorithm,
    ) -> Result<Option<Arc<JsonWebKey>>, LookupError> {
        self.refresher.attempts_in_flight().await;
        let found = self.look_up(id, algorithm)?;
        if !found.is_same(tried) {
            return Ok(Some(found));
        }
        self.request_fetch();
        self.refresher.attempts_in_flight().await;
        let found = self.look_up(id, algorithm)?;
        Ok((!found.is_same(tried)).then_some(found))
    }

    /// Whether the set in force has this key.
    ///
    /// # Errors
    /// If there is no set, or it is too old.
    pub fn still_has(&self, key: &Arc<JsonWebKey>) -> Result<bool, KeysUnavailable> {
        Ok(self.refresher.in_force()?.keys.contains(key))
    }

    /// Whether the set in force has a key of this name ([`JsonWebKey::name`]).
    ///
    /// # Errors
    /// If there is no set, or it is too old.
    pub(crate) fn has_named(&self, name: &str) -> Result<bool, KeysUnavailable> {
        Ok(self.refresher.in_force()?.keys.has_named(name))
    }

    /// Fetches the keys now, and returns how many can be used; `None` if they are in a file.
    pub(crate) fn probe(&self) -> Option<BoxFuture<'_, Result<usize, KeysUnavailable>>> {
        if self.refresher.source.fixed_period().is_some() {
            return None;
        }
        Some(Box::pin(async {
            self.request_fetch();
            self.refresher.attempts_in_flight().await;
            match self.refresher.last_error() {
                Some(_) => Err(self.refresher.unavailable("cannot fetch")),
                None => Ok(self.refresher.in_force()?.keys.len()),
            }
        }))
    }

    /// Changes after each change of the keys.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.refresher.changes.subscribe()
    }

    /// Whether there are valid keys.
    ///
    /// # Errors
    /// If there are none yet, or they are too old.
    pub fn check(&self) -> Result<(), KeysUnavailable> {
        self.refresher.in_force().map(drop)
    }

    fn look_up(
        &self,
        id: Option<&str>,
        algorithm: Algorithm,
    ) -> Result<Arc<JsonWebKey>, LookupError> {
        let loaded = self.refresher.in_force()?;
        let shown_id = || excerpt_up_to(id.unwrap_or_default(), MAX_SHOWN_ID);
        loaded.keys.find(id, algorithm).cloned().map_err(|missing| match (missing, id) {
            (NoKey::Unknown, Some(_)) => LookupError::Unknown(shown_id()),
            (NoKey::Unknown, None) => LookupError::NoMatch(algorithm),
            (NoKey::WrongAlgorithm, _) => LookupError::WrongAlgorithm(shown_id(), algorithm),
            (NoKey::Ambiguous, _) => LookupError::Ambiguous(algorithm),
        })
    }

    /// A missing key speaks against the token only if the last fetch succeeded.
    fn judge_miss(
        &self,
        id: Option<&str>,
        found: Result<Arc<JsonWebKey>, LookupError>,
    ) -> Result<Arc<JsonWebKey>, LookupError> {
        let (Err(LookupError::Unknown(_) | LookupError::NoMatch(_)), Some(error)) =
            (&found, self.refresher.last_error())
        else {
            return found;
        };
        let id = excerpt_up_to(id.unwrap_or("without id"), MAX_SHOWN_ID);
        let text = format!("cannot tell whether the issuer has a key `{id}`: {error}");
        Err(KeysUnavailable(text).into())
    }

    /// Starts a fetch unless the cool-down forbids it; returns when the next one is allowed.
    ///
    /// The slot is taken before the fetch starts and whatever its result, so that neither many callers
    /// nor a failing source cause more fetches. The lock is held until the attempt counts as started,
    /// so that no caller finds both the slot taken and no attempt to wait for.
    fn request_fetch(&self) -> Option<Instant> {
        let now = Instant::now();
        let mut next = self.next_fetch.lock().unwrap_or_else(PoisonError::into_inner);
        if next.is_some_and(|next| now < next) {
            return None;
        }
        let allowed_again = now + self.refresher.timing.cool_down;
        *next = Some(allowed_again);
        self.refresher.spawn_attempt();
        Some(allowed_again)
    }
}

impl fmt::Debug for KeyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyStore({})", self.refresher.source.describe())
    }
}
