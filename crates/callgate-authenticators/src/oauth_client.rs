//! An OAuth client: finds an endpoint of an authorization server, and proves to it who Callgate is.

mod endpoint;
mod login;

use std::{sync::Arc, time::Duration};

use callgate::authn::BackendError;
use callgate_config::{Key, Table, Type, schema::TEXTS};
use reqwest::{StatusCode, Url};
use rustls::ClientConfig;

use crate::{
    backend::{QueryError, Transport, connect},
    http_client::{ContentType, HttpClient, HttpUrl},
};
use endpoint::Endpoint;
use login::Login;

pub(crate) const ISSUER_KEY: Key = Key::optional(
    "issuer",
    Type::Text,
    "discovers the endpoint; must equal the `issuer` in the discovery document, and `iss` in answers. This or `url` is required",
);
pub(crate) const HOSTS_KEY: Key = Key::optional(
    "hosts",
    TEXTS,
    "hosts that a discovered endpoint may be on, besides the issuer's own scheme, host and port",
);
pub(crate) const CLIENT_ID_KEY: Key = Key::optional(
    "client_id",
    Type::Text,
    "Callgate's client ID. Required, unless `bearer` or `tls.cert` is set",
);
pub(crate) const CLIENT_SECRET_KEY: Key =
    Key::optional("client_secret", Type::Secret, "the secret of that client");
pub(crate) const AUTH_KEY: Key = Key::optional(
    "auth",
    Type::Word(&["basic", "post"]),
    "whether both are sent in the header or in the form",
)
.or("\"basic\"");
pub(crate) const BEARER_KEY: Key =
    Key::optional("bearer", Type::Secret, "sent as `Authorization: Bearer …` instead");

/// An endpoint of an authorization server.
pub(crate) struct OauthClient {
    http: HttpClient,
    endpoint: Endpoint,
    login: Login,
    tls: Option<Arc<ClientConfig>>,
    connect_timeout: Duration,
}

impl OauthClient {
    /// Reads the keys of the endpoint and the login; errors are reported.
    pub(crate) fn read(
        table: &mut Table<'_>,
        issuer: Option<&str>,
        transport: Option<&Transport>,
    ) -> Option<Self> {
        let endpoint = Endpoint::read(table, issuer, transport);
        let login = Login::read(table, transport);
        let (endpoint, transport) = (endpoint?, transport?);
        let tls = match endpoint.configured().is_https() {
            true => Some(transport.client_config(table)?),
            false => None,
        };
        let http = HttpClient::for_backend(transport, tls.as_deref());
        let http = http.map_err(|error| table.fault("tls", error)).ok()?;
        let connect_timeout = transport.connect_timeout;
        Some(Self { http, endpoint, login: login?, tls, connect_timeout })
    }

    /// A name for logs.
    pub(crate) fn target(&self) -> String {
        self.endpoint.configured().to_string()
    }

    /// Finds the endpoint and connects to it.
    ///
    /// # Errors
    /// If that fails.
    pub(crate) async fn reach(&self) -> Result<(), BackendError> {
        let url = self.endpoint.url(&self.http).await?;
        let tls = self.tls.as_ref().filter(|_| url.is_https());
        let port = url.port().unwrap_or_default();
        Ok(connect(url.host(), port, tls, self.connect_timeout).await?)
    }

    /// Posts a form to the endpoint, and returns its address, the status and the body.
    ///
    /// # Errors
    /// If the endpoint cannot be found, or does not answer.
    pub(crate) async fn post(
        &self,
        fields: &[(&str, &str)],
    ) -> Result<(HttpUrl, StatusCode, Vec<u8>), QueryError> {
        let url = self.endpoint.url(&self.http).await?;
        let (headers, own_fields) = self.login.present();
        let form = form([fields, &own_fields].concat()).into_bytes();
        let (status, body) = self.http.post(&url, headers, ContentType::Form, form).await?;
        Ok((url, status, body))
    }
}

/// Encodes fields as `application/x-www-form-urlencoded`.
fn form<'a>(fields: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    // The `url` crate encodes forms only as the query of a URL.
    let Ok(mut url) = Url::parse("form:") else { return String::new() };
    url.query_pairs_mut().extend_pairs(fields);
    url.query().unwrap_or_default().to_owned()
}
