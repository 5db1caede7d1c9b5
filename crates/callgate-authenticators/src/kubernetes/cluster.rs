//! One cluster: its API server, and its service accounts kept up to date in the background. It
//! outlives a reload that leaves its settings as they are.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use kube::core::PartialObjectMeta;
use tokio::{task::AbortHandle, time::Instant};

use super::{
    accounts::{Account, Accounts, Read},
    api::{ApiError, ApiServer},
    token::ServiceAccountClaims,
    watch,
};
use crate::kind::Observer;

/// Which accounts are watched, and who is told.
#[derive(Debug)]
pub(super) struct WatchSettings {
    /// The authenticator's name.
    pub(super) name: Arc<str>,
    /// Only these namespaces; all of them if there is none.
    pub(super) namespaces: Vec<String>,
    pub(super) selector: Option<String>,
    pub(super) prefix: String,
    pub(super) observer: Arc<dyn Observer>,
    /// Whether to watch; without it, accounts are looked up when they are asked for.
    pub(super) background: bool,
}

/// A cluster.
#[derive(Debug)]
pub(super) struct Cluster {
    inner: Arc<Inner>,
    tasks: Vec<AbortHandle>,
    background: bool,
}

/// What the tasks of a cluster share.
#[derive(Debug)]
pub(super) struct Inner {
    pub(super) api: Arc<ApiServer>,
    pub(super) accounts: Accounts,
    pub(super) selector: Option<String>,
    name: Arc<str>,
    prefix: String,
    observer: Arc<dyn Observer>,
    scopes: Vec<Arc<Scope>>,
}

/// A namespace that is watched, or all of them.
#[derive(Debug)]
pub(super) struct Scope {
    pub(super) namespace: Option<String>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    listed: bool,
    heard: Instant,
    lost: Option<ApiError>,
    told: Option<Instant>,
}

/// A lost watch is told of again after this time.
const TOLD_EVERY: Duration = Duration::from_secs(60);

impl Scope {
    pub(super) fn of(namespace: Option<String>) -> Self {
        let state = State { listed: false, heard: Instant::now(), lost: None, told: None };
        Self { namespace, state: Mutex::new(state) }
    }

    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.namespace.as_deref().unwrap_or("all namespaces"))
    }
}

impl Cluster {
    /// Starts watching, if there is a runtime and the settings want it.
    pub(super) fn start(api: Arc<ApiServer>, settings: WatchSettings) -> Self {
        let WatchSettings { name, namespaces, selector, prefix, observer, background } = settings;
        let scopes: Vec<_> = match namespaces.is_empty() {
            true => vec![Arc::new(Scope::of(None))],
            false => namespaces.into_iter().map(|one| Arc::new(Scope::of(Some(one)))).collect(),
        };
        let inner =
            Inner { api, accounts: Accounts::default(), selector, name, prefix, observer, scopes };
        let inner = Arc::new(inner);
        let runtime = tokio::runtime::Handle::try_current().ok().filter(|_| background);
        let spawn = |runtime: &tokio::runtime::Handle, scope: &Arc<Scope>| {
            runtime.spawn(watch::keep(Arc::clone(&inner), Arc::clone(scope))).abort_handle()
        };
        let tasks: Vec<_> = runtime
            .iter()
            .flat_map(|runtime| inner.scopes.iter().map(|scope| spawn(runtime, scope)))
            .collect();
        Self { background: !tasks.is_empty(), tasks, inner }
    }

    /// The account that a token names, if it exists; `key` is its `namespace/name`.
    ///
    /// # Errors
    /// If nobody can tell: not everything is listed yet, or the API server is not reached.
    pub(super) async fn account(
        &self,
        key: &str,
        ServiceAccountClaims { namespace, name, .. }: &ServiceAccountClaims<'_>,
    ) -> Result<Option<Arc<Account>>, Unsynced> {
        if self.background {
            let found = self.inner.accounts.find(key);
            return if found.is_some() { Ok(found) } else { self.check().map(|()| None) };
        }
        let scope =
            self.inner.scopes.iter().find(|scope| {
                scope.namespace.as_deref().is_none_or(|watched| watched == *namespace)
            });
        let Some(scope) = scope else { return Ok(None) };
        let found = watch::look_up(&self.inner, scope, namespace, name).await;
        found.map(|found| found.map(Arc::new)).map_err(|error| Unsynced(error.to_string()))
    }

