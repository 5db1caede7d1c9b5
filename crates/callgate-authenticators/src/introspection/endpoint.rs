//! The introspection endpoint: where it is, and how Callgate proves who it is.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use callgate::{authn::BackendError, json::parse_strict, secret::Secret};
use data_encoding::BASE64;
use reqwest::{
    Url,
    header::{AUTHORIZATION, HeaderMap, HeaderValue},
};
use serde_json::Value;
use tokio::time::Instant;

use crate::{
    backend::{QueryError, connect},
    http_client::{HttpClient, HttpError, HttpUrl},
    jwks::KeyHost,
};

const MAX_DEPTH: usize = 16;
/// How long a discovered address is used before the document is fetched again.
const MAX_DOCUMENT_AGE: Duration = Duration::from_secs(3600);

/// An authorization server.
pub(super) struct Server {
    pub(super) client: HttpClient,
    pub(super) location: Location,
    pub(super) login: Login,
    pub(super) tls: Option<Arc<rustls::ClientConfig>>,
    pub(super) connect_timeout: Duration,
}

/// Where the endpoint is.
pub(super) enum Location {
    Url(HttpUrl),
    Discovery {
        issuer: String,
        /// OpenID Connect Discovery, then RFC 8414.
        documents: [HttpUrl; 2],
        /// Hosts that may serve the endpoint, besides the issuer's own origin.
        hosts: Vec<KeyHost>,
        found: Mutex<Option<(HttpUrl, Instant)>>,
    },
}

/// Callgate's own credentials.
pub(super) enum Login {
    /// Only the client certificate.
    Certificate,
    Bearer(HeaderValue),
    /// In the header (RFC 6749 section 2.3.1).
    Basic(HeaderValue),
    /// In the form.
    Form {
        id: String,
        secret: Secret,
    },
}

impl Login {
    /// The header of a client; both parts are form-encoded first.
    pub(super) fn basic(id: &str, secret: &Secret) -> Option<Self> {
        let encoded = |text: &str| form(&[("", text)]).trim_start_matches('=').to_owned();
        let pair = format!("{}:{}", encoded(id), encoded(secret.expose()));
        let value = HeaderValue::from_str(&format!("Basic {}", BASE64.encode(pair.as_bytes())));
        let mut value = value.ok()?;
        value.set_sensitive(true);
        Some(Self::Basic(value))
    }
}

impl Server {
    /// A name for logs.
    pub(super) fn target(&self) -> String {
        match &self.location {
            Location::Url(url) => url.to_string(),
            Location::Discovery { documents: [document, _], .. } => document.to_string(),
        }
    }

    /// Finds the endpoint and connects to it.
    pub(super) async fn reach(&self) -> Result<(), BackendError> {
        let url = self.url().await?;
        let tls = self.tls.as_ref().filter(|_| url.is_https());
        let port = url.port().unwrap_or_default();
        Ok(connect(url.host(), port, tls, self.connect_timeout).await?)
    }

    /// The headers and the form of a question about `token`.
    pub(super) fn question(&self, token: &Secret) -> (HeaderMap, Vec<u8>) {
        let mut headers = HeaderMap::new();
        let mut fields = vec![("token", token.expose()), ("token_type_hint", "access_token")];
        match &self.login {
            Login::Certificate => {}
            Login::Bearer(value) | Login::Basic(value) => {
                headers.insert(AUTHORIZATION, value.clone());
            }
            Login::Form { id, secret } => {
                fields.extend([("client_id", id.as_str()), ("client_secret", secret.expose())]);
            }
        }
        (headers, form(&fields).into_bytes())
    }

    /// The address of the endpoint.
    ///
    /// # Errors
    /// If it is discovered, and there is no document, or it is not about this issuer.
    pub(super) async fn url(&self) -> Result<HttpUrl, QueryError> {
        let (issuer, documents, hosts, found) = match &self.location {
            Location::Url(url) => return Ok(url.clone()),
            Location::Discovery { issuer, documents, hosts, found } => {
                (issuer, documents, hosts, found)
            }
        };
        let known = found.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((url, _)) = known.filter(|(_, since)| since.elapsed() < MAX_DOCUMENT_AGE) {
            return Ok(url);
        }
        let [openid, oauth] = documents;
        let fetched = match self.client.get(openid).await {
            Err(HttpError::Status { .. }) => self.client.get(oauth).await,
            result => result,
        };
        let document = fetched.and_then(|answer| answer.json_object(openid))?;
        let url = endpoint(&document.body, issuer, openid, hosts).map_err(|error| {
            QueryError::unusable(format!("the discovery document of {openid}: {error}"))
        })?;
        *found.lock().unwrap_or_else(PoisonError::into_inner) = Some((url.clone(), Instant::now()));
        Ok(url)
    }
}

/// The endpoint in a discovery document.
fn endpoint(
    document: &[u8],
    issuer: &str,
    origin: &HttpUrl,
    hosts: &[KeyHost],
) -> Result<HttpUrl, String> {
    let document = parse_strict(document, MAX_DEPTH).map_err(|error| error.to_string())?;
    let text = |name: &str| document.get(name).and_then(Value::as_str).unwrap_or_default();
    if text("issuer") != issuer {
        return Err("it is for another issuer: copy `issuer` exactly as it stands there".to_owned());
    }
    // As secure as the issuer itself, whose plain text the configuration allowed.
    let url = HttpUrl::parse(text("introspection_endpoint"), !origin.is_https())
        .map_err(|error| format!("the `introspection_endpoint`: {error}"))?;
    match url.has_origin_of(origin) || hosts.iter().any(|host| host.serves(&url)) {
        true => Ok(url),
        false => Err(format!(
            "the `introspection_endpoint` is on the host `{}`: add it to `hosts` if that is right",
            url.authority()
        )),
    }
}

/// Encodes fields as `application/x-www-form-urlencoded`.
fn form(fields: &[(&str, &str)]) -> String {
    // The `url` crate encodes forms only as the query of a URL.
    let Ok(mut url) = Url::parse("form:") else { return String::new() };
    url.query_pairs_mut().extend_pairs(fields);
    url.query().unwrap_or_default().to_owned()
}
