//! The keys in force: refreshed before they go stale, kept when a refresh fails, and never fetched
//! faster than a cool-down allows, whatever key ids clients make up.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use callgate::authn::Decline;
use quick_cache::sync::Cache;
use tokio::{task::AbortHandle, time::Instant};

use super::{
    JsonWebKey, KeySetError, NoKey, Timing,
    refresher::{Refresher, keep_fresh},
    set::printable,
    source::KeySource,
};
use crate::jws::{Algorithm, claims::bad};

/// How many unknown key ids are remembered.
const REMEMBERED_IDS: usize = 1024;

/// Is told of each refresh, `true` if it brought keys.
pub type RefreshObserver = Arc<dyn Fn(bool) + Send + Sync>;

/// There are no keys to judge by: not yet, or not any more. Says what was tried and what went
/// wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct KeysUnavailable(pub String);

/// Why there is no key for a token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// Nobody can tell now.
    #[error(transparent)]
    Unavailable(#[from] KeysUnavailable),
    /// The issuer has no such key.
    #[error("the issuer has no key `{0}`")]
    Unknown(String),
    /// The issuer has no key for tokens without a key id.
    #[error("the token names no key (`kid`), and the issuer has none for {0}")]
    NoneFits(Algorithm),
    /// The key is for other algorithms.
    #[error("the issuer's key `{0}` is not for {1}")]
    WrongAlgorithm(String, Algorithm),
    /// Trying all of them would let the token choose.
    #[error("the token names no key (`kid`), and the issuer has several for {0}")]
    Ambiguous(Algorithm),
}

/// Where nobody can tell the token is not called bad.
impl From<LookupError> for Decline {
    fn from(error: LookupError) -> Self {
        match error {
            LookupError::Unavailable(error) => Self::Unavailable(error.into()),
            LookupError::Unknown(_)
            | LookupError::NoneFits(_)
            | LookupError::WrongAlgorithm(..)
            | LookupError::Ambiguous(_) => bad(error.to_string()).into(),
        }
    }
}

/// The keys of one issuer.
pub struct KeyStore {
    pub(super) refresher: Arc<Refresher>,
    next_question: Mutex<Option<Instant>>,
    unknown: Cache<Box<str>, Instant>,
    background: Option<AbortHandle>,
}

impl KeyStore {
    /// A store for the keys of `source` that may be used with `algorithms`. With `background` it
    /// fetches them at once and again before they go stale, on the runtime of the caller; without,
    /// when somebody asks.
    pub fn new(
        source: Arc<dyn KeySource>,
        algorithms: &[Algorithm],
        timing: Timing,
        observer: RefreshObserver,
        background: bool,
    ) -> Self {
        let refresher = Arc::new(Refresher::new(source, algorithms, timing, observer));
        let runtime = tokio::runtime::Handle::try_current().ok().filter(|_| background);
        let background =
            runtime.map(|runtime| runtime.spawn(keep_fresh(Arc::clone(&refresher))).abort_handle());
        let unknown = Cache::new(REMEMBERED_IDS);
        Self { refresher, next_question: Mutex::default(), unknown, background }
    }

    /// Takes keys that were read already, so that they are there from the start.
    ///
    /// # Errors
    /// If the text is no usable key set.
    pub fn preload(&self, json: &[u8]) -> Result<(), KeySetError> {
        self.refresher.preload(json)
    }

    /// Why keys of the set in force were left out, one line each.
    pub fn remarks(&self) -> Vec<String> {
        self.refresher.in_force().map(|loaded| loaded.keys.remarks().to_vec()).unwrap_or_default()
    }

    /// The algorithms that its keys may be used with.
    pub fn algorithms(&self) -> &[Algorithm] {
        &self.refresher.algorithms
    }

