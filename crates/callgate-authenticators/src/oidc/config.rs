//! The table `oidc` of an authenticator.

use std::time::Duration;

use callgate_config::{Item, Key, Table, Type, schema::TEXTS};
use serde_json::Value;

use crate::{
    claim_path::{ClaimPath, PathError},
    http_client::sanitize_url,
    jwks::{Discovery, KeyHost},
    jws::{Algorithm, TimeRules},
    token_verifier::{JwksLocation, read_audience, read_ca, read_insecure_http, read_max_stale},
};

/// The keys of the table.
pub(super) const KEYS: &[Key] = &[
    Key::required("issuer", Type::Text, "must equal the token's `iss` exactly, including any trailing slash"),
    Key::required("audience", TEXTS, "at least one of these must be in `aud`"),
    Key::optional("audience_claim", CLAIM, "claim that holds the audience: a string or a list of strings").or("\"aud\""),
    Key::optional("jwks_url", URL, "where to find the keys. Discovery reads `<issuer>/.well-known/openid-configuration`, whose `issuer` must be identical").or_else("discovery"),
    Key::optional("jwks_file", Type::Path, "the keys in a file, instead of `jwks_url`. It is read again when it changes"),
    Key::optional("jwks_hosts", TEXTS, "hosts that discovery may point to if the keys are not at the issuer's own scheme, host and port: `host` for any port, or `host:port`"),
    Key::optional("jwks_max_stale", Type::Duration, "how long keys are used without a successful fetch, also after a restart (`state_dir`)").or("\"24h\""),
    Key::optional("ca", Type::Path, "PEM file with the only certificate authorities to trust").or_else("the system's"),
    Key::optional("algorithms", TEXTS, "signature algorithms to accept; `none` and HMAC are not available").or_else("RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA"),
    Key::optional("user_claim", CLAIM, "claim that holds the user. `email` counts only if `email_verified` is true and the address is one name, one `@` and one host").or("\"sub\""),
    Key::optional("groups_claim", CLAIM, "claim that holds the groups: a string, a list of strings, or an object whose member names are the groups").or_else("no groups"),
    Key::optional("groups_split", Type::Text, "splits a groups claim that is a string at this text, such as `\" \"`").or_else("not split"),
    Key::optional("required_claims", Type::Map(&Type::Any), "claim paths with the required value, or a list of accepted values. A claim that is a list, such as `scopes`, must contain one of them"),
    Key::optional("types", TEXTS, "accepted media types in `typ`; a missing `typ` counts as `JWT`").or("[\"JWT\", \"at+jwt\"]"),
    Key::optional("leeway", Type::Named("duration, at most `\"5m\"`", &Type::Duration), "tolerated clock difference, for `nbf` and `iat` only").or("\"30s\""),
    Key::optional("max_token_lifetime", Type::Duration, "longest `exp` − `iat`; if set, a token without `iat` is refused"),
    Key::optional("insecure_http", Type::Boolean, "allow plain HTTP for keys and discovery").or("false"),
];

const URL: Type = Type::Named("URL", &Type::Text);
const CLAIM: Type = Type::Named("claim path", &Type::Text);

const DEFAULT_LEEWAY: Duration = Duration::from_secs(30);
const MAX_LEEWAY: Duration = Duration::from_secs(300);

/// The settings of an `oidc` authenticator.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    /// The issuer, exactly as its tokens name it.
    pub(super) issuer: String,
    pub(super) audience: Vec<String>,
    pub(super) audience_claim: ClaimPath,
    pub(super) keys: KeysFrom,
    /// How long keys are used without a successful fetch.
    pub(super) max_stale: Duration,
    /// The only certificate authorities to trust, as PEM.
    pub(super) ca: Option<Vec<u8>>,
    pub(super) insecure_http: bool,
    pub(super) algorithms: Vec<Algorithm>,
    /// Accepted media types of tokens.
    pub(super) types: Vec<String>,
    pub(super) times: TimeRules,
    pub(super) rules: ClaimRules,
}

/// Where the issuer's keys come from.
#[derive(Debug, Clone)]
pub(super) enum KeysFrom {
    Discovery(Discovery),
    Location(JwksLocation),
}

/// Which claims make up the identity, and which values are required.
#[derive(Debug, Clone)]
pub(crate) struct ClaimRules {
    pub(crate) user: ClaimPath,
    pub(super) groups: Option<ClaimPath>,
    /// The separator of groups in a text.
    pub(super) groups_split: Option<String>,
    /// Claims that must have one of these values; a claim that is a list must contain one.
    pub(super) required: Vec<(ClaimPath, Vec<Value>)>,
}

