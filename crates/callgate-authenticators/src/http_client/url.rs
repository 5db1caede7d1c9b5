//! An address that may be asked.

use std::{fmt, sync::Arc};

use reqwest::Url;

/// A URL of https (or of http, where that is allowed out loud), with a host and without a user.
/// Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpUrl(Arc<Url>);

/// Why an address is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// No URL at all.
    #[error("`{0}` is not a URL: write `https://host/path`")]
    Form(String),
    /// Anybody on the way could replace the keys.
    #[error("`{0}` is not https: only with `insecure_http = true` is plain http accepted")]
    NotHttps(String),
    /// Something else than HTTP.
    #[error("the scheme of `{0}` is not https")]
    Scheme(String),
    /// No issuer has these (OpenID Connect Core 1.0 section 2), and no document is found by them.
    #[error("`{0}` has a query or a fragment, which no issuer has: write the text of `iss`")]
    NoIssuer(String),
    /// A password in an address ends in a log.
    #[error("a URL must not contain a user or a password")]
    UserInfo,
}

impl HttpUrl {
    /// Reads an address.
    ///
    /// # Errors
    /// If it is no URL of an allowed kind.
    pub fn parse(text: &str, insecure_http: bool) -> Result<Self, UrlError> {
        let mut url = Url::parse(text).map_err(|_| UrlError::Form(shown(text)))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(UrlError::UserInfo);
        }
        match url.scheme() {
            "https" => {}
            "http" if insecure_http => {}
            "http" => return Err(UrlError::NotHttps(shown(text))),
            _ => return Err(UrlError::Scheme(shown(text))),
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err(UrlError::Form(shown(text)));
        }
        url.set_fragment(None);
        Ok(Self(Arc::new(url)))
    }

    /// The host, lower case, without the port.
    pub fn host(&self) -> &str {
        self.0.host_str().unwrap_or_default()
    }

    /// The port, written or usual.
    pub fn port(&self) -> Option<u16> {
        self.0.port_or_known_default()
    }

    /// The whole address.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// True for plain http.
    pub fn is_plain(&self) -> bool {
        self.0.scheme() == "http"
    }
}

/// An address as it was written, for a message. A mistyped one may hold a password before its `@`; what
/// follows is what helps.
pub(crate) fn shown(text: &str) -> String {
    let text = text.rsplit_once('@').map_or(text, |(_, rest)| rest);
    text.chars().take(200).flat_map(char::escape_debug).collect()
}

impl fmt::Display for HttpUrl {
    /// In backticks, without the query, which may hold a key.
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
