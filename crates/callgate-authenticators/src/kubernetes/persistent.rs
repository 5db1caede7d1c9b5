//! The resources that survive a reload which does not change their settings: the issuer's keys and the
//! connection to the cluster.

use std::{
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use callgate_config::Table;
use sha2::{Digest, Sha256};

use super::{Proof, api::ApiServer, config::Settings, keys::ApiServerKeys};
use crate::{
    audience_routing::Issuer,
    http_client::HttpSettings,
    jwks::{KeySource, KeyStore, Timing},
    jws::Algorithm,
    kind::BuildContext,
    state_dir::StateDir,
    token_verifier::{TokenVerifier, key_store, state_file},
};

/// Proves tokens with the issuer's keys.
pub(super) fn keys_proof(
    context: &BuildContext,
    settings: &Settings,
    api: &Arc<ApiServer>,
    cluster: &str,
    table: &Table<'_>,
) -> Option<Proof> {
    let Settings { issuer: expected, keys: location, ca, max_stale, .. } = settings;
    let state_dir = context.services.state_dir.as_ref().map(StateDir::path);
    let id = format!("{cluster} {expected:?} {location:?} {ca:?} {max_stale:?} {state_dir:?}");
    let location = location.as_ref();
    let from = (&settings.cluster, expected, location, ca.as_ref().map(Sha256::digest));
    let saved = state_file(context, "kubernetes", location, &from);
    let (issuer, source): (_, Arc<dyn KeySource>) = match (location, &settings.issuer) {
        (Some(location), Some(issuer)) => {
            let http = HttpSettings {
                ca: settings.ca.clone(),
                insecure_http: settings.insecure_http,
                ..HttpSettings::default()
            };
            (Arc::new(Issuer::configured(issuer)), location.source(table, &http)?)
        }
        (None, _) | (Some(_), None) => {
            // An issuer that is learned together with its keys lives as long as they do.
            let issuer = match &settings.issuer {
                Some(issuer) => Arc::new(Issuer::configured(issuer)),
                None => context.services.shared.obtain(&id, Issuer::default),
            };
            let source = ApiServerKeys {
                api: Arc::clone(api),
                issuer: Arc::clone(&issuer),
                configured: settings.issuer.clone(),
                compared: AtomicBool::new(false),
            };
            (issuer, Arc::new(source))
        }
    };
    let timing = if location.is_some() { Timing::default() } else { api_server_timing() };
    let timing = Timing { keep: *max_stale, ..timing };
    let keys = key_store(context, table, &id, location, |observer| {
        let background = context.services.background;
        KeyStore::kept_in(saved, source, &Algorithm::ALL, timing, observer, background)
    })?;
    // API servers write no `typ`, which counts as `JWT`.
    let verifier = TokenVerifier::new(context, keys, vec!["JWT".to_owned()]);
    Some(Proof::Keys { issuer, verifier })
}

/// The API server is near and changes its keys without notice: they are fetched every minute, and
/// because of unknown key ids at most every two seconds.
fn api_server_timing() -> Timing {
    let minute = Duration::from_secs(60);
    Timing {
        refresh: minute,
        refresh_min: minute,
        refresh_max: minute,
        cool_down: Duration::from_secs(2),
        retry_max: Duration::from_secs(10),
        ..Timing::default()
    }
}

/// Identifies a cluster connection: the entry's name, and everything that decides which accounts are
/// known.
pub(super) fn cluster_id(context: &BuildContext, settings: &Settings) -> String {
    let Settings { cluster, namespaces, label_selector, annotation_prefix, access, .. } = settings;
    let access = access.id();
    let background = context.services.background;
    let whole =
        (&context.name, cluster, access, namespaces, label_selector, annotation_prefix, background);
    format!("{whole:?}")
}
