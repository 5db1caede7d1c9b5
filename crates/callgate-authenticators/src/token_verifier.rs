//! Verifies that an issuer's key signed a token: once per token, then from memory while the key is
//! valid.

mod config;

use std::{sync::Arc, time::Duration};

use callgate::authn::{BackendError, Decline, ProbeReport, Readiness};
use futures_util::future::BoxFuture;

use crate::{
    jwks::{JsonWebKey, KeyStore, KeysUnavailable},
    jws::{
        Compact,
        claims::{bad_signature, malformed},
    },
    kind::{BuildContext, Observer},
    network::REQUEST_TIMEOUT,
    verified_token_cache::{TokenDigest, VerifiedTokenCache},
};

/// How long a probe may take: the discovery document and the keys.
pub(crate) const PROBE_TIMEOUT: Duration = REQUEST_TIMEOUT.saturating_mul(2);

pub(crate) use config::{
    JwksLocation, http_client, key_store, read_audience, read_ca, read_insecure_http,
    read_max_stale, state_file,
};

/// Verifies the signatures of one authenticator's tokens.
pub(crate) struct TokenVerifier {
    authenticator: Arc<str>,
    pub(crate) keys: Arc<KeyStore>,
    types: Vec<String>,
    pub(crate) cache: Arc<VerifiedTokenCache>,
    observer: Arc<dyn Observer>,
}

/// A token with a valid signature.
#[must_use = "remember it once all of the token has been accepted"]
pub(crate) struct VerifiedToken<'v> {
    cache: &'v VerifiedTokenCache,
    key: Arc<JsonWebKey>,
    /// `None` if the cache has it already.
    new: Option<TokenDigest>,
}

impl TokenVerifier {
    /// Accepts tokens of these media types, signed by one of `keys`.
    pub(crate) fn new(context: &BuildContext, keys: Arc<KeyStore>, types: Vec<String>) -> Self {
        let services = &context.services;
        // Each configuration has its own cache, shared by all of its authenticators.
        let cache = services.shared.obtain(&services.generation.to_string(), || {
            VerifiedTokenCache::new(services.cache.tokens)
        });
        let authenticator = Arc::clone(&context.name);
        let observer = Arc::clone(&services.observer);
        Self { authenticator, keys, types, cache, observer }
    }

    /// Verifies the signature, or finds it in the cache.
    ///
    /// # Errors
    /// Rejected if the signature or the media type is wrong; unavailable without keys.
    pub(crate) async fn verify(&self, token: &Compact<'_>) -> Result<VerifiedToken<'_>, Decline> {
        let digest = TokenDigest::of(&self.authenticator, token.as_str());
        let cached =
            self.cached_key(&digest).map_err(|error| Decline::Unavailable(error.into()))?;
        if let Some(key) = cached {
            self.observer.signature_counted(&self.authenticator, true);
            return Ok(VerifiedToken { cache: &self.cache, key, new: None });
        }
        let key = self.verify_signature(token).await?;
        Ok(VerifiedToken { cache: &self.cache, key, new: Some(digest) })
    }

    /// The key that signed the token, if that was verified before and the issuer still has the key.
    fn cached_key(&self, token: &TokenDigest) -> Result<Option<Arc<JsonWebKey>>, KeysUnavailable> {
        let Some(key) = self.cache.get(token) else { return Ok(None) };
        let is_valid = self.keys.still_has(&key)?;
        if !is_valid {
            self.cache.remove(token);
        }
        Ok(is_valid.then_some(key))
    }

    /// Whether the key of this name was withdrawn. Without current keys, none counts as withdrawn.
    pub(crate) fn is_withdrawn(&self, key: &str) -> bool {
        matches!(self.keys.has_named(key), Ok(false))
    }

    async fn verify_signature(&self, token: &Compact<'_>) -> Result<Arc<JsonWebKey>, Decline> {
        let header = token.header().map_err(|error| malformed(error.to_string()))?;
        if !header.is_of_kind(&self.types) {
            return Err(malformed(not_accepted("typ", &self.types)).into());
        }
        let accepted = self.keys.algorithms();
        let algorithm = header.algorithm.parse().ok().filter(|one| accepted.contains(one));
        let Some(algorithm) = algorithm else {
            let accepted: Vec<_> = accepted.iter().map(|one| one.as_str()).collect();
            return Err(bad_signature(not_accepted("alg", &accepted)).into());
        };
        let signature = token.signature().map_err(|error| malformed(error.to_string()))?;
        let id = header.key_id.as_deref();
        let key = self.keys.find(id, algorithm).await?;
        self.observer.signature_counted(&self.authenticator, false);
        let signed = |key: &Arc<JsonWebKey>| key.verifies(algorithm, token.signed(), &signature);
        if signed(&key) {
            return Ok(key);
        }
        // Some issuers replace a key without changing its id, or use no ids.
        let successor = self.keys.find_successor(&key, id, algorithm).await?;
        successor
            .filter(signed)
            .ok_or_else(|| bad_signature("the token's signature is not valid").into())
    }

    /// Says how old the keys are, if an earlier process fetched them.
    pub(crate) fn remark(&self) -> Option<String> {
        self.keys.age_remark()
    }

    /// Fetches the keys now. `None` if they are in a file.
    pub(crate) fn probe(&self) -> Option<BoxFuture<'_, Result<ProbeReport, BackendError>>> {
        let fetch = self.keys.probe()?;
        Some(Box::pin(async {
            let count = match fetch.await? {
                1 => "1 signing key".to_owned(),
                count => format!("{count} signing keys"),
            };
            let notes = [count].into_iter().chain(self.keys.remarks()).collect();
            Ok(ProbeReport { notes, warnings: Vec::new() })
        }))
    }

    /// Ready once there are keys.
    pub(crate) fn readiness(&self) -> Readiness {
        match self.keys.check() {
            Ok(()) => Readiness::Ready,
            Err(error) => Readiness::Waiting(error.to_string()),
        }
    }
}

impl VerifiedToken<'_> {
    /// The name of the key that signed the token.
    pub(crate) fn key_name(&self) -> String {
        self.key.name()
    }

    /// Spares later logins with this token the signature check. For tokens that were accepted: others
    /// would only take up space.
    pub(crate) fn remember(self) {
        if let Some(token) = self.new {
            self.cache.insert(token, self.key);
        }
    }
}

fn not_accepted<T: AsRef<str>>(name: &str, accepted: &[T]) -> String {
    let accepted: Vec<_> = accepted.iter().map(AsRef::as_ref).collect();
    format!("the token's `{name}` is not one of `{}`", accepted.join("`, `"))
}
