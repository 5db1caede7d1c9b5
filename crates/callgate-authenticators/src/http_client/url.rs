//! A URL that may be requested.

use std::{fmt, sync::Arc};

use reqwest::Url;

use callgate::sanitize::excerpt_up_to;

use crate::backend::is_loopback;

/// An `https` URL (or `http`, if explicitly allowed) with a host and without a user.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpUrl(Arc<Url>);

/// Why a URL is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Not a URL.
    #[error("`{0}` is not a URL: write `https://host/path`")]
    Form(String),
    /// Anyone on the network path could replace the answer.
    #[error("`{0}` is not https: plain http requires `insecure_http = true`")]
    NotHttps(String),
    /// Not HTTP.
    #[error("the scheme of `{0}` is not https")]
    Scheme(String),
    /// Issuers have neither a query nor a fragment (OpenID Connect Core 1.0 section 2).
    #[error(
        "`{0}` has a query or a fragment, which issuers do not have: copy the `iss` of a token"
    )]
    NotAnIssuer(String),
    /// A password in a URL would appear in logs.
    #[error("a URL must not contain a user or a password")]
    UserInfo,
}

impl HttpUrl {
    /// Parses a URL.
    ///
    /// # Errors
    /// If it is not a URL, or not an allowed one.
    pub fn parse(text: &str, insecure_http: bool) -> Result<Self, UrlError> {
        let mut url = Url::parse(text).map_err(|_| UrlError::Form(sanitize_url(text)))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(UrlError::UserInfo);
        }
        match url.scheme() {
            "https" => {}
            "http" if insecure_http => {}
            "http" => return Err(UrlError::NotHttps(sanitize_url(text))),
            _ => return Err(UrlError::Scheme(sanitize_url(text))),
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err(UrlError::Form(sanitize_url(text)));
        }
        url.set_fragment(None);
        Ok(Self(Arc::new(url)))
    }

    /// Whether the connection is encrypted.
    pub fn is_https(&self) -> bool {
        self.0.scheme() == "https"
    }

    /// Whether the host is this machine.
    pub fn is_loopback(&self) -> bool {
        is_loopback(self.host())
    }

    /// The host, lower case, without the port.
    pub fn host(&self) -> &str {
        self.0.host_str().unwrap_or_default()
    }

    /// The port, explicit or the scheme's default.
    pub fn port(&self) -> Option<u16> {
        self.0.port_or_known_default()
    }

    /// The host, and the port unless it is the scheme's default.
    pub fn authority(&self) -> String {
        match self.0.port() {
            Some(port) => format!("{}:{port}", self.host()),
            None => self.host().to_owned(),
        }
    }

    /// True if both URLs have the same scheme, host and port.
    pub fn has_origin_of(&self, other: &Self) -> bool {
        self.0.origin() == other.0.origin()
    }

    /// The whole URL.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

/// A URL from the configuration, for a message. A mistyped one may contain a password before its `@`.
pub(crate) fn sanitize_url(text: &str) -> String {
    let text = text.rsplit_once('@').map_or(text, |(_, rest)| rest);
    excerpt_up_to(text, 200)
}

impl fmt::Display for HttpUrl {
    /// In backticks, without the query, which may contain a key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.as_str();
        write!(f, "`{}`", text.split_once('?').map_or(text, |(before, _)| before))
    }
}

impl fmt::Debug for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
