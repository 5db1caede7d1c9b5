//! The table `http`.

use callgate_config::{Key, Table, Type, schema::TEXTS};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName};

use super::Addresses;
use crate::{
    backend::{CONNECT_TIMEOUT_KEY, TLS_KEY, Transport, connections_key, insecure_key},
    http_client::{HttpClient, HttpUrl, sanitize_url, secret_header},
    kind::{BuildContext, FALL_THROUGH_KEY},
    question::{self, REMEMBER_KEY, TAKES_KEY},
};

pub(super) const KEYS: &[Key] = &[
    Key::required(
        "url",
        Type::Named("URL or list", &TEXTS),
        "where questions are posted; `https`. Of several, the last one that accepted a connection is tried first",
    ),
    TAKES_KEY,
    Key::optional("bearer", Type::Secret, "sent as `Authorization: Bearer …`"),
    Key::optional(
        "headers",
        Type::Map(&Type::Secret),
        "additional headers; each value is a secret",
    ),
    REMEMBER_KEY,
    FALL_THROUGH_KEY,
    connections_key("64"),
    CONNECT_TIMEOUT_KEY,
    insecure_key(INSECURE),
    TLS_KEY,
];

const INSECURE: &str = "insecure_http";
const DEFAULT_CONNECTIONS: usize = 64;

/// Headers that Callgate sets itself, or that belong to one connection (RFC 9110 section 7.6.1).
const RESERVED: [&str; 11] = [
    "authorization",
    "connection",
    "expect",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "upgrade",
];

pub(super) struct HttpSettings {
    pub(super) question: question::Settings,
    pub(super) addresses: Addresses,
    pub(super) client: HttpClient,
    pub(super) headers: HeaderMap,
    pub(super) transport: Transport,
}

impl HttpSettings {
    /// Reads the table; errors are reported.
    pub(super) fn read(context: &BuildContext, table: &mut Table<'_>) -> Option<Self> {
        let question = question::Settings::read(context, table);
        let transport = Transport::read(table, DEFAULT_CONNECTIONS, INSECURE);
        let urls = urls(table, transport.as_ref());
        let headers = headers(table);
        let (urls, transport) = (urls?, transport?);
        let needs_tls = urls.iter().any(HttpUrl::is_https);
        let tls = match needs_tls {
            true => Some(transport.client_config(table)?),
            false => None,
        };
        let client = HttpClient::for_backend(&transport, tls.as_deref());
        let client = client.map_err(|error| table.fault("tls", error)).ok()?;
        let connect_timeout = transport.connect_timeout;
        let addresses = Addresses { urls, tls, connect_timeout };
        Some(Self { question: question?, addresses, client, headers: headers?, transport })
    }
}

fn urls(table: &mut Table<'_>, transport: Option<&Transport>) -> Option<Vec<HttpUrl>> {
    if !table.has("url") {
        table.fault_here("`url` is missing: set it to the address of the service");
        return None;
    }
    let item = table.raw("url")?;
    let mut urls = Vec::new();
    for item in item.items() {
        let text = item.string()?;
        if text.contains(['{', '}']) {
            item.fault(format!("`{}` contains a template or placeholder", sanitize_url(text)));
            return None;
        }
        let url = HttpUrl::parse(text, true).map_err(|error| item.fault(error)).ok()?;
        if !url.is_https() && !transport?.check_plaintext(table, "url", url.host()) {
            return None;
        }
        urls.push(url);
    }
    if urls.is_empty() {
        item.fault("must not be empty");
        return None;
    }
    Some(urls)
}

fn headers(table: &mut Table<'_>) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    if let Some(bearer) = table.secret("bearer") {
        let value = secret_header(table, "bearer", &format!("Bearer {}", bearer.expose()));
        value.map(|value| headers.insert(AUTHORIZATION, value));
    }
    let Some(mut own) = table.table("headers") else {
        return (!table.has("headers")).then_some(headers);
    };
    for key in own.map().keys() {
        let Ok(name) = key.parse::<HeaderName>() else {
            own.fault(key, "is not the name of a header");
            continue;
        };
        if RESERVED.contains(&name.as_str())
            || name.as_str().starts_with("content-")
            || name.as_str().starts_with("transfer-")
        {
            own.fault(key, "is a header that Callgate sets itself: remove it");
            continue;
        }
        let value = own.secret(key).and_then(|secret| secret_header(&own, key, secret.expose()));
        value.map(|value| headers.insert(name, value));
    }
    own.finish().then_some(headers)
}
