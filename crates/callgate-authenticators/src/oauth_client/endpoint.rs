//! Where an introspection endpoint is.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use callgate::json::parse_strict;
use callgate_config::Table;
use serde_json::Value;
use tokio::time::Instant;

use crate::{
    backend::{QueryError, Transport},
    http_client::{HttpClient, HttpError, HttpUrl, sanitize_url},
    jwks::KeyHost,
};

const MAX_DEPTH: usize = 16;
/// How long a discovered address is used before the document is fetched again.
const MAX_DOCUMENT_AGE: Duration = Duration::from_secs(3600);

/// Where the endpoint is.
pub(super) enum Endpoint {
    Url(HttpUrl),
    Discovery(Discovery),
}

/// Finds the endpoint of an issuer.
pub(super) struct Discovery {
    issuer: String,
    /// OpenID Connect Discovery, then RFC 8414.
    documents: [HttpUrl; 2],
    /// Hosts that may serve the endpoint, besides the issuer's own origin.
    hosts: Vec<KeyHost>,
    found: Mutex<Option<(HttpUrl, Instant)>>,
}

impl Endpoint {
    /// Reads the keys `url` and `hosts`; errors are reported.
    pub(super) fn read(
        table: &mut Table<'_>,
        issuer: Option<&str>,
        transport: Option<&Transport>,
    ) -> Option<Self> {
        let hosts: Option<Vec<KeyHost>> = table.parsed_list("hosts");
        let url = table.filled_string("url");
        match (issuer, url) {
            (None, Some(url)) => Some(Self::Url(parse(table, "url", &url, transport)?)),
            (Some(issuer), None) => {
                let documents = documents(table, issuer, transport)?;
                let issuer = issuer.to_owned();
                let hosts = hosts.unwrap_or_default();
                let found = Mutex::default();
                Some(Self::Discovery(Discovery { issuer, documents, hosts, found }))
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

    /// The address in the configuration: of the endpoint, or of the document that names it.
    pub(super) fn configured(&self) -> &HttpUrl {
        match self {
            Self::Url(url) => url,
            Self::Discovery(Discovery { documents: [document, _], .. }) => document,
        }
    }

    /// The address of the endpoint.
    ///
    /// # Errors
    /// If it is discovered, and there is no document, or it is not about this issuer.
    pub(super) async fn url(&self, client: &HttpClient) -> Result<HttpUrl, QueryError> {
        match self {
            Self::Url(url) => Ok(url.clone()),
            Self::Discovery(discovery) => discovery.url(client).await,
        }
    }
}

impl Discovery {
    async fn url(&self, client: &HttpClient) -> Result<HttpUrl, QueryError> {
        let known = self.found.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((url, _)) = known.filter(|(_, since)| since.elapsed() < MAX_DOCUMENT_AGE) {
            return Ok(url);
        }
        let [openid, oauth] = &self.documents;
        let fetched = match client.get(openid).await {
            Err(HttpError::Status { .. }) => client.get(oauth).await,
            result => result,
        };
        let document = fetched.and_then(|answer| answer.json_object(openid))?;
        let url = self.endpoint(&document.body).map_err(|error| {
            QueryError::unusable(format!("the discovery document of {openid}: {error}"))
        })?;
        let found = Some((url.clone(), Instant::now()));
        *self.found.lock().unwrap_or_else(PoisonError::into_inner) = found;
        Ok(url)
    }

    /// The endpoint in a discovery document.
    fn endpoint(&self, document: &[u8]) -> Result<HttpUrl, String> {
        let document = parse_strict(document, MAX_DEPTH).map_err(|error| error.to_string())?;
        let text = |name: &str| document.get(name).and_then(Value::as_str).unwrap_or_default();
        if text("issuer") != self.issuer {
            return Err(
                "it is for another issuer: copy `issuer` exactly as it stands there".to_owned()
            );
        }
        // As secure as the issuer itself, whose plain text the configuration allowed.
        let [origin, _] = &self.documents;
        let url = HttpUrl::parse(text("introspection_endpoint"), !origin.is_https())
            .map_err(|error| format!("the `introspection_endpoint`: {error}"))?;
        match url.has_origin_of(origin) || self.hosts.iter().any(|host| host.serves(&url)) {
            true => Ok(url),
            false => Err(format!(
                "the `introspection_endpoint` is on the host `{}`: add it to `hosts` if that is right",
                url.authority()
            )),
        }
    }
}

/// The addresses of the documents that may name the endpoint.
fn documents(
    table: &Table<'_>,
    issuer: &str,
    transport: Option<&Transport>,
) -> Option<[HttpUrl; 2]> {
    if issuer.contains(['?', '#']) {
        table.fault("issuer", format!("`{}` has a query or a fragment", sanitize_url(issuer)));
        return None;
    }
    let base = parse(table, "issuer", issuer, transport)?;
    let openid = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
    let oauth = oauth_document(&base, issuer);
    Some([parse(table, "issuer", &openid, transport)?, parse(table, "issuer", &oauth, transport)?])
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
