//! The issuer of service account tokens and its keys, as the API server tells them.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use callgate::json::parse_strict;
use futures_util::future::BoxFuture;
use serde_json::Value;

use super::api::{ApiOperation, ApiServer};
use crate::jwks::{BoxSourceError, Fetched, KeySource};

const DOCUMENT: &str = "/.well-known/openid-configuration";
/// Always asked here, wherever the document's `jwks_uri` points: that is an address for others,
/// often of a node, that our token and the cluster's authority are not meant for.
const KEYS: &str = "/openid/v1/jwks";
const MAX_DEPTH: usize = 16;

/// The issuer: given, or learned together with its keys.
#[derive(Debug, Default)]
pub(super) struct Issuer(ArcSwapOption<String>);

impl Issuer {
    pub(super) fn given(issuer: &str) -> Self {
        Self(ArcSwapOption::from_pointee(issuer.to_owned()))
    }

    pub(super) fn known(&self) -> Option<Arc<String>> {
        self.0.load_full()
    }

    fn learn(&self, issuer: &str) {
        if self.known().is_none_or(|known| *known != issuer) {
            tracing::info!(issuer = %issuer.escape_debug(), "the issuer of service account tokens is known");
            self.0.store(Some(Arc::new(issuer.to_owned())));
        }
    }
}

/// Why a discovery document is not believed.
#[derive(Debug, thiserror::Error)]
enum DiscoveryError {
    #[error("the API server's discovery document is not strict JSON with a text `issuer`")]
    Form,
    #[error(
        "the API server's discovery document is for the issuer `{found}`, not for `{wanted}`: \
         correct `issuer`, or leave it out"
    )]
    OtherIssuer { found: String, wanted: String },
}

/// Issuer and keys of the API server.
#[derive(Debug)]
pub(super) struct ApiServerKeys {
    pub(super) api: Arc<ApiServer>,
    /// Where the issuer is told.
    pub(super) issuer: Arc<Issuer>,
    /// What it must be.
    pub(super) expected: Option<String>,
}

impl ApiServerKeys {
    fn read_issuer(&self, document: &str) -> Result<String, DiscoveryError> {
        let document =
            parse_strict(document.as_bytes(), MAX_DEPTH).map_err(|_| DiscoveryError::Form)?;
        let found = document.get("issuer").and_then(Value::as_str).unwrap_or_default();
        if found.is_empty() {
            return Err(DiscoveryError::Form);
        }
        match &self.expected {
            Some(wanted) if wanted != found => {
                let found = found.chars().take(200).flat_map(char::escape_debug).collect();
                Err(DiscoveryError::OtherIssuer { found, wanted: wanted.clone() })
            }
            Some(_) | None => Ok(found.to_owned()),
        }
    }
}

impl KeySource for ApiServerKeys {
    fn fetch(&self) -> BoxFuture<'_, Result<Fetched, BoxSourceError>> {
        Box::pin(async {
            let document = self.api.get(ApiOperation::Discovery, DOCUMENT).await?;
            let issuer = self.read_issuer(&document)?;
            let body = self.api.get(ApiOperation::Discovery, KEYS).await?.into_bytes();
            self.issuer.learn(&issuer);
            // How long the answer stays fresh is not asked: the server is near, and a key that it
            // takes back should not live for an hour.
            Ok(Fetched { body, max_age: None })
        })
    }

    fn describe(&self) -> String {
        "issuer and keys of the API server".to_owned()
    }
}
