//! Where a key set comes from.

use std::{fmt, time::Duration};

use futures_util::future::BoxFuture;

use crate::http_client::{HttpClient, HttpUrl};

/// Why a key set could not be fetched, for the log and for readiness: one line, without secrets.
pub type KeySourceError = Box<dyn std::error::Error + Send + Sync>;

/// A fetched key set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// The JSON text.
    pub body: Vec<u8>,
    /// How long it stays fresh, according to the source.
    pub max_age: Option<Duration>,
}

/// A place to fetch a key set from: a URL, a discovery document or a file.
pub trait KeySource: fmt::Debug + Send + Sync + 'static {
    /// Fetches the set. Never called concurrently.
    fn fetch(&self) -> BoxFuture<'_, Result<Fetched, KeySourceError>>;

    /// What it reads, for messages: `the key set https://…`.
    fn describe(&self) -> String;

    /// The issuer, if it is learned together with the keys.
    fn learned_issuer(&self) -> Option<String> {
        None
    }

    /// Learns the issuer from keys that an earlier process saved.
    ///
    /// # Errors
    /// If it is missing, or not the configured one.
    fn restore_issuer(&self, _issuer: Option<&str>) -> Result<(), KeySourceError> {
        Ok(())
    }

    /// How often to fetch, for sources that are cheap enough for a fixed period, such as files.
    fn fixed_period(&self) -> Option<Duration> {
        None
    }
}

/// A key set at a known URL.
#[derive(Debug, Clone)]
pub struct UrlSource {
    client: HttpClient,
    url: HttpUrl,
}

impl UrlSource {
    /// A source that fetches the set from `url`.
    pub fn new(client: HttpClient, url: HttpUrl) -> Self {
        Self { client, url }
    }
}

impl KeySource for UrlSource {
    fn fetch(&self) -> BoxFuture<'_, Result<Fetched, KeySourceError>> {
        Box::pin(async {
            let answer = self.client.get(&self.url).await?.json_object(&self.url)?;
            Ok(Fetched { body: answer.body, max_age: answer.max_age })
        })
    }

    fn describe(&self) -> String {
        format!("the key set {}", self.url)
    }
}
