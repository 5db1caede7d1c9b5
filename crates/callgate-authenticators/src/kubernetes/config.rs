//! The table `kubernetes` of an authenticator.

use std::time::Duration;

use callgate::{
    permissions::Responses,
    policy::settings::{Inbox, RoleSettings, SideSettings},
};
use callgate_config::{Key, Table, Type, roles, schema::TEXTS};

use super::{access::Access, token::is_label};
use crate::token_verifier::{
    JwksLocation, read_audience, read_ca, read_insecure_http, read_max_stale,
};

/// The keys of the table.
pub(super) const KEYS: &[Key] = &[
    Key::required("audience", TEXTS, "a token must be for one of these"),
    Key::optional("verify", Type::Word(&["jwks", "token-review"]), "verify tokens locally, or ask the API server and cache a positive result for 10 s").or("\"jwks\""),
    Key::optional("kubeconfig", Type::Path, "the cluster, and the identity Callgate uses there").or_else("the pod's cluster, else the usual kubeconfig"),
    Key::optional("context", Type::Text, "a context of the kubeconfig").or_else("its current context"),
    Key::optional("issuer", Type::Text, "must equal the token's `iss` exactly").or_else("from the API server"),
    Key::optional("jwks_url", Type::Named("URL", &Type::Text), "where to find the keys; needs `issuer`, and does not go with `\"token-review\"`").or_else("the API server's keys"),
    Key::optional("jwks_file", Type::Path, "the keys in a file, instead of `jwks_url`"),
    Key::optional("jwks_max_stale", Type::Duration, "how long keys are used without a successful fetch, also after a restart (`state_dir`)").or("\"24h\""),
    Key::optional("ca", Type::Path, "PEM file with the only certificate authorities to trust for `jwks_url`").or_else("the system's"),
    Key::optional("insecure_http", Type::Boolean, "allow plain HTTP for `jwks_url`").or("false"),
    Key::optional("namespaces", TEXTS, "accept only service accounts in these namespaces (names, not patterns). A Role in each is then sufficient").or_else("all"),
    Key::optional("label_selector", Type::Text, "accept only service accounts with these labels").or_else("all"),
    Key::optional("annotation_prefix", Type::Named("string ending in `/`", &Type::Text), "prefix of the annotations to use").or("\"nats.io/\""),
    Key::optional("defaults", Type::Named("table", &Type::Table(roles::KEYS)), "the role of every service account; accepts all keys of a role").or_else("see [above](#what-a-service-account-may-do)"),
];

const DEFAULT_PREFIX: &str = "nats.io/";

/// The settings of a `kubernetes` authenticator.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) audience: Vec<String>,
    /// The issuer; otherwise it is learned from the API server.
    pub(super) issuer: Option<String>,
    /// Where the keys are, if not at the API server.
    pub(super) keys: Option<JwksLocation>,
    /// How long keys are used without a successful fetch.
    pub(super) max_stale: Duration,
    /// The only certificate authorities to trust for `jwks_url`, as PEM.
    pub(super) ca: Option<Vec<u8>>,
    pub(super) insecure_http: bool,
    pub(super) verify: Verify,
    pub(super) access: Access,
    pub(super) namespaces: Vec<String>,
    pub(super) label_selector: Option<String>,
    pub(super) annotation_prefix: String,
    /// Identifies the cluster: kubeconfig and context.
    pub(super) cluster: String,
}

/// How a token is verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verify {
    /// Here, with the issuer's keys.
    Jwks,
    /// By the API server.
    TokenReview,
}

impl Settings {
    /// Reads the table and reports its errors.
    pub(super) fn read(table: &mut Table<'_>) -> Option<Self> {
        let faults = table.report().fault_count();
        // Read with the policy: it is the role of all identities.
        table.has("defaults");
        let audience = read_audience(table);
        let issuer = table.string("issuer");
        let verify = verify(table);
        let insecure_http = read_insecure_http(table);
        let keys = keys(table, issuer.as_deref(), verify, insecure_http);
        if table.has("ca") && !table.has("jwks_url") {
            table
                .warn("ca", "is used only with `jwks_url`: the kubeconfig has the API server's CA");
        }
        let ca = read_ca(table);
        let max_stale = read_max_stale(table);
        let kubeconfig = table.file("kubeconfig");
        let context = table.string("context");
        let cluster = format!("{kubeconfig:?} {context:?}");
        let key = if kubeconfig.is_none() && context.is_some() { "context" } else { "kubeconfig" };
        let access = Access::find(kubeconfig, context, table.sources());
        let settings = Self {
            audience: audience.unwrap_or_default(),
            issuer,
            keys,
            max_stale,
            ca,
            insecure_http,
            verify,
            namespaces: namespaces(table),
            // An empty selector would select every account.
            label_selector: table.filled_string("label_selector"),
            annotation_prefix: prefix(table),
            access: access.map_err(|error| table.fault(key, error)).ok()?,
            cluster,
        };
        (table.report().fault_count() == faults).then_some(settings)
    }
}

fn verify(table: &mut Table<'_>) -> Verify {
    match table.string("verify").as_deref() {
        None | Some("jwks") => Verify::Jwks,
        Some("token-review") => Verify::TokenReview,
        Some(other) => {
            let other = other.escape_debug();
            table.fault("verify", format!("`{other}` is neither \"jwks\" nor \"token-review\""));
            Verify::Jwks
        }
    }
}

fn keys(
    table: &mut Table<'_>,
    issuer: Option<&str>,
    verify: Verify,
    insecure_http: bool,
) -> Option<JwksLocation> {
    let has_url = table.has("jwks_url");
    let has_file = table.has("jwks_file");
    if has_url || has_file {
        let key = if has_url { "jwks_url" } else { "jwks_file" };
        if issuer.is_none() && !(has_url && has_file) {
            table.fault(key, "requires `issuer`: keys alone do not say whose tokens they sign");
        }
        if verify == Verify::TokenReview {
            let remedy =
                "with `verify = \"token-review\"` the API server verifies tokens: remove it";
            table.fault(key, remedy);
        }
    }
    JwksLocation::read(table, insecure_http)
}

fn namespaces(table: &mut Table<'_>) -> Vec<String> {
    if !table.has("namespaces") {
        return Vec::new();
    }
    let mut namespaces = table.strings("namespaces").unwrap_or_default();
    if namespaces.is_empty() {
        table.fault("namespaces", "an empty list admits no account: remove the key to admit all");
    }
    if let Some(bad) = namespaces.iter().find(|name| !is_label(name)) {
        let bad = bad.escape_debug();
        table.fault(
            "namespaces",
            format!("`{bad}` is not the name of a namespace (patterns are not supported)"),
        );
    }
    namespaces.sort();
    namespaces.dedup();
    namespaces
}

fn prefix(table: &mut Table<'_>) -> String {
    let prefix = table.string("annotation_prefix").unwrap_or_else(|| DEFAULT_PREFIX.to_owned());
    if prefix.is_empty() || !prefix.ends_with('/') {
        table.fault("annotation_prefix", "must end with a slash, as in \"nats.io/\"");
    }
    prefix
}

/// The default role of a service account: to communicate within its namespace.
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
        // `_INBOX.>`: for clients that do not set an inbox prefix.
        inbox: Inbox::Shared,
        ..RoleSettings::default()
    }
}
