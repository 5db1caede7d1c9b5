//! OpenID Connect Discovery: the issuer's metadata names the address of its keys.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use callgate::json::{JsonError, parse_strict};
use futures_util::future::BoxFuture;
use serde_json::Value;
use tokio::time::Instant;

use super::{
    KeyHost,
    source::{Fetched, KeySource, KeySourceError},
};
use callgate::sanitize::excerpt_up_to;

use crate::http_client::{HttpClient, HttpUrl, UrlError, sanitize_url};

const MAX_DEPTH: usize = 16;
/// How long the address of the keys is used before the document is fetched again.
const MAX_DOCUMENT_AGE: Duration = Duration::from_secs(3600);

/// Why a discovery document is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum DiscoveryError {
    /// Not strict JSON.
    #[error("the discovery document {0} is not valid JSON: {1}")]
    Json(HttpUrl, JsonError),
    /// The document is about another issuer.
    #[error(
        "the discovery document {url} is for the issuer `{found}`, not for `{wanted}`: copy \
         `issuer` exactly as it stands there"
    )]
    OtherIssuer {
        /// The document.
        url: HttpUrl,
        /// The issuer in the document.
        found: String,
        /// The configured issuer.
        wanted: String,
    },
    /// The document names no address.
    #[error("the discovery document {0} has no text `jwks_uri`")]
    NoKeys(HttpUrl),
    /// The address is not allowed.
    #[error("the `jwks_uri` in {0}: {1}")]
    Url(HttpUrl, UrlError),
    /// The address is on a host that is not allowed.
    #[error(
        "the `jwks_uri` in {0} is on the host `{1}`: add it to `jwks_hosts` if it serves the issuer's keys"
    )]
    OtherHost(HttpUrl, String),
}

/// The issuer to discover, and where its keys may be.
#[derive(Debug, Clone)]
pub struct Discovery {
    /// The issuer, exactly.
    pub issuer: String,
    /// Hosts that may serve the keys, besides the issuer's own origin.
    pub extra_hosts: Vec<KeyHost>,
    /// Whether plain http is accepted.
    pub insecure_http: bool,
}

impl Discovery {
    /// The URL of the document: `<issuer>/.well-known/openid-configuration` (OpenID Connect
    /// Discovery 1.0 section 4.1, which first removes a slash at the issuer's end).
    ///
    /// # Errors
    /// If the issuer is not an allowed URL, or has a query or a fragment.
    pub fn document_url(&self) -> Result<HttpUrl, UrlError> {
        if self.issuer.contains(['?', '#']) {
            return Err(UrlError::NotAnIssuer(sanitize_url(&self.issuer)));
        }
        let base = self.issuer.strip_suffix('/').unwrap_or(&self.issuer);
        HttpUrl::parse(&format!("{base}/.well-known/openid-configuration"), self.insecure_http)
    }

    /// The URL of the keys in a document.
    ///
    /// # Errors
    /// If the document is not about this issuer, or names an address that is not allowed.
    pub fn keys_url(&self, url: &HttpUrl, document: &[u8]) -> Result<HttpUrl, DiscoveryError> {
        let document = parse_strict(document, MAX_DEPTH)
            .map_err(|error| DiscoveryError::Json(url.clone(), error))?;
        let found = document.get("issuer").and_then(Value::as_str).unwrap_or_default();
        if found != self.issuer {
            return Err(DiscoveryError::OtherIssuer {
                url: url.clone(),
                found: excerpt_up_to(found, 200),
                wanted: self.issuer.clone(),
            });
        }
        let keys = document.get("jwks_uri").and_then(Value::as_str);
        let keys = keys.ok_or_else(|| DiscoveryError::NoKeys(url.clone()))?;
        let keys = HttpUrl::parse(keys, self.insecure_http)
            .map_err(|error| DiscoveryError::Url(url.clone(), error))?;
        if keys.has_origin_of(url) || self.extra_hosts.iter().any(|host| host.serves(&keys)) {
            return Ok(keys);
        }
        Err(DiscoveryError::OtherHost(url.clone(), keys.authority()))
    }
}

/// The key set that an issuer's discovery document points to.
#[derive(Debug)]
pub struct DiscoverySource {
    client: HttpClient,
    discovery: Discovery,
    document: HttpUrl,
    keys: Mutex<Option<(HttpUrl, Instant)>>,
}

impl DiscoverySource {
    /// Creates the source without fetching anything.
    ///
    /// # Errors
    /// As [`Discovery::document_url`].
    pub fn new(client: HttpClient, discovery: Discovery) -> Result<Self, UrlError> {
        let document = discovery.document_url()?;
        Ok(Self { client, discovery, document, keys: Mutex::default() })
    }

    async fn keys_url(&self) -> Result<(HttpUrl, Instant), KeySourceError> {
        let known = self.keys.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(known) = known.filter(|(_, since)| since.elapsed() < MAX_DOCUMENT_AGE) {
            return Ok(known);
        }
        let since = Instant::now();
        let document = self.client.get(&self.document).await?.json_object(&self.document)?;
        Ok((self.discovery.keys_url(&self.document, &document.body)?, since))
    }
}

impl KeySource for DiscoverySource {
    fn fetch(&self) -> BoxFuture<'_, Result<Fetched, KeySourceError>> {
        Box::pin(async {
            let (url, since) = self.keys_url().await?;
            let answer = self.client.get(&url).await?.json_object(&url)?;
            // Kept only after a success, so that the fetch after a failure reads the document again.
            *self.keys.lock().unwrap_or_else(PoisonError::into_inner) = Some((url, since));
            Ok(Fetched { body: answer.body, max_age: answer.max_age })
        })
    }

    fn describe(&self) -> String {
        format!("the keys of {}", self.document)
    }
}