    /// The key for a token of this header. Asks the source if it has none that fits and the
    /// cool-down is over; all who wait share that one question.
    ///
    /// # Errors
    /// If there is no such key, or nobody can tell.
    pub async fn find(
        &self,
        id: Option<&str>,
        algorithm: Algorithm,
    ) -> Result<Arc<JsonWebKey>, LookupError> {
        let first = self.look_up(id, algorithm);
        if first.is_ok() || id.is_some_and(|id| self.is_known_to_be_unknown(id)) {
            return first;
        }
        // Somebody else's question, or the schedule's, may bring it.
        self.refresher.attempts_in_flight().await;
        let second = self.look_up(id, algorithm);
        if second.is_ok() {
            return second;
        }
        let cool_again = self.ask();
        // Whoever was just too late to ask waits for the one who did.
        self.refresher.attempts_in_flight().await;
        let last = self.judge_miss(id, self.look_up(id, algorithm));
        // No longer than nobody may ask again: an id that was tried before it was published would
        // otherwise stay refused, and anybody can try an id.
        if let (Some(until), Err(LookupError::Unknown(_)), Some(id)) = (cool_again, &last, id) {
            self.unknown.insert(id.into(), until);
        }
        last
    }

    /// The key for a token of this header after `tried` turned out not to be the one that signed it:
    /// the issuer may have put another one in its place, under the same id or without one. Nothing
    /// if it has not. Asks the source as [`KeyStore::find`] does, with the same one question: made-up
    /// signatures cause no more fetches than made-up ids, and once it is answered nobody waits until
    /// the cool-down is over.
    ///
    /// # Errors
    /// If in a newer set no key fits, or the set is too old.
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
        self.ask();
        self.refresher.attempts_in_flight().await;
        let found = self.look_up(id, algorithm)?;
        Ok((!found.is_same(tried)).then_some(found))
    }

    /// Whether this very key still counts: it is in the set in force.
    ///
    /// # Errors
    /// If the set is too old, or there is none.
    pub fn still_has(&self, key: &Arc<JsonWebKey>) -> Result<bool, KeysUnavailable> {
        Ok(self.refresher.in_force()?.keys.contains(key))
    }

    /// Whether there are keys to judge by.
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
        let shown = || printable(id.unwrap_or_default());
        loaded.keys.find(id, algorithm).cloned().map_err(|missing| match (missing, id) {
            (NoKey::Unknown, Some(_)) => LookupError::Unknown(shown()),
            (NoKey::Unknown, None) => LookupError::NoneFits(algorithm),
            (NoKey::WrongAlgorithm, _) => LookupError::WrongAlgorithm(shown(), algorithm),
            (NoKey::Ambiguous, _) => LookupError::Ambiguous(algorithm),
        })
    }

    /// A key that is not there is the token's fault only if the source answered when it was last
    /// asked.
    fn judge_miss(
        &self,
        id: Option<&str>,
        found: Result<Arc<JsonWebKey>, LookupError>,
    ) -> Result<Arc<JsonWebKey>, LookupError> {
        let (Err(LookupError::Unknown(_) | LookupError::NoneFits(_)), Some(error)) =
            (&found, self.refresher.last_error())
        else {
            return found;
        };
        let id = printable(id.unwrap_or("without id"));
        let text = format!("whether the issuer has a key `{id}` is not known: {error}");
        Err(KeysUnavailable(text).into())
    }

    fn is_known_to_be_unknown(&self, id: &str) -> bool {
        self.unknown.get(id).is_some_and(|until| Instant::now() < until)
    }

    /// Asks the source, if this cool-down's one question is still free; tells when the next will be. It is taken before anything
    /// is fetched and whatever comes of it, so that neither many at once nor a failing source get
    /// more; and the attempt has started before anybody can see that it is taken, so that nobody
    /// finds neither a free question nor an attempt to wait for.
    fn ask(&self) -> Option<Instant> {
        let now = Instant::now();
        let mut next = self.next_question.lock().unwrap_or_else(PoisonError::into_inner);
        if next.is_some_and(|next| now < next) {
            return None;
        }
        let free_again = now + self.refresher.timing.cool_down;
        *next = Some(free_again);
        self.refresher.spawn_attempt();
        Some(free_again)
    }
}

impl Drop for KeyStore {
    fn drop(&mut self) {
        if let Some(task) = &self.background {
            task.abort();
        }
    }
}

impl fmt::Debug for KeyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyStore({})", self.refresher.source.describe())
    }
}
