//! Lists service accounts and then watches them forever: resumes after a disconnect, and lists them
//! again when the API server no longer has the version to resume from. Meanwhile, the last known
//! accounts stay in force.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures_util::{StreamExt, pin_mut};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::{
    Api,
    api::{ListParams, WatchEvent, WatchParams},
    core::PartialObjectMeta,
};
use tokio::time::{Instant, sleep, timeout};

use super::{
    accounts::{Account, key_of},
    api::{ApiError, ApiOperation, run},
    cluster::{ClusterState, Scope},
};
use crate::network::backoff;

/// Objects in one answer: small answers take little memory.
const PAGE: u32 = 500;
/// Time after which a watch is opened again. It bounds how long a dead connection goes unnoticed.
const WATCH_SECONDS: u32 = 60;
const EVENT_TIMEOUT: Duration = Duration::from_secs(70);
/// A watch that ends sooner has failed.
const MIN_WATCH: Duration = Duration::from_secs(1);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(8);

type Object = PartialObjectMeta<ServiceAccount>;

/// Keeps the accounts of one scope current until it is dropped.
pub(super) async fn keep_current(cluster: Arc<ClusterState>, scope: Arc<Scope>) {
    let mut version = None::<String>;
    let mut failures = 0u32;
    loop {
        let opened = Instant::now();
        let result = match &mut version {
            None => list(&cluster, &scope).await.map(|listed| version = Some(listed)),
            Some(version) => watch(&cluster, &scope, version).await.map(|()| failures = 0),
        };
        let Err(error) = result else { continue };
        // What worked for a while before it failed is retried soon.
        let lived_long = opened.elapsed() > MAX_PAUSE;
        failures = if lived_long { 1 } else { failures.saturating_add(1) };
        match error {
            ApiError::Gone(_) => {
                tracing::info!(scope = %scope, "the watch fell behind; listing service accounts again");
                version = None;
            }
            error => cluster.lost(&scope, &error),
        }
        sleep(backoff(FIRST_PAUSE, MAX_PAUSE, failures)).await;
    }
}

fn api(client: kube::Client, scope: &Scope) -> Api<ServiceAccount> {
    match &scope.namespace {
        Some(namespace) => Api::namespaced(client, namespace),
        None => Api::all(client),
    }
}

/// Lists all accounts and puts them in force; returns the version to watch from.
async fn list(cluster: &ClusterState, scope: &Scope) -> Result<String, ApiError> {
    let api = api(cluster.api.client(ApiOperation::List).await?, scope);
    let mut listed = HashMap::new();
    let mut params =
        ListParams { label_selector: cluster.selector.clone(), ..Default::default() }.limit(PAGE);
    loop {
        let page = run(ApiOperation::List, api.list_metadata(&params)).await?;
        let accounts = page.items.into_iter().filter_map(|object| cluster.read(object));
        listed.extend(accounts.map(|(key, account)| (key, Arc::new(account))));
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => {
                cluster.listed(scope, listed);
                return Ok(page.metadata.resource_version.unwrap_or_default());
            }
        }
    }
}

/// Looks up a single account, when there is no watch.
pub(super) async fn look_up(
    cluster: &ClusterState,
    scope: &Scope,
    namespace: &str,
    name: &str,
) -> Result<Option<Account>, ApiError> {
    let namespace = scope.namespace.clone().unwrap_or_else(|| namespace.to_owned());
    let api = api(cluster.api.client(ApiOperation::List).await?, &Scope::new(Some(namespace)));
    let params = ListParams { label_selector: cluster.selector.clone(), ..Default::default() };
    let params = params.fields(&format!("metadata.name={name}"));
    let page = run(ApiOperation::List, api.list_metadata(&params)).await?;
    let found = page.items.into_iter().find(|object| object.metadata.name.as_deref() == Some(name));
    Ok(found.and_then(|object| cluster.read(object)).map(|(_, account)| account))
}

/// Watches from `version` on, and advances it. Returns without error when the server ends the watch.
async fn watch(
    cluster: &ClusterState,
    scope: &Scope,
    version: &mut String,
) -> Result<(), ApiError> {
    const WATCH: ApiOperation = ApiOperation::Watch;
    let api = api(cluster.api.client(WATCH).await?, scope);
    let params = WatchParams { label_selector: cluster.selector.clone(), ..Default::default() }
        .timeout(WATCH_SECONDS);
    let opened = Instant::now();
    let stream = run(WATCH, api.watch_metadata(&params, version)).await?;
    pin_mut!(stream);
    cluster.is_current(scope);
    loop {
        let event = timeout(EVENT_TIMEOUT, stream.next()).await;
        match event.map_err(|_| ApiError::TimedOut(WATCH))? {
            Some(event) => {
                let event = event.map_err(|error| ApiError::new(WATCH, &error))?;
                if let Some(newer) = apply(cluster, event)? {
                    *version = newer;
                }
                cluster.is_current(scope);
            }
            None if opened.elapsed() < MIN_WATCH => {
                return Err(ApiError::Failed(WATCH, "the watch ended immediately".to_owned()));
            }
            None => return Ok(()),
        }
    }
}

/// Applies an event; returns the version to continue from.
fn apply(cluster: &ClusterState, event: WatchEvent<Object>) -> Result<Option<String>, ApiError> {
    match event {
        WatchEvent::Added(object) | WatchEvent::Modified(object) => {
            let version = object.metadata.resource_version.clone();
            if let Some((key, account)) = cluster.read(object) {
                cluster.accounts.put(key, account);
            }
            Ok(version)
        }
        WatchEvent::Deleted(object) => {
            if let Some(key) = key_of(&object) {
                cluster.accounts.remove(&key);
            }
            Ok(object.metadata.resource_version)
        }
        WatchEvent::Bookmark(bookmark) => Ok(Some(bookmark.metadata.resource_version)),
        WatchEvent::Error(status) => Err(ApiError::from_status(ApiOperation::Watch, &status)),
    }
}