    /// Whether everything was listed once.
    ///
    /// # Errors
    /// Says what is missing, and why.
    pub(super) fn check(&self) -> Result<(), Unsynced> {
        let missing = self.inner.scopes.iter().find(|scope| !scope.with(|state| state.listed));
        let Some(scope) = missing.filter(|_| self.background) else { return Ok(()) };
        let why = scope.with(|state| state.lost.as_ref().map(|error| format!(": {error}")));
        let why = why.unwrap_or_default();
        Err(Unsynced(format!("waiting for the first list of service accounts of {scope}{why}")))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

/// The service accounts are not known yet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Unsynced(String);

impl Inner {
    /// Takes of an account what is needed, and tells what is wrong with it.
    pub(super) fn read<K>(&self, object: PartialObjectMeta<K>) -> Option<(Box<str>, Account)> {
        let Read { key, account, malformed, remark } = Read::of(object, &self.prefix)?;
        if let Some(remark) = remark {
            self.observer.annotations_malformed(&self.name, malformed.max(1));
            tracing::warn!(
                authenticator = &*self.name,
                service_account = &*key,
                malformed,
                remark,
                "annotations of a service account count for nothing, as far as they are malformed"
            );
        }
        Some((key, account))
    }

    /// A whole list is in force.
    pub(super) fn listed(&self, scope: &Scope, accounts: HashMap<Box<str>, Arc<Account>>) {
        let count = accounts.len();
        self.accounts.replace(scope.namespace.as_deref(), accounts);
        let first = scope.with(|state| !std::mem::replace(&mut state.listed, true));
        if first {
            tracing::info!(authenticator = &*self.name, scope = %scope, count, "service accounts are known");
        }
        self.heard(scope);
    }

    /// The API server spoke: what is known is current.
    pub(super) fn heard(&self, scope: &Scope) {
        let (was_lost, silent) = scope.with(|state| {
            let silent = state.heard.elapsed();
            (state.heard, state.told) = (Instant::now(), None);
            (state.lost.take().is_some(), silent)
        });
        if was_lost {
            let seconds = silent.as_secs();
            tracing::info!(authenticator = &*self.name, scope = %scope, after_seconds = seconds, "the watch of service accounts is back");
        }
        self.tell();
    }

    /// The watch is lost, or cannot be opened. What is known stays in force.
    pub(super) fn lost(&self, scope: &Scope, error: &ApiError) {
        let (age, listed, news) = scope.with(|state| {
            let news = state.lost.as_ref() != Some(error)
                || state.told.is_none_or(|told| told.elapsed() >= TOLD_EVERY);
            state.lost = Some(error.clone());
            if news {
                state.told = Some(Instant::now());
            }
            (state.heard.elapsed(), state.listed, news)
        });
        self.tell();
        if !news {
            return;
        }
        let (authenticator, seconds) = (&*self.name, age.as_secs());
        match listed {
            true => tracing::warn!(
                authenticator,
                scope = %scope,
                age_seconds = seconds,
                %error,
                "the watch of service accounts is lost; serving from what was known last"
            ),
            false => {
                tracing::warn!(authenticator, scope = %scope, %error, "service accounts are not known yet")
            }
        }
    }

    /// Tells the numbers: how many accounts, and for how long the oldest lost watch has been lost.
    fn tell(&self) {
        let lost = self.scopes.iter().filter_map(|scope| {
            scope.with(|state| state.lost.is_some().then(|| state.heard.elapsed()))
        });
        self.observer.service_accounts(&self.name, self.accounts.count(), lost.max());
    }
}
