//! The HTTP client of all authenticators: it verifies TLS, follows no redirects, and bounds answers.
//!
//! It requests URLs from the configuration, or URLs that a configured document names and the
//! configuration allows, but never one from a token. Proxy variables in the environment are ignored:
//! only the configuration decides where keys come from.

use std::{fmt, time::Duration};

use callgate::secret::Secret;
use reqwest::{Certificate, Method, StatusCode, header};
use rustls::ClientConfig;

use callgate::sanitize::excerpt_up_to;

use crate::backend::{QueryError, Transport};
use crate::network::{REQUEST_TIMEOUT, connection_cause, install_tls_provider};

mod url;

pub(crate) use url::sanitize_url;
pub use url::{HttpUrl, UrlError};

/// Maximum size of an answer, in bytes.
pub const MAX_BODY: usize = 1024 * 1024;

const USER_AGENT: &str = concat!("callgate/", env!("CARGO_PKG_VERSION"));

/// Shorter than the five seconds after which Node.js closes an idle connection: a question that is
/// sent just then would be lost.
const IDLE_TIMEOUT: Duration = Duration::from_secs(4);

/// The settings of an [`HttpClient`].
#[derive(Debug, Clone)]
pub struct HttpSettings {
    /// The only certificate authorities to trust, as PEM; `None` for the system's.
    pub ca: Option<Vec<u8>>,
    /// Whether plain http is accepted. If so, a system without certificate authorities is not an
    /// error.
    pub insecure_http: bool,
    /// How long connecting may take, including the TLS handshake.
    pub connect_timeout: Duration,
    /// How long a request may take, from connecting to the last byte of the answer.
    pub timeout: Duration,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            ca: None,
            insecure_http: false,
            connect_timeout: Duration::from_secs(5),
            timeout: REQUEST_TIMEOUT,
        }
    }
}

/// Why a client cannot be created.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// Not PEM, or without certificates.
    #[error("the `ca` is not a PEM file with certificates")]
    Ca,
    /// The system has no certificate authorities, or the library fails.
    #[error(
        "TLS cannot be set up: {0}: install the system's CA certificates (`ca-certificates`) or set `ca`"
    )]
    Tls(String),
}

/// Why there is no usable answer. One line, without secrets.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// There is no connection, so nothing was sent.
    #[error("no connection to {url}: {reason}")]
    Unreachable {
        /// The requested URL.
        url: HttpUrl,
        /// The cause.
        reason: String,
    },
    /// The server did not answer in time, or did not speak HTTP.
    #[error("the request to {url} failed: {reason}")]
    Failed {
        /// The requested URL.
        url: HttpUrl,
        /// The cause.
        reason: String,
    },
    /// The answer is a redirect.
    #[error("{url} answered {status}: redirects are not followed, configure the final URL")]
    Redirect {
        /// The requested URL.
        url: HttpUrl,
        /// The status.
        status: StatusCode,
    },
    /// The answer has another status than success.
    #[error("{url} answered {status}")]
    Status {
        /// The requested URL.
        url: HttpUrl,
        /// The status.
        status: StatusCode,
    },
    /// The answer is something else than a JSON object, such as a login page.
    #[error("the answer of {url} is not a JSON object: {content}")]
    NotJson {
        /// The requested URL.
        url: HttpUrl,
        /// What it is: content type and first bytes, escaped.
        content: String,
    },
    /// The answer is too long.
    #[error("the answer of {url} is longer than {MAX_BODY} bytes")]
    TooLong {
        /// The requested URL.
        url: HttpUrl,
    },
}

impl From<HttpError> for QueryError {
    fn from(error: HttpError) -> Self {
        match error {
            HttpError::Unreachable { .. } | HttpError::Failed { .. } => Self::unreachable(error),
            HttpError::Redirect { .. }
            | HttpError::Status { .. }
            | HttpError::NotJson { .. }
            | HttpError::TooLong { .. } => Self::unusable(error),
        }
    }
}

/// What a body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ContentType {
    Json,
    Form,
}

impl ContentType {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Form => "application/x-www-form-urlencoded",
        }
    }
}

/// A successful answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The whole body, at most [`MAX_BODY`].
    pub body: Vec<u8>,
    /// `max-age` of `Cache-Control`; zero if that forbids storing.
    pub max_age: Option<Duration>,
    /// Content type and encoding.
    pub content_type: String,
}

/// How much of an answer a message shows, in bytes.
const MAX_SHOWN: usize = 40;

