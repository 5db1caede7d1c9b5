//! How Callgate proves who it is.

use callgate::secret::Secret;
use callgate_config::Table;
use data_encoding::BASE64;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};

use super::form;
use crate::{backend::Transport, http_client::secret_header};

/// Callgate's own credentials.
pub(super) enum Login {
    /// Only the client certificate.
    Certificate,
    /// In the header: a bearer token, or a client ID with its secret.
    Header(HeaderValue),
    /// In the form.
    Form { id: String, secret: Secret },
}

impl Login {
    /// Reads the keys; errors are reported.
    pub(super) fn read(table: &mut Table<'_>, transport: Option<&Transport>) -> Option<Self> {
        let id = table.filled_string("client_id");
        let secret = table.secret("client_secret");
        let bearer = table.secret("bearer");
        let auth = table.word("auth", &[("basic", false), ("post", true)]);
        let in_form = auth.unwrap_or(false);
        match (id, secret, bearer) {
            (Some(id), Some(secret), None) if in_form => Some(Self::Form { id, secret }),
            (Some(id), Some(secret), None) => Self::basic(&id, &secret),
            (None, None, Some(bearer)) => {
                let value = format!("Bearer {}", bearer.expose());
                secret_header(table, "bearer", &value).map(Self::Header)
            }
            (None, None, None) if transport?.tls.identity.is_some() => Some(Self::Certificate),
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

    /// Both parts are form-encoded first (RFC 6749 section 2.3.1).
    fn basic(id: &str, secret: &Secret) -> Option<Self> {
        let encoded = |text: &str| form([("", text)]).trim_start_matches('=').to_owned();
        let pair = format!("{}:{}", encoded(id), encoded(secret.expose()));
        let value = HeaderValue::from_str(&format!("Basic {}", BASE64.encode(pair.as_bytes())));
        let mut value = value.ok()?;
        value.set_sensitive(true);
        Some(Self::Header(value))
    }

    /// The headers and the fields that a request carries.
    pub(super) fn present(&self) -> (HeaderMap, Vec<(&str, &str)>) {
        match self {
            Self::Certificate => (HeaderMap::new(), Vec::new()),
            Self::Header(value) => {
                (HeaderMap::from_iter([(AUTHORIZATION, value.clone())]), Vec::new())
            }
            Self::Form { id, secret } => {
                let fields = vec![("client_id", id.as_str()), ("client_secret", secret.expose())];
                (HeaderMap::new(), fields)
            }
        }
    }
}
