//! One cluster: its API server, and its service accounts, kept up to date in the background.

use std::{
    collections::HashMap,
    fmt, mem,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use kube::core::PartialObjectMeta;
use tokio::time::Instant;

use super::{
    accounts::{Account, Accounts, ReadAccount},
    api::{ApiError, ApiServer},
    token::ServiceAccountClaims,
    watch,
};
use crate::{kind::Observer, network::BackgroundTasks};

/// Which accounts to watch, and where to report.
#[derive(Debug)]
pub(super) struct WatchSettings {
    /// The authenticator's name.
    pub(super) name: Arc<str>,
    /// Only these namespaces; if empty, all of them.
    pub(super) namespaces: Vec<String>,
    pub(super) selector: Option<String>,
    pub(super) prefix: String,
    pub(super) observer: Arc<dyn Observer>,
    /// Whether to watch; otherwise accounts are looked up on demand.
    pub(super) background: bool,
}

/// A cluster.
#[derive(Debug)]
pub(super) struct Cluster {
    state: Arc<ClusterState>,
    watches: BackgroundTasks,
}

/// What the watches of a cluster share.
#[derive(Debug)]
pub(super) struct ClusterState {
    pub(super) api: Arc<ApiServer>,
    pub(super) accounts: Accounts,
    pub(super) selector: Option<String>,
    name: Arc<str>,
    prefix: String,
    observer: Arc<dyn Observer>,
    scopes: Vec<Arc<Scope>>,
}

/// A namespace to watch, or all of them.
#[derive(Debug)]
pub(super) struct Scope {
    pub(super) namespace: Option<String>,
    state: Mutex<ScopeState>,
}

#[derive(Debug)]
struct ScopeState {
    /// Whether the accounts have been listed once.
    listed: bool,
    /// When the API server last answered.
    current_at: Instant,
    /// Why the watch is lost.
    lost: Option<ApiError>,
    /// When the loss was last logged.
    logged: Option<Instant>,
}

/// A lost watch is logged again after this time.
const LOG_PERIOD: Duration = Duration::from_secs(60);

impl Scope {
    pub(super) fn new(namespace: Option<String>) -> Self {
        let state =
            ScopeState { listed: false, current_at: Instant::now(), lost: None, logged: None };
        Self { namespace, state: Mutex::new(state) }
    }

    fn with<T>(&self, change: impl FnOnce(&mut ScopeState) -> T) -> T {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.namespace.as_deref().unwrap_or("all namespaces"))
    }
}

impl Cluster {
    /// Starts to watch, unless the settings or the lack of a runtime forbid it.
    pub(super) fn start(api: Arc<ApiServer>, settings: WatchSettings) -> Self {
        let WatchSettings { name, namespaces, selector, prefix, observer, background } = settings;
        let scopes: Vec<_> = match namespaces.is_empty() {
            true => vec![Arc::new(Scope::new(None))],
            false => namespaces.into_iter().map(|one| Arc::new(Scope::new(Some(one)))).collect(),
        };
        let accounts = Accounts::default();
        let state =
            Arc::new(ClusterState { api, accounts, selector, name, prefix, observer, scopes });
        let watches = state
            .scopes
            .iter()
            .map(|scope| watch::keep_current(Arc::clone(&state), Arc::clone(scope)));
        let watches = BackgroundTasks::spawn(background, watches);
        Self { watches, state }
    }

    /// The account with this key (`namespace/name`), which a token names.
    ///
    /// # Errors
    /// If its existence cannot be decided: not all accounts are listed yet, or the API server cannot
    /// be reached.
    pub(super) async fn account(
        &self,
        key: &str,
        ServiceAccountClaims { namespace, name, .. }: &ServiceAccountClaims<'_>,
    ) -> Result<Option<Arc<Account>>, NotSynced> {
        if self.watches.are_running() {
            let found = self.state.accounts.find(key);
            return if found.is_some() { Ok(found) } else { self.check().map(|()| None) };
        }
        let is_watched = |scope: &&Arc<Scope>| {
            scope.namespace.as_deref().is_none_or(|watched| watched == *namespace)
        };
        let Some(scope) = self.state.scopes.iter().find(is_watched) else { return Ok(None) };
        let found = watch::look_up(&self.state, scope, namespace, name).await;
        found.map(|found| found.map(Arc::new)).map_err(|error| NotSynced(error.to_string()))
    }

