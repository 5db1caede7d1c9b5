//! The `kubernetes` table of an authenticator.

use std::path::PathBuf;

use callgate::{
    permissions::Responses,
    policy::settings::{Inbox, RoleSettings, SideSettings},
};

use super::api::Access;
use crate::http_client::HttpUrl;
use callgate_config::Table;

const DEFAULT_PREFIX: &str = "nats.io/";

/// What a `kubernetes` authenticator is told.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) audience: Vec<String>,
    /// The issuer, if it is not to be learned.
    pub(super) issuer: Option<String>,
    pub(super) keys: KeysFrom,
    /// The only authorities trusted for `jwks_url`, as PEM.
    pub(super) ca: Option<Vec<u8>>,
    pub(super) verify: Verify,
    pub(super) access: Access,
    pub(super) namespaces: Vec<String>,
    pub(super) label_selector: Option<String>,
    pub(super) annotation_prefix: String,
    /// What names the cluster, to tell one from another: file and context.
    pub(super) cluster: String,
}

/// How a token is proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verify {
    /// By the issuer's keys, here.
    Jwks,
    /// By the API server.
    TokenReview,
}

/// Where keys come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum KeysFrom {
    ApiServer,
    Url(HttpUrl),
    File(PathBuf),
}

impl Settings {
    /// Reads the table, and reports what is wrong with it.
    pub(super) fn read(table: &mut Table<'_>) -> Option<Self> {
        let faults = table.report().fault_count();
        // Read with the policy: it is the role of all our identities.
        table.has("defaults");
        let audience = audience(table);
        let issuer = table.string("issuer");
        let verify = verify(table);
        let keys = keys(table, issuer.as_deref(), verify);
        let ca = ca(table, keys.as_ref());
        let (kubeconfig, context) = (table.file("kubeconfig"), table.string("context"));
        let cluster = format!("{kubeconfig:?} {context:?}");
        let at = if kubeconfig.is_none() && context.is_some() { "context" } else { "kubeconfig" };
        let access = Access::find(kubeconfig, context, table.sources());
        let settings = Self {
            audience: audience.unwrap_or_default(),
            issuer,
            keys: keys.unwrap_or(KeysFrom::ApiServer),
            ca,
            verify,
            namespaces: namespaces(table),
            label_selector: table.string("label_selector").filter(|it| !it.is_empty()),
            annotation_prefix: prefix(table),
            access: access.map_err(|error| table.fault(at, error)).ok()?,
            cluster,
        };
        (table.report().fault_count() == faults).then_some(settings)
    }
}

fn audience(table: &mut Table<'_>) -> Option<Vec<String>> {
    if !table.has("audience") {
        table.fault_here(
            "`audience` is missing: name what tokens for this NATS system say in `aud`",
        );
        return None;
    }
    table.filled_strings("audience")
}

fn verify(table: &mut Table<'_>) -> Verify {
    match table.string("verify").as_deref() {
        None | Some("jwks") => Verify::Jwks,
        Some("token-review") => Verify::TokenReview,
        Some(other) => {
            let shown = other.escape_debug();
            table.fault("verify", format!("`{shown}` is neither \"jwks\" nor \"token-review\""));
            Verify::Jwks
        }
    }
}

fn keys(table: &mut Table<'_>, issuer: Option<&str>, verify: Verify) -> Option<KeysFrom> {
    let insecure_http = table.boolean("insecure_http").unwrap_or(false);
    if insecure_http {
        table.warn("insecure_http", "whoever is on the way can replace the keys: use https");
    }
    let (url, file) = (table.string("jwks_url"), table.file("jwks_file"));
    let key = if url.is_some() { "jwks_url" } else { "jwks_file" };
    if url.is_some() && file.is_some() {
        table.fault("jwks_file", "`jwks_url` is there too: the keys come from one place");
    } else if (url.is_some() || file.is_some()) && issuer.is_none() {
        table.fault(key, "needs `issuer`: keys alone do not say whose tokens they sign");
    }
    if verify == Verify::TokenReview && (url.is_some() || file.is_some()) {
        table.fault(
            key,
            "with `verify = \"token-review\"` the API server checks tokens: leave it out",
        );
    }
    match (url, file) {
        (Some(url), _) => HttpUrl::parse(&url, insecure_http)
            .map_err(|error| table.fault("jwks_url", error))
            .ok()
            .map(KeysFrom::Url),
        (None, Some(file)) => Some(KeysFrom::File(file)),
        (None, None) => Some(KeysFrom::ApiServer),
    }
}

fn ca(table: &mut Table<'_>, keys: Option<&KeysFrom>) -> Option<Vec<u8>> {
    let path = table.file("ca")?;
    if !matches!(keys, Some(KeysFrom::Url(_))) {
        table.warn(
            "ca",
            "is used only with `jwks_url`: the API server's authority is in its kubeconfig",
        );
    }
    let read = table.sources().read(&path);
    read.map(|pem| pem.to_vec()).map_err(|error| table.fault("ca", error)).ok()
}

fn namespaces(table: &mut Table<'_>) -> Vec<String> {
    if !table.has("namespaces") {
        return Vec::new();
    }
    let mut namespaces = table.strings("namespaces").unwrap_or_default();
    if namespaces.is_empty() {
        table.fault("namespaces", "an empty list admits nobody: leave the key out to admit all");
    }
    if let Some(bad) = namespaces.iter().find(|name| !super::token::is_label(name)) {
        let shown = bad.escape_debug();
        table.fault(
            "namespaces",
            format!("`{shown}` is no name of a namespace (patterns are not known here)"),
        );
    }
    namespaces.sort();
    namespaces.dedup();
    namespaces
}

fn prefix(table: &mut Table<'_>) -> String {
    let prefix = table.string("annotation_prefix").unwrap_or_else(|| DEFAULT_PREFIX.to_owned());
    if prefix.is_empty() || !prefix.ends_with('/') {
        table.fault("annotation_prefix", "must end in a slash, as in \"nats.io/\"");
    }
    prefix
}

/// What a service account may do if nothing else is written: talk within its namespace.
pub(super) fn defaults() -> RoleSettings {
    let own_inbox = "_INBOX_{{ namespace }}_{{ service_account }}.>".to_owned();
    let namespace = "{{ namespace }}.>".to_owned();
    RoleSettings {
        publish: SideSettings {
            allow: vec!["_INBOX.>".to_owned(), own_inbox.clone(), namespace.clone()],
            deny: Vec::new(),
        },
        subscribe: SideSettings { allow: vec![own_inbox, namespace], deny: Vec::new() },
        responses: Some(Responses::default()),
        // `_INBOX.>`: for clients that know nothing of prefixes.
        inbox: Inbox::Shared,
        ..RoleSettings::default()
    }
}