impl Settings {
    /// Reads the table and reports its errors.
    pub(super) fn read(table: &mut Table<'_>) -> Option<Self> {
        let faults = table.report().fault_count();
        let issuer = read_issuer(table);
        let insecure_http = read_insecure_http(table);
        let keys = KeysFrom::read(table, issuer.as_deref(), insecure_http);
        let audience = read_audience(table);
        let audience_claim = path_or(table, "audience_claim", "aud");
        let algorithms = algorithms(table);
        let types = types(table);
        let rules = ClaimRules::read(table);
        let ca = read_ca(table);
        let max_stale = read_max_stale(table);
        let times = times(table);
        let settings = Self {
            issuer: issuer?,
            audience: audience?,
            audience_claim: audience_claim?,
            keys: keys?,
            max_stale,
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

/// Refuses texts that no token has as its `iss`: they come from providers' documents.
///
/// # Errors
/// If it is one; the message says what to write.
pub fn check_issuer(issuer: &str) -> Result<(), String> {
    if issuer.contains(['{', '}', '<', '>']) {
        return Err("contains a placeholder: write the `iss` of a token, such as \
             `https://login.microsoftonline.com/8eaef023-2b34-4da1-9baa-8bc8c9d6a490/v2.0`"
            .to_owned());
    }
    if let Some((base, _)) = issuer.split_once("/.well-known") {
        let base = sanitize_url(base);
        return Err(format!(
            "is the address of a discovery document, not an issuer: write `{base}`"
        ));
    }
    Ok(())
}

fn read_issuer(table: &mut Table<'_>) -> Option<String> {
    let issuer = table.required_string("issuer")?;
    check_issuer(&issuer).map_err(|error| table.fault("issuer", error)).ok()?;
    Some(issuer)
}

impl KeysFrom {
    fn read(table: &mut Table<'_>, issuer: Option<&str>, insecure_http: bool) -> Option<Self> {
        let extra_hosts: Option<Vec<KeyHost>> = table.parsed_list("jwks_hosts");
        if table.has("jwks_url") || table.has("jwks_file") {
            if extra_hosts.is_some() {
                table.warn("jwks_hosts", "is used only when the keys are discovered");
            }
            return JwksLocation::read(table, insecure_http).map(Self::Location);
        }
        let discovery = Discovery {
            issuer: issuer?.to_owned(),
            extra_hosts: extra_hosts.unwrap_or_default(),
            insecure_http,
        };
        discovery.document_url().map_err(|error| table.fault("issuer", error)).ok()?;
        Some(Self::Discovery(discovery))
    }
}

impl ClaimRules {
    pub(crate) fn read(table: &mut Table<'_>) -> Option<Self> {
        let user = path_or(table, "user_claim", "sub");
        let groups = path(table, "groups_claim");
        let groups_split = table.filled_string("groups_split");
        if groups_split.is_some() && groups.is_none() {
            table.warn("groups_split", "has no effect without `groups_claim`");
        }
        let required = table.table("required_claims").map(required).unwrap_or_default();
        Some(Self { user: user?, groups, groups_split, required })
    }
}

fn path_or(table: &mut Table<'_>, key: &str, default: &str) -> Option<ClaimPath> {
    match table.has(key) {
        true => path(table, key),
        false => default.parse().ok(),
    }
}

fn path(table: &mut Table<'_>, key: &str) -> Option<ClaimPath> {
    let path = table.parse(key)?;
    warn_about_url(table, key, &path);
    Some(path)
}

fn warn_about_url(table: &Table<'_>, key: &str, path: &ClaimPath) {
    if let Some(pointer) = path.pointer_if_url() {
        table.warn(
            key,
            format!("`{path}` is split at its dots: write `{pointer}` for the claim of that name"),
        );
    }
}

fn required(mut table: Table<'_>) -> Vec<(ClaimPath, Vec<Value>)> {
    let mut rules = Vec::new();
    if table.map().is_empty() {
        table.fault_here(
            "requires nothing: name a claim and its accepted values, or leave the key out",
        );
    }
    for key in table.map().keys() {
        let path = key.parse().map_err(|error: PathError| table.fault(key, error));
        let values = table.raw(key).and_then(|item| accepted_values(&item));
        if let (Ok(path), Some(values)) = (path, values) {
            warn_about_url(&table, key, &path);
            rules.push((path, values));
        }
    }
    table.finish();
    rules
}

fn accepted_values(item: &Item<'_>) -> Option<Vec<Value>> {
    let values: Vec<Value> = item.items().iter().map(|item| item.value().clone()).collect();
    if values.is_empty() {
        item.fault("an empty list matches no token: list the accepted values");
        return None;
    }
    let is_plain = |value: &Value| value.is_string() || value.is_boolean() || value.is_i64();
    if !values.iter().all(is_plain) {
        item.fault("must be text, a whole number, true or false, or a list of these");
        return None;
    }
    Some(values)
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
        table.fault("algorithms", "an empty list accepts no token: remove the key to accept all");
        return None;
    }
    Some(algorithms)
}

fn times(table: &mut Table<'_>) -> TimeRules {
    let leeway = table.duration("leeway").unwrap_or(DEFAULT_LEEWAY);
    if leeway > MAX_LEEWAY {
        table.fault("leeway", "must be at most five minutes: synchronize the clocks instead");
    }
    let max_lifetime = table.duration("max_token_lifetime");
    if max_lifetime.is_some_and(|longest| longest.is_zero()) {
        table.fault("max_token_lifetime", "must be greater than zero");
    }
    TimeRules { leeway, max_lifetime }
}
