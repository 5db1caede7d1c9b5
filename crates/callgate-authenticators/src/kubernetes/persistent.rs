//! What outlives a reload that leaves its settings as they are: the keys of the issuer, and the cluster
//! by its identity.

use std::{sync::Arc, time::Duration};

use super::{
    Proof,
    api::{self, ApiServer},
    config::{KeysFrom, Settings},
    keys::{ApiServerKeys, Issuer},
};
use crate::{
    http_client::{HttpClient, HttpSettings},
    jwks::{FileSource, KeySource, KeyStore, Timing, UrlSource},
    jws::Algorithm,
    kind::BuildContext,
    token_verifier::{TokenVerifier, read_key_file, refreshes, take_key_file},
};
use callgate_config::Table;

/// The keys of the issuer. They outlive a reload that leaves their settings as they are.
pub(super) fn keys_proof(
    context: &BuildContext,
    settings: &Settings,
    api: &Arc<ApiServer>,
    cluster: &str,
    table: &Table<'_>,
) -> Option<Proof> {
    let shared = &context.services.shared;
    let id = format!("{cluster} {:?} {:?} {:?}", settings.issuer, settings.keys, settings.ca);
    // An issuer that is told with its keys lives with them.
    let issuer = match (&settings.keys, &settings.issuer) {
        (KeysFrom::Url(_) | KeysFrom::File(_), Some(issuer)) => Arc::new(Issuer::given(issuer)),
        _ => shared.obtain(&id, Issuer::default),
    };
    let mut initial = None;
    let source: Arc<dyn KeySource> = match &settings.keys {
        KeysFrom::ApiServer => Arc::new(ApiServerKeys {
            api: Arc::clone(api),
            issuer: Arc::clone(&issuer),
            expected: settings.issuer.clone(),
        }),
        KeysFrom::Url(url) => {
            let http = HttpSettings {
                ca: settings.ca.clone(),
                insecure_http: url.is_plain(),
                ..HttpSettings::default()
            };
            let client = HttpClient::new(&http).map_err(|error| table.fault("ca", error)).ok()?;
            Arc::new(UrlSource::new(Arc::new(client), url.clone()))
        }
        KeysFrom::File(path) => {
            let source = FileSource::new(path);
            initial = read_key_file(context, table, &source).ok()?;
            Arc::new(source)
        }
    };
    let observer = refreshes(context);
    let keys = shared.obtain(&id, || {
        KeyStore::new(
            source,
            &Algorithm::ALL,
            timing(&settings.keys),
            observer,
            context.services.background,
        )
    });
    if let Some(json) = initial {
        take_key_file(context, table, &keys, &json).ok()?;
    }
    // API servers write no `typ`, which counts as `JWT`.
    let verifier = TokenVerifier::new(context, keys, vec!["JWT".to_owned()]);
    Some(Proof::Keys { issuer, verifier })
}

/// The API server is near, and its keys change without notice: it is asked every minute, and after
/// an unknown key id at most every two seconds.
fn timing(keys: &KeysFrom) -> Timing {
    let minute = Duration::from_secs(60);
    match keys {
        KeysFrom::ApiServer => Timing {
            refresh: minute,
            refresh_min: minute,
            refresh_max: minute,
            cool_down: Duration::from_secs(2),
            retry_max: Duration::from_secs(10),
            ..Timing::default()
        },
        KeysFrom::Url(_) | KeysFrom::File(_) => Timing::default(),
    }
}

/// What makes two clusters the same: the entry's name, and everything that decides which accounts
/// are known.
pub(super) fn identity_of_cluster(context: &BuildContext, settings: &Settings) -> String {
    let Settings { cluster, namespaces, label_selector, annotation_prefix, access, .. } = settings;
    // A kubeconfig that changed is another way in; its text shows secrets as stars.
    let access = match access {
        api::Access::InCluster => String::new(),
        api::Access::Kubeconfig(kubeconfig, _) => digest(kubeconfig),
    };
    let background = context.services.background;
    let whole =
        (&context.name, cluster, access, namespaces, label_selector, annotation_prefix, background);
    format!("{whole:?}")
}

fn digest(kubeconfig: &kube::config::Kubeconfig) -> String {
    let text = serde_json::to_vec(kubeconfig).unwrap_or_default();
    data_encoding::HEXLOWER
        .encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &text).as_ref())
}
