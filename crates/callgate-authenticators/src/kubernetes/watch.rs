//! Lists service accounts, then watches them, for ever: resumed after a disconnect, listed anew when
//! the API server no longer knows where we were. What was known last stays in force meanwhile.

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
    api::{ApiError, ApiOperation, PATIENCE},
    cluster::{Inner, Scope},
};

/// Objects in one answer: keeps answers, and so memory, small.
const PAGE: u32 = 500;
/// A watch is opened anew after this time. It bounds how long a connection that is dead without
/// saying so goes unnoticed.
const WATCH_SECONDS: u32 = 60;
const SILENCE: Duration = Duration::from_secs(70);
/// A watch that ends sooner than this did not work.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(8);

type Object = PartialObjectMeta<ServiceAccount>;

/// Keeps the accounts of one scope up to date until it is dropped.
pub(super) async fn keep(inner: Arc<Inner>, scope: Arc<Scope>) {
    let (mut version, mut failures) = (None::<String>, 0u32);
    loop {
        let opened = Instant::now();
        let result = match &mut version {
            None => list(&inner, &scope).await.map(|listed| version = Some(listed)),
            Some(version) => watch(&inner, &scope, version).await.map(|()| failures = 0),
        };
        let Err(error) = result else { continue };
        // What worked for a while before it broke is tried again soon.
        let lived_long = opened.elapsed() > LONGEST_PAUSE;
        failures = if lived_long { 1 } else { failures.saturating_add(1) };
        match error {
            ApiError::Gone(_) => {
                tracing::info!(scope = %scope, "the watch fell behind: service accounts are listed anew");
                version = None;
            }
            error => inner.lost(&scope, &error),
        }
        sleep(pause(failures)).await;
    }
}

/// 100 ms, 200 ms, … up to [`LONGEST_PAUSE`].
fn pause(failures: u32) -> Duration {
    let doubled = Duration::from_millis(100 << failures.saturating_sub(1).min(10));
    doubled.min(LONGEST_PAUSE)
}

fn api(client: kube::Client, scope: &Scope) -> Api<ServiceAccount> {
    match &scope.namespace {
        Some(namespace) => Api::namespaced(client, namespace),
        None => Api::all(client),
    }
}

/// Lists everything, puts it in force, and says from where to watch.
async fn list(inner: &Inner, scope: &Scope) -> Result<String, ApiError> {
    let api = api(inner.api.client(ApiOperation::List).await?, scope);
    let mut listed = HashMap::new();
    let mut params =
        ListParams { label_selector: inner.selector.clone(), ..Default::default() }.limit(PAGE);
    loop {
        let page = timeout(PATIENCE, api.list_metadata(&params)).await;
        let page = page.map_err(|_| ApiError::TimedOut(ApiOperation::List))?;
        let page = page.map_err(|error| ApiError::of(ApiOperation::List, &error))?;
        let accounts = page.items.into_iter().filter_map(|object| inner.read(object));
        listed.extend(accounts.map(|(key, account)| (key, Arc::new(account))));
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => {
                inner.listed(scope, listed);
                return Ok(page.metadata.resource_version.unwrap_or_default());
            }
        }
    }
}

/// One account, for when nothing runs in the background.
pub(super) async fn look_up(
    inner: &Inner,
    scope: &Scope,
    namespace: &str,
    name: &str,
) -> Result<Option<Account>, ApiError> {
    let scope = Scope::of(Some(scope.namespace.clone().unwrap_or_else(|| namespace.to_owned())));
    let api = api(inner.api.client(ApiOperation::List).await?, &scope);
    let params = ListParams { label_selector: inner.selector.clone(), ..Default::default() };
    let params = params.fields(&format!("metadata.name={name}"));
    let page = timeout(PATIENCE, api.list_metadata(&params)).await;
    let page = page.map_err(|_| ApiError::TimedOut(ApiOperation::List))?;
    let page = page.map_err(|error| ApiError::of(ApiOperation::List, &error))?;
    let found = page.items.into_iter().find(|object| object.metadata.name.as_deref() == Some(name));
    Ok(found.and_then(|object| inner.read(object)).map(|(_, account)| account))
}

/// Watches from `version` on, which moves with what arrives. Ends well when the server ends it.
async fn watch(inner: &Inner, scope: &Scope, version: &mut String) -> Result<(), ApiError> {
    let api = api(inner.api.client(ApiOperation::Watch).await?, scope);
    let params = WatchParams { label_selector: inner.selector.clone(), ..Default::default() }
        .timeout(WATCH_SECONDS);
    let opened = Instant::now();
    let stream = timeout(PATIENCE, api.watch_metadata(&params, version)).await;
    let stream = stream.map_err(|_| ApiError::TimedOut(ApiOperation::Watch))?;
    let stream = stream.map_err(|error| ApiError::of(ApiOperation::Watch, &error))?;
    pin_mut!(stream);
    inner.heard(scope);
    loop {
        let event = timeout(SILENCE, stream.next()).await;
        let event = event.map_err(|_| ApiError::TimedOut(ApiOperation::Watch))?;
        match event {
            Some(event) => {
                let event = event.map_err(|error| ApiError::of(ApiOperation::Watch, &error))?;
                if let Some(newer) = apply(inner, event)? {
                    *version = newer;
                }
                inner.heard(scope);
            }
            None if opened.elapsed() < SHORTEST => {
                return Err(ApiError::Failed(
                    ApiOperation::Watch,
                    "the watch ended at once".to_owned(),
                ));
            }
            None => return Ok(()),
        }
    }
}

/// Takes an event into force; says from which version to go on.
fn apply(inner: &Inner, event: WatchEvent<Object>) -> Result<Option<String>, ApiError> {
    match event {
        WatchEvent::Added(object) | WatchEvent::Modified(object) => {
            let version = object.metadata.resource_version.clone();
            if let Some((key, account)) = inner.read(object) {
                inner.accounts.put(key, account);
            }
            Ok(version)
        }
        WatchEvent::Deleted(object) => {
            if let Some(key) = key_of(&object) {
                inner.accounts.remove(&key);
            }
            Ok(object.metadata.resource_version)
        }
        WatchEvent::Bookmark(bookmark) => Ok(Some(bookmark.metadata.resource_version)),
        WatchEvent::Error(status) => Err(ApiError::of_status(ApiOperation::Watch, &status)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_stay_bounded() {
        assert_eq!(pause(1), Duration::from_millis(100));
        assert_eq!(pause(3), Duration::from_millis(400));
        assert_eq!(pause(u32::MAX), LONGEST_PAUSE);
    }
}
