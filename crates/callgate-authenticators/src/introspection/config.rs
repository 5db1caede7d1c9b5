//! The table `introspection`.

use std::{sync::Mutex, time::Duration};

use callgate_config::{Key, Table, Type, schema::TEXTS};

use super::endpoint::{Location, Login, Server};
use crate::{
    backend::{CONNECT_TIMEOUT_KEY, TLS_KEY, Transport, connections_key, insecure_key},
    http_client::{HttpClient, HttpUrl, sanitize_url, secret_header},
    jwks::KeyHost,
    kind::BuildContext,
    oidc::ClaimRules,
};

pub(super) const KEYS: &[Key] = &[
    Key::optional("issuer", Type::Text, "discovers the endpoint; must equal the `issuer` in the discovery document, and `iss` in answers. This or `url` is required"),
    Key::optional("url", Type::Text, "the introspection endpoint"),
    Key::optional("hosts", TEXTS, "hosts that a discovered endpoint may be on, besides the issuer's own scheme, host and port"),
    Key::optional("client_id", Type::Text, "Callgate's client ID. Required, unless `bearer` or `tls.cert` is set"),
    Key::optional("client_secret", Type::Secret, "the secret of that client"),
    Key::optional("auth", Type::Word(&["basic", "post"]), "whether both are sent in the header or in the form").or("\"basic\""),
    Key::optional("bearer", Type::Secret, "sent as `Authorization: Bearer …` instead"),
    Key::optional("audience", TEXTS, "one of these must be in `aud`. Required, unless `any_audience` is set"),
    Key::optional("any_audience", Type::Boolean, "accept tokens for other systems, for servers that return no `aud`").or("false"),
    Key::optional("exp_optional", Type::Boolean, "accept answers without `exp`").or("false"),
    Key::optional("user_claim", Type::Named("claim path", &Type::Text), "member that holds the user").or("\"sub\""),
    Key::optional("groups_claim", Type::Named("claim path", &Type::Text), "member that holds the groups").or_else("no groups"),
    Key::optional("groups_split", Type::Text, "splits groups that are a string at this text").or_else("not split"),
    Key::optional("required_claims", Type::Map(&Type::Any), "claim paths with the required value, or a list of accepted values"),
    Key::optional("scopes", TEXTS, "all of these must be in `scope`"),
    Key::optional("prefix", Type::Text, "only tokens that begin with it are taken"),
    Key::optional("jwt", Type::Boolean, "also take tokens in the form of a JWT; with `issuer`, those whose `iss` is the issuer").or("false"),
    Key::optional("password_user", Type::Text, "a password with exactly this user name is a token, for MQTT clients"),
    Key::optional("remember", Type::Duration, "how long an active token is not asked about again, never past its `exp`. A revocation takes effect that much later").or("\"30s\""),
    Key::optional("remember_rejected", Type::Duration, "the same for tokens that are not active").or("\"5s\""),
    Key::optional("fall_through", Type::Boolean, "leave tokens that are not active to the next authenticator").or("false"),
    connections_key("16"),
    CONNECT_TIMEOUT_KEY,
    insecure_key(INSECURE),
    TLS_KEY,
];

const INSECURE: &str = "insecure_http";
const DEFAULT_CONNECTIONS: usize = 16;
const DEFAULT_REMEMBER: Duration = Duration::from_secs(30);
const DEFAULT_REMEMBER_REJECTED: Duration = Duration::from_secs(5);

/// What makes a token acceptable.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) issuer: Option<String>,
    /// `None` with `any_audience`.
    pub(super) audience: Option<Vec<String>>,
    pub(super) exp_optional: bool,
    pub(super) rules: ClaimRules,
    pub(super) scopes: Vec<String>,
    pub(super) prefix: Option<String>,
    pub(super) takes_jwts: bool,
    pub(super) password_user: Option<String>,
    pub(super) remember: Duration,
    pub(super) remember_rejected: Duration,
    pub(super) fall_through: bool,
}

impl Settings {
    /// Reads the table: the settings, the server, and the number of connections to it.
    pub(super) fn read(
        context: &BuildContext,
        table: &mut Table<'_>,
    ) -> Option<(Self, Server, usize)> {
        let transport = Transport::read(table, DEFAULT_CONNECTIONS, INSECURE);
        let issuer = table.filled_string("issuer");
        let location = location(table, issuer.as_deref(), transport.as_ref());
        let login = login(table, transport.as_ref());
        let audience = audience(table);
        let rules = ClaimRules::read(table);
        let exp_optional = table.boolean("exp_optional").unwrap_or(false);
        let scopes = table.filled_strings("scopes").unwrap_or_default();
        let prefix = table.filled_string("prefix");
        let takes_jwts = table.boolean("jwt").unwrap_or(false);
        let password_user = table.filled_string("password_user");
        let remember = table.duration("remember").unwrap_or(DEFAULT_REMEMBER);
        let remember_rejected = table.duration("remember_rejected");
        let remember_rejected = remember_rejected.unwrap_or(DEFAULT_REMEMBER_REJECTED);
        let fall_through = context.chain.read_fall_through(table);
        let settings = Self {
            issuer,
            audience: audience?,
            exp_optional,
            rules: rules?,
            scopes,
            prefix,
            takes_jwts,
            password_user,
            remember,
            remember_rejected,
            fall_through,
        };
        let transport = transport?;
        let location = location?;
        let is_https = match &location {
            Location::Url(url) => url.is_https(),
            Location::Discovery { documents: [document, _], .. } => document.is_https(),
        };
        let tls = if is_https { Some(transport.client_config(table)?) } else { None };
        let client = HttpClient::for_backend(&transport, tls.as_deref());
        let client = client.map_err(|error| table.fault("tls", error)).ok()?;
        let connect_timeout = transport.connect_timeout;
        let server = Server { client, location, login: login?, tls, connect_timeout };
        Some((settings, server, transport.connections))
    }
}

