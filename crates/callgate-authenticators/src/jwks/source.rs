//! Where a key set comes from.

use std::{fmt, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;

use crate::http_client::{HttpClient, HttpUrl};

/// Why a key set could not be had, for the log and for readiness: one line, no secrets.
pub type BoxSourceError = Box<dyn std::error::Error + Send + Sync>;

/// A key set as it was fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// The JSON text.
    pub body: Vec<u8>,
    /// How long the source says that it stays fresh.
    pub max_age: Option<Duration>,
}

/// Something that has a key set: a URL, a discovery document, a file, or a test's table.
pub trait KeySource: fmt::Debug + Send + Sync + 'static {
    /// Fetches the set. Called by one caller at a time.
    fn fetch(&self) -> BoxFuture<'_, Result<Fetched, BoxSourceError>>;

    /// What it reads, for messages: `the key set https://…`.
    fn describe(&self) -> String;

    /// How often to look, if it is so cheap that a fixed period is best: a file.
    fn fixed_period(&self) -> Option<Duration> {
        None
    }
}

/// A key set at a known URL.
#[derive(Debug, Clone)]
pub struct UrlSource {
    client: Arc<HttpClient>,
    url: HttpUrl,
}

impl UrlSource {
    /// Reads the set from `url`.
    pub fn new(client: Arc<HttpClient>, url: HttpUrl) -> Self {
        Self { client, url }
    }
}

impl KeySource for UrlSource {
    fn fetch(&self) -> BoxFuture<'_, Result<Fetched, BoxSourceError>> {
        Box::pin(async {
            let answer = self.client.get(&self.url).await?;
            Ok(Fetched { body: answer.body, max_age: answer.max_age })
        })
    }

    fn describe(&self) -> String {
        format!("the key set {}", self.url)
    }
}
