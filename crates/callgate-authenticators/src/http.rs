#![doc = include_str!("../docs/http.md")]

mod config;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use callgate::authn::{Authenticator, BackendError, Probe, ProbeReport, Readiness};
use callgate_config::{Key, Table};
use futures_util::future::BoxFuture;
use reqwest::{StatusCode, header::HeaderMap};
use tokio::time::Instant;

use crate::{
    backend::{FirstContact, QueryError, connect},
    http_client::{ContentType, HttpClient, HttpError, HttpUrl},
    kind::{BuildContext, Kind, never_falls_through},
    question::{Decider, Delivery, judge_probe, takes_passwords},
};
use config::HttpSettings;

/// The kind `http`: a web service decides.
#[derive(Debug, Clone, Copy, Default)]
pub struct HttpKind;

impl Kind for HttpKind {
    fn name(&self) -> &'static str {
        "http"
    }

    fn keys(&self) -> &'static [Key] {
        config::KEYS
    }

    fn takes_passwords(&self, table: &serde_json::Value) -> bool {
        takes_passwords(table)
    }

    fn refuses_unknown_users(&self, table: &serde_json::Value) -> bool {
        takes_passwords(table) && never_falls_through(table)
    }

    fn build(
        &self,
        context: &BuildContext,
        mut table: Table<'_>,
    ) -> Option<Arc<dyn Authenticator>> {
        let settings = HttpSettings::read(context, &mut table);
        let is_faultless = table.finish();
        let HttpSettings { question, addresses, client, headers, transport } =
            settings.filter(|_| is_faultless)?;
        let target = addresses.urls.iter().map(HttpUrl::to_string).collect::<Vec<_>>().join(", ");
        let addresses = Arc::new(addresses);
        let first_contact = FirstContact::start(context, &addresses, |addresses| async move {
            addresses.connect_to_any().await
        });
        let post =
            Post { addresses, client, headers, preferred: AtomicUsize::new(0), first_contact };
        let decider =
            Decider::new(context, question, Arc::new(post), &target, transport.connections);
        Some(Arc::new(decider))
    }
}

/// Where the service is.
pub(super) struct Addresses {
    /// At least one.
    urls: Vec<HttpUrl>,
    /// `None` if no URL needs it.
    tls: Option<Arc<rustls::ClientConfig>>,
    connect_timeout: std::time::Duration,
}

impl Addresses {
    async fn connect(&self, url: &HttpUrl) -> Result<(), BackendError> {
        let tls = self.tls.as_ref().filter(|_| url.is_https());
        let port = url.port().unwrap_or_default();
        Ok(connect(url.host(), port, tls, self.connect_timeout).await?)
    }

    async fn connect_to_any(&self) -> Result<(), BackendError> {
        let mut last = Ok(());
        for url in &self.urls {
            last = self.connect(url).await;
            if last.is_ok() {
                break;
            }
        }
        last
    }
}

/// Posts questions to a web service.
struct Post {
    addresses: Arc<Addresses>,
    client: HttpClient,
    headers: HeaderMap,
    /// The last address that accepted a connection.
    preferred: AtomicUsize,
    first_contact: FirstContact,
}

impl Post {
    /// Sends the question once. Another address is tried only if there was no connection, so that
    /// nothing of the question was written: a one-time code must not arrive twice.
    async fn send(&self, question: Vec<u8>) -> Result<Vec<u8>, QueryError> {
        let urls = &self.addresses.urls;
        let first = self.preferred.load(Ordering::Relaxed);
        let mut error = None;
        for offset in 0..urls.len() {
            let index = (first + offset) % urls.len();
            let Some(url) = urls.get(index) else { continue };
            let answer = self
                .client
                .post(url, self.headers.clone(), ContentType::Json, question.clone())
                .await;
            if let Err(unreachable @ HttpError::Unreachable { .. }) = answer {
                error = Some(unreachable);
                continue;
            }
            let (status, body) = answer?;
            self.preferred.store(index, Ordering::Relaxed);
            // Proxies and gateways send every other status, too, even 204 and 401.
            if status != StatusCode::OK {
                let why = format!("{url} answered {status}: only 200 decides");
                return Err(QueryError::unusable(why));
            }
            return Ok(body);
        }
        Err(QueryError::unreachable(error.map(|error| error.to_string()).unwrap_or_default()))
    }
}

impl Delivery for Post {
    fn ask(
        self: Arc<Self>,
        question: Vec<u8>,
        _deadline: Instant,
    ) -> BoxFuture<'static, Result<Vec<u8>, QueryError>> {
        Box::pin(async move { self.send(question).await })
    }

    fn probe(
        &self,
        probe: Probe,
        question: Vec<u8>,
        _deadline: Instant,
    ) -> BoxFuture<'_, Result<ProbeReport, BackendError>> {
        Box::pin(async move {
            for url in &self.addresses.urls {
                self.addresses.connect(url).await?;
            }
            if !probe.send_question {
                return Ok(ProbeReport::default());
            }
            judge_probe(&self.send(question).await?)
        })
    }

    fn readiness(&self) -> Readiness {
        self.first_contact.readiness()
    }
}

impl fmt::Debug for Post {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Post({:?})", self.addresses.urls)
    }
}

#[cfg(test)]
mod tests;