fn location(
    table: &mut Table<'_>,
    issuer: Option<&str>,
    transport: Option<&Transport>,
) -> Option<Location> {
    let hosts: Option<Vec<KeyHost>> = table.parsed_list("hosts");
    let url = table.filled_string("url");
    match (issuer, url) {
        (None, Some(url)) => Some(Location::Url(parse(table, "url", &url, transport)?)),
        (Some(issuer), None) => {
            if issuer.contains(['?', '#']) {
                table.fault(
                    "issuer",
                    format!("`{}` has a query or a fragment", sanitize_url(issuer)),
                );
                return None;
            }
            let base = parse(table, "issuer", issuer, transport)?;
            let openid =
                format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
            let oauth = oauth_document(&base, issuer);
            let documents = [
                parse(table, "issuer", &openid, transport)?,
                parse(table, "issuer", &oauth, transport)?,
            ];
            let issuer = issuer.to_owned();
            let hosts = hosts.unwrap_or_default();
            Some(Location::Discovery { issuer, documents, hosts, found: Mutex::default() })
        }
        (Some(_), Some(_)) => {
            table.fault(
                "url",
                "`issuer` is set too, which discovers the endpoint: keep one of the two",
            );
            None
        }
        (None, None) => {
            table.fault_here("has neither `issuer` nor `url`: set one of them");
            None
        }
    }
}

/// RFC 8414 section 3.1: the well-known part comes between the host and the path.
fn oauth_document(base: &HttpUrl, issuer: &str) -> String {
    let after_scheme = issuer.split_once("://").map_or("", |(_, rest)| rest);
    let path = after_scheme.split_once('/').map_or("", |(_, path)| path).trim_end_matches('/');
    let scheme = if base.is_https() { "https" } else { "http" };
    let slash = if path.is_empty() { "" } else { "/" };
    format!("{scheme}://{}/.well-known/oauth-authorization-server{slash}{path}", base.authority())
}

fn parse(
    table: &Table<'_>,
    key: &str,
    text: &str,
    transport: Option<&Transport>,
) -> Option<HttpUrl> {
    let url = HttpUrl::parse(text, true).map_err(|error| table.fault(key, error)).ok()?;
    (url.is_https() || transport?.check_plaintext(table, key, url.host())).then_some(url)
}

fn login(table: &mut Table<'_>, transport: Option<&Transport>) -> Option<Login> {
    let id = table.filled_string("client_id");
    let secret = table.secret("client_secret");
    let bearer = table.secret("bearer");
    let auth = table.word("auth", &[("basic", false), ("post", true)]);
    let in_form = auth.unwrap_or(false);
    match (id, secret, bearer) {
        (Some(id), Some(secret), None) if in_form => Some(Login::Form { id, secret }),
        (Some(id), Some(secret), None) => Login::basic(&id, &secret),
        (None, None, Some(bearer)) => {
            let value = format!("Bearer {}", bearer.expose());
            secret_header(table, "bearer", &value).map(Login::Bearer)
        }
        (None, None, None) if transport?.tls.identity.is_some() => Some(Login::Certificate),
        (_, _, Some(_)) => {
            table.fault("bearer", "cannot be combined with `client_id` and `client_secret`");
            None
        }
        (_, _, None) => {
            table.fault_here("`client_id` and `client_secret` are required, unless `bearer` or `tls.cert` is set");
            None
        }
    }
}

/// The accepted audiences; `Some(None)` if any is.
fn audience(table: &mut Table<'_>) -> Option<Option<Vec<String>>> {
    let any = table.boolean("any_audience").unwrap_or(false);
    match (table.has("audience"), any) {
        (true, false) => table.filled_strings("audience").map(Some),
        (false, true) => {
            table.warn(
                "any_audience",
                "tokens that were issued for other systems are accepted here, too",
            );
            Some(None)
        }
        (true, true) => {
            table.fault("any_audience", "`audience` is set too: keep one of the two");
            None
        }
        (false, false) => {
            table.fault_here(
                "`audience` is missing: set it to the `aud` of tokens for this NATS system",
            );
            None
        }
    }
}