    /// The accounts that the watches know.
    pub(super) fn accounts(&self) -> &Accounts {
        &self.state.accounts
    }

    /// Whether all accounts have been listed once.
    ///
    /// # Errors
    /// What is missing, and why.
    pub(super) fn check(&self) -> Result<(), NotSynced> {
        let missing = self.state.scopes.iter().find(|scope| !scope.with(|state| state.listed));
        let Some(scope) = missing.filter(|_| self.watches.are_running()) else { return Ok(()) };
        let why = scope.with(|state| state.lost.as_ref().map(|error| format!(": {error}")));
        let why = why.unwrap_or_default();
        Err(NotSynced(format!("waiting for the first list of service accounts in {scope}{why}")))
    }
}

/// The service accounts are not known yet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct NotSynced(String);

impl ClusterState {
    /// Reads an account and reports its malformed annotations.
    pub(super) fn read<K>(&self, object: PartialObjectMeta<K>) -> Option<(Box<str>, Account)> {
        let ReadAccount { key, account, malformed, remark, topic_filter } =
            ReadAccount::new(object, &self.prefix)?;
        if let Some(remark) = topic_filter {
            tracing::warn!(
                authenticator = &*self.name,
                service_account = &*key,
                remark,
                "an annotation of a service account is an MQTT topic filter"
            );
        }
        if let Some(remark) = remark {
            self.observer.annotations_malformed(&self.name, malformed.max(1));
            tracing::warn!(
                authenticator = &*self.name,
                service_account = &*key,
                malformed,
                remark,
                "malformed annotations of a service account are ignored"
            );
        }
        Some((key, account))
    }

    /// Puts a complete list in force.
    pub(super) fn listed(&self, scope: &Scope, accounts: HashMap<Box<str>, Arc<Account>>) {
        let count = accounts.len();
        self.accounts.replace(scope.namespace.as_deref(), accounts);
        let is_first = scope.with(|state| !mem::replace(&mut state.listed, true));
        if is_first {
            tracing::info!(authenticator = &*self.name, scope = %scope, count, "service accounts are known");
        }
        self.is_current(scope);
    }

    /// The API server answered: the known accounts are current.
    pub(super) fn is_current(&self, scope: &Scope) {
        let (was_lost, age) = scope.with(|state| {
            let age = state.current_at.elapsed();
            state.current_at = Instant::now();
            state.logged = None;
            (state.lost.take().is_some(), age)
        });
        if was_lost {
            let after_seconds = age.as_secs();
            tracing::info!(authenticator = &*self.name, scope = %scope, after_seconds, "the watch of service accounts is back");
        }
        self.report();
    }

    /// The watch is lost, or cannot be opened. The known accounts stay in force.
    pub(super) fn lost(&self, scope: &Scope, error: &ApiError) {
        let (age, listed, is_news) = scope.with(|state| {
            let is_news = state.lost.as_ref() != Some(error)
                || state.logged.is_none_or(|logged| logged.elapsed() >= LOG_PERIOD);
            state.lost = Some(error.clone());
            if is_news {
                state.logged = Some(Instant::now());
            }
            (state.current_at.elapsed(), state.listed, is_news)
        });
        self.report();
        if !is_news {
            return;
        }
        let authenticator = &*self.name;
        match listed {
            true => tracing::warn!(
                authenticator,
                scope = %scope,
                age_seconds = age.as_secs(),
                %error,
                "the watch of service accounts is lost; the last known accounts stay in force"
            ),
            false => {
                tracing::warn!(authenticator, scope = %scope, %error, "service accounts are not known yet")
            }
        }
    }

    /// Reports the number of accounts, and for how long the oldest lost watch has been lost.
    fn report(&self) {
        let lost = self.scopes.iter().filter_map(|scope| {
            scope.with(|state| state.lost.is_some().then(|| state.current_at.elapsed()))
        });
        self.observer.service_accounts(&self.name, self.accounts.count(), lost.max());
    }
}
