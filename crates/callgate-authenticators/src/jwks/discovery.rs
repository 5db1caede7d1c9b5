//! OpenID Connect Discovery: the issuer says where its keys are, and is believed only about itself.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use callgate::json::{JsonError, parse_strict};
use futures_util::future::BoxFuture;
use serde_json::Value;
use tokio::time::Instant;

use super::{
    KeyHost,
    source::{BoxSourceError, Fetched, KeySource},
};
use crate::http_client::{HttpClient, HttpUrl, UrlError, shown};

const MAX_DEPTH: usize = 16;
/// How long the address of the keys is believed before the document is asked again.
const BELIEVED_FOR: Duration = Duration::from_secs(3600);

/// Why a discovery document is not believed.
#[derive(Debug, thiserror::Error)]
pub enum DiscoveryError {
    /// Not strict JSON.
    #[error("the discovery document {0} is not JSON as it should be: {1}")]
    Json(HttpUrl, JsonError),
    /// It speaks for somebody else.
    #[error(
        "the discovery document {url} is for the issuer `{found}`, not for `{wanted}`: write \
         `issuer` exactly as it stands there"
    )]
    OtherIssuer {
        /// The document.
        url: HttpUrl,
        /// What it says.
        found: String,
        /// What is configured.
        wanted: String,
    },
    /// No address in it.
    #[error("the discovery document {0} has no text `jwks_uri`")]
    NoKeys(HttpUrl),
    /// An address that is not taken.
    #[error("the `jwks_uri` in {0}: {1}")]
    Url(HttpUrl, UrlError),
    /// An address somewhere else.
    #[error(
        "the `jwks_uri` in {0} is on the host `{1}`: list it in `jwks_hosts` if it belongs there"
    )]
    OtherHost(HttpUrl, String),
}

/// What to discover, and how far to believe it.
#[derive(Debug, Clone)]
pub struct Discovery {
    /// The issuer, exactly.
    pub issuer: String,
    /// Hosts other than the issuer's that may serve its keys.
    pub extra_hosts: Vec<KeyHost>,
    /// Whether plain http is accepted.
    pub insecure_http: bool,
}

impl Discovery {
    /// Where the document is: `<issuer>/.well-known/openid-configuration` (OpenID Connect
    /// Discovery 1.0 section 4.1, which removes a slash at the issuer's end first).
    ///
    /// # Errors
    /// If the issuer is no URL that may be fetched, or has more than a path.
    pub fn document_url(&self) -> Result<HttpUrl, UrlError> {
        if self.issuer.contains(['?', '#']) {
            return Err(UrlError::NoIssuer(shown(&self.issuer)));
        }
        let base = self.issuer.strip_suffix('/').unwrap_or(&self.issuer);
        HttpUrl::parse(&format!("{base}/.well-known/openid-configuration"), self.insecure_http)
    }

    /// Where the keys are, by this document.
    ///
    /// # Errors
    /// If it is not a document about this issuer, or names a place that is not allowed.
    pub fn keys_url(&self, url: &HttpUrl, document: &[u8]) -> Result<HttpUrl, DiscoveryError> {
        let document = parse_strict(document, MAX_DEPTH)
            .map_err(|error| DiscoveryError::Json(url.clone(), error))?;
        let found = document.get("issuer").and_then(Value::as_str).unwrap_or_default();
        if found != self.issuer {
            let found = super::set::printable(found);
            let wanted = self.issuer.clone();
            return Err(DiscoveryError::OtherIssuer { url: url.clone(), found, wanted });
        }
        let keys = document.get("jwks_uri").and_then(Value::as_str);
        let keys = keys.ok_or_else(|| DiscoveryError::NoKeys(url.clone()))?;
        let keys = HttpUrl::parse(keys, self.insecure_http)
            .map_err(|error| DiscoveryError::Url(url.clone(), error))?;
        if keys.host() == url.host() || self.extra_hosts.iter().any(|host| host.serves(&keys)) {
            return Ok(keys);
        }
        // One that is listed with another port: this one is missing.
        let port = keys.port().filter(|_| self.extra_hosts.iter().any(|one| one.is_host_of(&keys)));
        let host = match port {
            Some(port) => format!("{}:{port}", keys.host()),
            None => keys.host().to_owned(),
        };
        Err(DiscoveryError::OtherHost(url.clone(), host))
    }
}

/// A key set that an issuer's discovery document points to.
#[derive(Debug)]
pub struct DiscoverySource {
    client: Arc<HttpClient>,
    discovery: Discovery,
    document: HttpUrl,
    keys: Mutex<Option<(HttpUrl, Instant)>>,
}

impl DiscoverySource {
    /// Discovers the keys of an issuer.
    ///
    /// # Errors
    /// If the issuer is no URL that may be fetched.
    pub fn new(client: Arc<HttpClient>, discovery: Discovery) -> Result<Self, UrlError> {
        let document = discovery.document_url()?;
        Ok(Self { client, discovery, document, keys: Mutex::default() })
    }

    async fn keys_url(&self) -> Result<(HttpUrl, Instant), BoxSourceError> {
        let known = self.keys.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(known) = known.filter(|(_, since)| since.elapsed() < BELIEVED_FOR) {
            return Ok(known);
        }
        let asked = Instant::now();
        let document = self.client.get(&self.document).await?;
        Ok((self.discovery.keys_url(&self.document, &document.body)?, asked))
    }

    // Kept only after a success: when a fetch fails, the next one asks the document again.
    fn remember(&self, url: HttpUrl, since: Instant) {
        *self.keys.lock().unwrap_or_else(PoisonError::into_inner) = Some((url, since));
    }
}

impl KeySource for DiscoverySource {
    fn fetch(&self) -> BoxFuture<'_, Result<Fetched, BoxSourceError>> {
        Box::pin(async {
            let (url, asked) = self.keys_url().await?;
            let answer = self.client.get(&url).await?;
            self.remember(url, asked);
            Ok(Fetched { body: answer.body, max_age: answer.max_age })
        })
    }

    fn describe(&self) -> String {
        format!("the keys of {}", self.document)
    }
}
