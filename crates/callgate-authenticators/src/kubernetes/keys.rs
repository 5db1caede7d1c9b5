//! The issuer of service account tokens and its keys, as published by the API server.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use callgate::json::parse_strict;
use futures_util::future::BoxFuture;
use serde_json::Value;

use super::api::{ApiOperation, ApiServer};
use callgate::sanitize::excerpt_up_to;

use crate::{
    audience_routing::Issuer,
    jwks::{Fetched, KeySource, KeySourceError},
};

const DOCUMENT: &str = "/.well-known/openid-configuration";
/// Used whatever the document's `jwks_uri` is: that address, often of a node, is for external
/// verifiers, and must not receive our token.
const KEYS: &str = "/openid/v1/jwks";
const MAX_DEPTH: usize = 16;

/// Why the API server's discovery document is not accepted.
#[derive(Debug, thiserror::Error)]
enum DocumentError {
    #[error("the API server's discovery document is not strict JSON with a text `issuer`")]
    Malformed,
}

/// The issuer and the keys of the API server.
#[derive(Debug)]
pub(super) struct ApiServerKeys {
    pub(super) api: Arc<ApiServer>,
    /// Set to the issuer once it is known, unless it is configured.
    pub(super) issuer: Arc<Issuer>,
    /// The configured issuer.
    pub(super) configured: Option<String>,
    /// The difference to the published issuer was reported.
    pub(super) compared: AtomicBool,
}

impl ApiServerKeys {
    /// An API server may accept tokens of several issuers (`--service-account-issuer`), all of them signed
    /// with its keys, while its document names only the first.
    fn compare(&self, configured: &str, found: &str) {
        if configured != found && !self.compared.swap(true, Ordering::Relaxed) {
            let published = excerpt_up_to(found, 200);
            tracing::warn!(
                issuer = configured,
                published,
                "the API server publishes another issuer than the configured one: right only while the issuer \
                 is being changed"
            );
        }
    }

    fn read_issuer(&self, document: &str) -> Result<String, DocumentError> {
        let document =
            parse_strict(document.as_bytes(), MAX_DEPTH).map_err(|_| DocumentError::Malformed)?;
        let found = document.get("issuer").and_then(Value::as_str).unwrap_or_default();
        if found.is_empty() {
            return Err(DocumentError::Malformed);
        }
        Ok(found.to_owned())
    }
}

impl KeySource for ApiServerKeys {
    fn fetch(&self) -> BoxFuture<'_, Result<Fetched, KeySourceError>> {
        Box::pin(async {
            let document = self.api.get(ApiOperation::Discovery, DOCUMENT).await?;
            let issuer = self.read_issuer(&document)?;
            let body = self.api.get(ApiOperation::Discovery, KEYS).await?.into_bytes();
            if let Some(configured) = &self.configured {
                self.compare(configured, &issuer);
            } else if self.issuer.learn(&issuer) {
                tracing::info!(issuer = %issuer.escape_debug(), "the issuer of service account tokens is known");
            }
            // `max_age` is ignored: the server is near, and a withdrawn key must not stay valid for
            // an hour.
            Ok(Fetched { body, max_age: None })
        })
    }

    fn learned_issuer(&self) -> Option<String> {
        self.issuer.known().map(|issuer| (*issuer).clone())
    }

    fn restore_issuer(&self, issuer: Option<&str>) -> Result<(), KeySourceError> {
        let found = issuer.ok_or("the saved keys have no issuer")?;
        match &self.configured {
            Some(configured) if configured != found => Err("the saved keys are of another issuer")?,
            Some(_) => {}
            None => {
                self.issuer.learn(found);
            }
        }
        Ok(())
    }

    fn describe(&self) -> String {
        "issuer and keys of the API server".to_owned()
    }
}
