//! The one HTTP client: it verifies TLS, follows no redirects, and reads no more than it must.
//!
//! It asks addresses from the configuration, or addresses that such a place named and the
//! configuration allows; never one from a token. Proxy variables of the environment are ignored:
//! where keys come from is decided by the configuration alone.

use std::{fmt, time::Duration};

use callgate::secret::Secret;
use reqwest::{Certificate, Method, StatusCode, header};

mod url;

pub(crate) use url::shown;
pub use url::{HttpUrl, UrlError};

/// Longest answer that is read, in bytes.
pub const MAX_BODY: usize = 1024 * 1024;

/// How a client is made.
#[derive(Debug, Clone)]
pub struct HttpSettings {
    /// PEM texts of the only authorities that are trusted; `None` trusts the system's.
    pub ca: Option<Vec<u8>>,
    /// Whether plain http is accepted. With it, and without `ca`, a system without authorities is
    /// no error.
    pub insecure_http: bool,
    /// How long connecting may take, with the TLS handshake.
    pub connect_timeout: Duration,
    /// How long one answer may take, from the first step to its last byte.
    pub timeout: Duration,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            ca: None,
            insecure_http: false,
            connect_timeout: Duration::from_secs(5),
            timeout: Duration::from_secs(10),
        }
    }
}

/// Why a client cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// Not PEM, or without a certificate.
    #[error("the `ca` is no PEM text with certificates")]
    Ca,
    /// The system trusts nobody, or the library fails.
    #[error(
        "TLS cannot be set up: {0}: install the system's CA certificates (`ca-certificates`) or set `ca`"
    )]
    Tls(String),
}

/// Why there is no answer. One line, without secrets.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The server was not reached, or not in time, or spoke nonsense.
    #[error("asking {url} failed: {reason}")]
    Failed {
        /// Who was asked.
        url: HttpUrl,
        /// What happened.
        reason: String,
    },
    /// The answer points elsewhere.
    #[error("{url} answered {status}: redirects are not followed, configure the final address")]
    Redirect {
        /// Who was asked.
        url: HttpUrl,
        /// The status.
        status: StatusCode,
    },
    /// The answer is a refusal.
    #[error("{url} answered {status}")]
    Status {
        /// Who was asked.
        url: HttpUrl,
        /// The status.
        status: StatusCode,
    },
    /// The answer does not end.
    #[error("the answer of {url} is longer than {MAX_BODY} bytes")]
    TooLong {
        /// Who was asked.
        url: HttpUrl,
    },
}

/// A good answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// All of it, at most [`MAX_BODY`].
    pub body: Vec<u8>,
    /// `max-age` of `Cache-Control`, if it says so and does not forbid storing.
    pub max_age: Option<Duration>,
}

/// Asks over HTTP. Cheap to clone; connections are shared.
#[derive(Clone)]
pub struct HttpClient {
    client: reqwest::Client,
}

impl HttpClient {
    /// Makes a client.
    ///
    /// # Errors
    /// If the `ca` cannot be read, or there is no authority to trust.
    pub fn new(settings: &HttpSettings) -> Result<Self, ClientError> {
        // reqwest takes the process's provider; if there is none yet, it is ours.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let builder = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .no_proxy()
            .https_only(!settings.insecure_http)
            .connect_timeout(settings.connect_timeout)
            .timeout(settings.timeout)
            .user_agent(concat!("callgate/", env!("CARGO_PKG_VERSION")));
        let client = match &settings.ca {
            Some(pem) => builder.tls_certs_only(certificates(pem)?).build(),
            None if settings.insecure_http && !system_has_authorities() => {
                builder.tls_certs_only([]).build()
            }
            None => builder.build(),
        };
        Ok(Self { client: client.map_err(|error| ClientError::Tls(reason(&error)))? })
    }

    /// Gets a document.
    ///
    /// # Errors
    /// If there is no answer in time, or one other than 200, or one that is too long.
    pub async fn get(&self, url: &HttpUrl) -> Result<Answer, HttpError> {
        self.send(Method::GET, url, None, None).await
    }

    /// Gets a document, showing a bearer token.
    ///
    /// # Errors
    /// As for [`HttpClient::get`].
    pub async fn get_as(&self, url: &HttpUrl, bearer: &Secret) -> Result<Answer, HttpError> {
        self.send(Method::GET, url, Some(bearer), None).await
    }

    /// Posts a JSON document, showing a bearer token if there is one.
    ///
    /// # Errors
    /// As for [`HttpClient::get`]; 201 is a good answer too.
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
        let failed = |error| HttpError::Failed { url: url.clone(), reason: reason(&error) };
        let mut request = self.client.request(method, url.as_str());
        request = request.header(header::ACCEPT, "application/json");
        if let Some(bearer) = bearer {
            request = request.bearer_auth(bearer.expose());
        }
        if let Some(json) = json {
            request = request.header(header::CONTENT_TYPE, "application/json").body(json);
        }
        let response = request.send().await.map_err(failed)?;
        check_status(url, response.status())?;
        let max_age = max_age(response.headers());
        let body = read(url, response).await?;
        Ok(Answer { body, max_age })
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

/// Reads piece by piece, so that a server cannot fill our memory.
async fn read(url: &HttpUrl, mut response: reqwest::Response) -> Result<Vec<u8>, HttpError> {
    let mut body = Vec::new();
    let failed = |error| HttpError::Failed { url: url.clone(), reason: reason(&error) };
    let too_long = || HttpError::TooLong { url: url.clone() };
    if response.content_length().is_some_and(|length| length > MAX_BODY as u64) {
        return Err(too_long());
    }
    while let Some(piece) = response.chunk().await.map_err(failed)? {
        if body.len() + piece.len() > MAX_BODY {
            return Err(too_long());
        }
        body.extend_from_slice(&piece);
    }
    Ok(body)
}

/// What happened, down to its cause, in one line and without the URL, which the caller adds.
fn reason(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".to_owned();
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    let text = cause.to_string();
    text.lines().next().unwrap_or_default().chars().take(200).collect()
}

fn certificates(pem: &[u8]) -> Result<Vec<Certificate>, ClientError> {
    let certificates = Certificate::from_pem_bundle(pem).map_err(|_| ClientError::Ca)?;
    match certificates.is_empty() {
        true => Err(ClientError::Ca),
        false => Ok(certificates),
    }
}

/// True if TLS can be set up with the system's own authorities: a small container has none.
fn system_has_authorities() -> bool {
    reqwest::Client::builder().no_proxy().build().is_ok()
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

#[cfg(test)]
mod tests;