impl Answer {
    /// The body, if it begins like a JSON object. For public documents only: the error shows the first
    /// bytes of others.
    ///
    /// # Errors
    /// [`HttpError::NotJson`].
    pub fn json_object(self, url: &HttpUrl) -> Result<Self, HttpError> {
        let begin = self.body.trim_ascii_start();
        if begin.starts_with(b"{") {
            return Ok(self);
        }
        let shown = begin.get(..MAX_SHOWN).unwrap_or(begin);
        let more = if shown.len() < begin.len() { "…" } else { "" };
        let content = match shown.is_empty() {
            true => "it is empty".to_owned(),
            false => {
                let content_type = &self.content_type;
                format!("{content_type}, it begins with `{}{more}`", shown.escape_ascii())
            }
        };
        Err(HttpError::NotJson { url: url.clone(), content })
    }
}

/// An HTTP client. Clones share its connections.
#[derive(Clone)]
pub struct HttpClient {
    client: reqwest::Client,
}

impl HttpClient {
    /// Creates a client.
    ///
    /// # Errors
    /// If the `ca` is malformed, or there are no certificate authorities to trust.
    pub fn new(settings: &HttpSettings) -> Result<Self, ClientError> {
        install_tls_provider();
        let builder = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .no_proxy()
            .https_only(!settings.insecure_http)
            .connect_timeout(settings.connect_timeout)
            .timeout(settings.timeout)
            .user_agent(USER_AGENT);
        let client = match &settings.ca {
            Some(pem) => builder.tls_certs_only(certificates(pem)?).build(),
            None if settings.insecure_http && !system_has_authorities() => {
                builder.tls_certs_only([]).build()
            }
            None => builder.build(),
        };
        Ok(Self { client: client.map_err(|error| ClientError::Tls(reason(&error)))? })
    }

    /// A client for a backend. Nothing is sent twice, and at most `transport.connections` connections
    /// are kept open. Time is limited by the caller. `tls` is `None` if no URL needs it.
    ///
    /// # Errors
    /// If the library does not accept the TLS configuration.
    pub(crate) fn for_backend(
        transport: &Transport,
        tls: Option<&ClientConfig>,
    ) -> Result<Self, ClientError> {
        install_tls_provider();
        let builder = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .no_proxy()
            .https_only(false)
            .connect_timeout(transport.connect_timeout)
            .pool_max_idle_per_host(transport.connections)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .user_agent(USER_AGENT);
        let client = match tls {
            Some(config) => {
                let mut config = config.clone();
                config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
                builder.tls_backend_preconfigured(config).build()
            }
            None => builder.tls_certs_only([]).build(),
        };
        Ok(Self { client: client.map_err(|error| ClientError::Tls(reason(&error)))? })
    }

    /// Posts JSON or a form to a backend, once. Returns the status, and the body if the status is 200.
    ///
    /// # Errors
    /// If there is no connection or no answer, or if the answer is too long or not a JSON object. The error
    /// does not quote the answer, which may repeat a credential.
    pub(crate) async fn post(
        &self,
        url: &HttpUrl,
        headers: header::HeaderMap,
        content: ContentType,
        body: Vec<u8>,
    ) -> Result<(StatusCode, Vec<u8>), HttpError> {
        let request = self.client.post(url.as_str()).headers(headers);
        let request = request
            .header(header::ACCEPT, "application/json")
            .header(header::CONTENT_TYPE, content.as_str());
        let response = request.body(body).send().await.map_err(|error| failure(url, &error))?;
        let status = response.status();
        if status != StatusCode::OK {
            return Ok((status, Vec::new()));
        }
        let content_type = content_type(response.headers());
        let body = read_body(url, response).await?;
        match body.trim_ascii_start().starts_with(b"{") {
            true => Ok((status, body)),
            false => {
                let content = format!("{content_type}, {} bytes", body.len());
                Err(HttpError::NotJson { url: url.clone(), content })
            }
        }
    }

    /// Fetches a document.
    ///
    /// # Errors
    /// If there is no answer in time, or it is too long, or its status is neither 200 nor 201.
    pub async fn get(&self, url: &HttpUrl) -> Result<Answer, HttpError> {
        self.send(Method::GET, url, None, None).await
    }

    /// Fetches a document with a bearer token.
    ///
    /// # Errors
    /// As for [`HttpClient::get`].
    pub async fn get_with_token(
        &self,
        url: &HttpUrl,
        bearer: &Secret,
    ) -> Result<Answer, HttpError> {
        self.send(Method::GET, url, Some(bearer), None).await
    }

    /// Posts a JSON document, with a bearer token if there is one.
    ///
    /// # Errors
    /// As for [`HttpClient::get`].
    pub async fn post_json(
        &self,
        url: &HttpUrl,
        bearer: Option<&Secret>,
        json: Vec<u8>,
    ) -> Result<Answer, HttpError> {
        self.send(Method::POST, url, bearer, Some(json)).await
    }

