//! The `oidc` table of an authenticator.

use std::{path::PathBuf, time::Duration};

use serde_json::Value;

use super::path::ClaimPath;
use crate::{
    http_client::HttpUrl,
    jwks::{Discovery, KeyHost},
    jws::{Algorithm, TimeRules},
};
use callgate_config::{Item, Table};

const DEFAULT_LEEWAY: Duration = Duration::from_secs(30);
const LONGEST_LEEWAY: Duration = Duration::from_secs(300);

/// What an `oidc` authenticator is told.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The issuer, exactly as tokens name it.
    pub issuer: String,
    /// Audiences that are ours.
    pub audience: Vec<String>,
    /// Where its keys are.
    pub keys: KeysFrom,
    /// The only authorities trusted for TLS, as PEM.
    pub ca: Option<Vec<u8>>,
    /// Whether plain http is accepted.
    pub insecure_http: bool,
    /// Algorithms that the issuer may use.
    pub algorithms: Vec<Algorithm>,
    /// Media types of tokens that are taken.
    pub types: Vec<String>,
    /// Lifetime and clock differences.
    pub times: TimeRules,
    /// What of the claims is looked at.
    pub rules: ClaimRules,
}

/// Where keys come from.
#[derive(Debug, Clone)]
pub enum KeysFrom {
    /// The issuer's discovery document says so.
    Discovery(Discovery),
    /// This address.
    Url(HttpUrl),
    /// This file.
    File(PathBuf),
}

/// What of the claims makes the identity, and what they must say.
#[derive(Debug, Clone)]
pub struct ClaimRules {
    /// The user.
    pub user: ClaimPath,
    /// The groups.
    pub groups: Option<ClaimPath>,
    /// Claims that must have one of these values, or as a list contain one.
    pub required: Vec<(ClaimPath, Vec<Value>)>,
}

impl Settings {
    /// Reads the table, and reports what is wrong with it.
    pub fn read(table: &mut Table<'_>) -> Option<Self> {
        let faults = table.report().fault_count();
        let issuer = table.required_string("issuer");
        let insecure_http = table.boolean("insecure_http").unwrap_or(false);
        if insecure_http {
            table.warn("insecure_http", "whoever is on the way can replace the keys: use https");
        }
        let keys = KeysFrom::read(table, issuer.as_deref(), insecure_http);
        let (audience, algorithms) = (audience(table), algorithms(table));
        let (types, rules) = (types(table), ClaimRules::read(table));
        let (ca, times) = (ca(table), times(table));
        let settings = Self {
            issuer: issuer?,
            audience: audience?,
            keys: keys?,
            ca,
            insecure_http,
            algorithms: algorithms?,
            types: types?,
            times,
            rules: rules?,
        };
        (table.report().fault_count() == faults).then_some(settings)
    }
}

impl KeysFrom {
    fn read(table: &mut Table<'_>, issuer: Option<&str>, insecure_http: bool) -> Option<Self> {
        let url = table.string("jwks_url");
        let file = table.file("jwks_file");
        let extra_hosts: Option<Vec<KeyHost>> = table.parsed_list("jwks_hosts");
        if url.is_some() && file.is_some() {
            table.fault("jwks_file", "`jwks_url` is there too: the keys come from one place");
            return None;
        }
        if extra_hosts.is_some() && (url.is_some() || file.is_some()) {
            table.warn("jwks_hosts", "is used only when the keys are discovered");
        }
        match (url, file) {
            (Some(url), _) => HttpUrl::parse(&url, insecure_http)
                .map_err(|error| table.fault("jwks_url", error))
                .ok()
                .map(Self::Url),
            (None, Some(file)) => Some(Self::File(file)),
            (None, None) => {
                let issuer = issuer?.to_owned();
                let extra_hosts = extra_hosts.unwrap_or_default();
                let discovery = Discovery { issuer, extra_hosts, insecure_http };
                let checked = discovery.document_url();
                checked.map_err(|error| table.fault("issuer", error)).ok()?;
                Some(Self::Discovery(discovery))
            }
        }
    }
}

impl ClaimRules {
    fn read(table: &mut Table<'_>) -> Option<Self> {
        let user = match table.has("user_claim") {
            true => path(table, "user_claim"),
            false => "sub".parse().ok(),
        };
        let groups = path(table, "groups_claim");
        let required = table.table("required_claims").map(required).unwrap_or_default();
        Some(Self { user: user?, groups, required })
    }
}

fn path(table: &mut Table<'_>, key: &str) -> Option<ClaimPath> {
    let path = table.parse(key)?;
    warn_of_url(table, key, &path);
    Some(path)
}

fn warn_of_url(table: &Table<'_>, key: &str, path: &ClaimPath) {
    if let Some(meant) = path.meant() {
        let what = "is read as member names joined by dots";
        table.warn(key, format!("`{path}` {what}: the claim of that name is `{meant}`"));
    }
}

fn required(mut table: Table<'_>) -> Vec<(ClaimPath, Vec<Value>)> {
    let mut rules = Vec::new();
    for key in table.map().keys() {
        let path = key.parse().map_err(|error: super::path::PathError| table.fault(key, error));
        let values = table.raw(key).and_then(|item| wanted_values(&item));
        if let (Ok(path), Some(values)) = (path, values) {
            warn_of_url(&table, key, &path);
            rules.push((path, values));
        }
    }
    table.finish();
    rules
}

fn wanted_values(item: &Item<'_>) -> Option<Vec<Value>> {
    let values: Vec<Value> = item.items().iter().map(|item| item.value().clone()).collect();
    if values.is_empty() {
        item.fault("an empty list can never be met: name the values that are accepted");
        return None;
    }
    let plain = |value: &Value| value.is_string() || value.is_boolean() || value.is_i64();
    if !values.iter().all(plain) {
        item.fault("must be text, a whole number, true or false, or a list of these");
        return None;
    }
    Some(values)
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

fn types(table: &mut Table<'_>) -> Option<Vec<String>> {
    match table.has("types") {
        true => table.filled_strings("types"),
        false => Some(vec!["JWT".to_owned(), "at+jwt".to_owned()]),
    }
}

fn algorithms(table: &mut Table<'_>) -> Option<Vec<Algorithm>> {
    if !table.has("algorithms") {
        return Some(Algorithm::ALL.to_vec());
    }
    let algorithms: Vec<Algorithm> = table.parsed_list("algorithms")?;
    if algorithms.is_empty() {
        table.fault("algorithms", "an empty list accepts no token: leave the key out for all");
        return None;
    }
    Some(algorithms)
}

fn times(table: &mut Table<'_>) -> TimeRules {
    let leeway = table.duration("leeway").unwrap_or(DEFAULT_LEEWAY);
    if leeway > LONGEST_LEEWAY {
        table.fault("leeway", "is longer than five minutes: set the clocks instead");
    }
    let max_lifetime = table.duration("max_token_lifetime");
    if max_lifetime.is_some_and(|longest| longest.is_zero()) {
        table.fault("max_token_lifetime", "no token lives that short");
    }
    TimeRules { leeway, max_lifetime }
}

fn ca(table: &mut Table<'_>) -> Option<Vec<u8>> {
    let path = table.file("ca")?;
    let read = table.sources().read(&path);
    read.map(|pem| pem.to_vec()).map_err(|error| table.fault("ca", error)).ok()
}
