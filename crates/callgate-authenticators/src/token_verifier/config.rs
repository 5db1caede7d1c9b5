//! The configuration keys and the key store that all authenticators of signed tokens share.

use std::{path::PathBuf, sync::Arc, time::Duration};

use callgate_config::Table;

use crate::{
    http_client::{HttpClient, HttpSettings, HttpUrl},
    jwks::{FileSource, KeySource, KeyStore, RefreshObserver, Timing, UrlSource},
    kind::BuildContext,
    state_dir::StateFile,
};

/// Where the configuration says that the issuer's keys are.
#[derive(Debug, Clone)]
pub(crate) enum JwksLocation {
    Url(HttpUrl),
    File(FileSource),
}

impl JwksLocation {
    /// Reads `jwks_url` or `jwks_file`.
    pub(crate) fn read(table: &mut Table<'_>, insecure_http: bool) -> Option<Self> {
        let url = table.string("jwks_url");
        let file = table.file("jwks_file");
        if url.is_some() && file.is_some() {
            table.fault("jwks_file", "`jwks_url` is set too: keep one of the two");
        }
        match url {
            Some(url) => HttpUrl::parse(&url, insecure_http)
                .map_err(|error| table.fault("jwks_url", error))
                .ok()
                .map(Self::Url),
            None => file.map(|path| Self::File(FileSource::new(path))),
        }
    }

    /// The source of the keys; the error is reported.
    pub(crate) fn source(
        &self,
        table: &Table<'_>,
        http: &HttpSettings,
    ) -> Option<Arc<dyn KeySource>> {
        Some(match self {
            Self::Url(url) => Arc::new(UrlSource::new(http_client(table, http)?, url.clone())),
            Self::File(file) => Arc::new(file.clone()),
        })
    }
}

pub(crate) fn http_client(table: &Table<'_>, settings: &HttpSettings) -> Option<HttpClient> {
    HttpClient::new(settings).map_err(|error| table.fault("ca", error)).ok()
}

pub(crate) fn read_audience(table: &mut Table<'_>) -> Option<Vec<String>> {
    if !table.has("audience") {
        table.fault_here(
            "`audience` is missing: set it to the `aud` of tokens for this NATS system",
        );
        return None;
    }
    table.filled_strings("audience")
}

pub(crate) fn read_insecure_http(table: &mut Table<'_>) -> bool {
    let insecure = table.boolean("insecure_http").unwrap_or(false);
    if insecure {
        table.warn("insecure_http", "anyone on the network path can replace the keys: use https");
    }
    insecure
}

/// `jwks_max_stale`: how long keys are used without a successful fetch.
pub(crate) fn read_max_stale(table: &mut Table<'_>) -> Duration {
    let max_stale = table.duration("jwks_max_stale").unwrap_or(Timing::default().keep);
    if max_stale.is_zero() {
        table.fault("jwks_max_stale", "must be greater than zero");
    }
    max_stale
}

/// Where the keys are kept for the next start. Keys of a file need no copy.
pub(crate) fn state_file(
    context: &BuildContext,
    kind: &str,
    location: Option<&JwksLocation>,
    settings: &dyn std::fmt::Debug,
) -> Option<StateFile> {
    if matches!(location, Some(JwksLocation::File(_))) {
        return None;
    }
    let id = format!("{kind} {:?} {settings:?}", context.name);
    Some(context.services.state_dir.as_ref()?.file(&id))
}

/// The PEM file `ca`.
pub(crate) fn read_ca(table: &mut Table<'_>) -> Option<Vec<u8>> {
    let path = table.file("ca")?;
    let pem = table.sources().read(&path);
    pem.map(|pem| pem.to_vec()).map_err(|error| table.fault("ca", error)).ok()
}

/// The key store with this `id`, which survives a reload that does not change it. A key file is loaded
/// now: errors are reported, but a missing file only if the authenticator is required.
pub(crate) fn key_store(
    context: &BuildContext,
    table: &Table<'_>,
    id: &str,
    location: Option<&JwksLocation>,
    create: impl FnOnce(RefreshObserver) -> KeyStore,
) -> Option<Arc<KeyStore>> {
    let mut json = None;
    let mut path = None;
    if let Some(JwksLocation::File(file)) = location {
        table.sources().note_watched(file.path());
        path = Some(file.path().to_owned());
        match file.read() {
            Ok(text) => json = Some(text),
            Err(error) if error.is_absence() && !context.required => {
                table.warn(
                    "jwks_file",
                    format!("{error}: tokens are refused until the file exists"),
                );
            }
            Err(error) => {
                table.fault("jwks_file", error);
                return None;
            }
        }
    }
    let observer = refresh_observer(context, path);
    let store = context.services.shared.obtain(id, || create(observer));
    store.restore();
    let Some(json) = json else { return Some(store) };
    if let Err(error) = store.preload(&json) {
        table.fault("jwks_file", format!("the file is not usable: {error}"));
        return None;
    }
    // In the background, the store logs these now and after every change.
    for remark in store.remarks().iter().filter(|_| !context.services.background) {
        table.warn("jwks_file", remark);
    }
    Some(store)
}

/// Counts the attempts to fetch keys. Keys of a file are in sync with it after a successful attempt.
fn refresh_observer(context: &BuildContext, file: Option<PathBuf>) -> RefreshObserver {
    let observer = Arc::clone(&context.services.observer);
    let name = Arc::clone(&context.name);
    observer.has_signing_keys(&name);
    Arc::new(move |fetched| {
        observer.keys_refreshed(&name, fetched);
        if let Some(file) = &file {
            observer.file_in_sync(file, fetched);
        }
    })
}