    async fn send(
        &self,
        method: Method,
        url: &HttpUrl,
        bearer: Option<&Secret>,
        json: Option<Vec<u8>>,
    ) -> Result<Answer, HttpError> {
        let mut request = self.client.request(method, url.as_str());
        request = request.header(header::ACCEPT, "application/json");
        if let Some(bearer) = bearer {
            request = request.bearer_auth(bearer.expose());
        }
        if let Some(json) = json {
            request = request.header(header::CONTENT_TYPE, "application/json").body(json);
        }
        let response = request.send().await.map_err(|error| failure(url, &error))?;
        check_status(url, response.status())?;
        let max_age = max_age(response.headers());
        let content_type = content_type(response.headers());
        let body = read_body(url, response).await?;
        Ok(Answer { body, max_age, content_type })
    }
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HttpClient")
    }
}

fn check_status(url: &HttpUrl, status: StatusCode) -> Result<(), HttpError> {
    let url = || url.clone();
    match status {
        StatusCode::OK | StatusCode::CREATED => Ok(()),
        status if status.is_redirection() => Err(HttpError::Redirect { url: url(), status }),
        status => Err(HttpError::Status { url: url(), status }),
    }
}

/// Reads the body in chunks, so that a server cannot exhaust memory.
async fn read_body(url: &HttpUrl, mut response: reqwest::Response) -> Result<Vec<u8>, HttpError> {
    let mut body = Vec::new();
    let failed = |error| HttpError::Failed { url: url.clone(), reason: reason(&error) };
    let too_long = || HttpError::TooLong { url: url.clone() };
    if response.content_length().is_some_and(|length| length > MAX_BODY as u64) {
        return Err(too_long());
    }
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        if body.len() + chunk.len() > MAX_BODY {
            return Err(too_long());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn failure(url: &HttpUrl, error: &reqwest::Error) -> HttpError {
    let url = url.clone();
    match error.is_connect() {
        true if error.is_timeout() => {
            HttpError::Unreachable { url, reason: "no connection in time".to_owned() }
        }
        true => HttpError::Unreachable { url, reason: reason(error) },
        false => HttpError::Failed { url, reason: reason(error) },
    }
}

/// The cause in one line, without the URL, which the caller adds.
fn reason(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".to_owned();
    }
    let cause = connection_cause(error);
    cause
        .unwrap_or_else(|| "the server closed the connection, or its answer is not HTTP".to_owned())
}

fn certificates(pem: &[u8]) -> Result<Vec<Certificate>, ClientError> {
    let certificates = Certificate::from_pem_bundle(pem).map_err(|_| ClientError::Ca)?;
    match certificates.is_empty() {
        true => Err(ClientError::Ca),
        false => Ok(certificates),
    }
}

/// True if the system has certificate authorities; minimal containers have none.
fn system_has_authorities() -> bool {
    reqwest::Client::builder().no_proxy().build().is_ok()
}

/// Such as "content type `text/html`, content encoding `gzip`".
fn content_type(headers: &header::HeaderMap) -> String {
    let shown = |name: &str, key: &header::HeaderName| {
        let value = headers.get(key)?;
        Some(format!("{name} `{}`", excerpt_up_to(&String::from_utf8_lossy(value.as_bytes()), 100)))
    };
    let content_type = shown("content type", &header::CONTENT_TYPE);
    let content_type = content_type.unwrap_or_else(|| "no content type".to_owned());
    match shown("content encoding", &header::CONTENT_ENCODING) {
        Some(encoding) => format!("{content_type}, {encoding}"),
        None => content_type,
    }
}

fn max_age(headers: &header::HeaderMap) -> Option<Duration> {
    let text = headers.get(header::CACHE_CONTROL)?.to_str().ok()?.to_ascii_lowercase();
    let mut directives = text.split(',').map(str::trim);
    if directives.clone().any(|one| one == "no-store" || one == "no-cache") {
        return Some(Duration::ZERO);
    }
    let seconds = directives.find_map(|one| one.strip_prefix("max-age="))?;
    seconds.trim_matches('"').parse().ok().map(Duration::from_secs)
}

/// The value of a header that logs never show; characters that a header cannot have are an error of the
/// key.
#[cfg(any(feature = "http", feature = "introspection"))]
pub(crate) fn secret_header(
    table: &callgate_config::Table<'_>,
    key: &str,
    text: &str,
) -> Option<header::HeaderValue> {
    let Ok(mut value) = header::HeaderValue::from_str(text) else {
        table.fault(key, "contains characters that a header cannot have");
        return None;
    };
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests;
