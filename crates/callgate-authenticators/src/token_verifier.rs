//! Whether a key of its issuer signed a token: checked once, remembered as long as the key counts.

use std::sync::Arc;

use callgate::authn::{Decline, Readiness};

use crate::{
    jwks::{FileSource, JsonWebKey, KeyStore, KeysUnavailable, RefreshObserver},
    jws::{Compact, claims::bad},
    kind::{BuildContext, Observer},
    verified_token_cache::{TokenDigest, VerifiedTokenCache},
};
use callgate_config::Table;

/// Judges the signatures of the tokens that one authenticator is shown.
pub(crate) struct TokenVerifier {
    authenticator: Arc<str>,
    pub(crate) keys: Arc<KeyStore>,
    types: Vec<String>,
    pub(crate) cache: Arc<VerifiedTokenCache>,
    observer: Arc<dyn Observer>,
}

/// Counts what comes of the attempts to get an authenticator's keys.
pub(crate) fn refreshes(context: &BuildContext) -> RefreshObserver {
    let (observer, name) = (Arc::clone(&context.services.observer), Arc::clone(&context.name));
    observer.has_signing_keys(&name);
    Arc::new(move |fetched| observer.keys_refreshed(&name, fetched))
}

/// Reads the `jwks_file` of `table`, whose fault it is if that fails. Nothing, with a warning, if there is
/// none and nobody waits for it: until it comes, nobody can tell about a token.
///
/// # Errors
/// If there should be a file, or there is one that cannot be read; the fault is reported.
pub(crate) fn read_key_file(
    context: &BuildContext,
    table: &Table<'_>,
    source: &FileSource,
) -> Result<Option<Vec<u8>>, Reported> {
    match source.read() {
        Ok(json) => Ok(Some(json)),
        Err(error) if error.is_absence() && !context.required => {
            table.warn("jwks_file", format!("{error}: until it is there its tokens are refused"));
            Ok(None)
        }
        Err(error) => {
            table.fault("jwks_file", error);
            Err(Reported)
        }
    }
}

/// Takes what [`read_key_file`] read into force.
///
/// # Errors
/// If it is no usable key set; the fault is reported.
pub(crate) fn take_key_file(
    context: &BuildContext,
    table: &Table<'_>,
    keys: &KeyStore,
    json: &[u8],
) -> Result<(), Reported> {
    if let Err(error) = keys.preload(json) {
        table.fault("jwks_file", format!("the file is not usable: {error}"));
        return Err(Reported);
    }
    // With a background the log tells it, now and whenever the file changes.
    for remark in keys.remarks().iter().filter(|_| !context.services.background) {
        table.warn("jwks_file", remark);
    }
    Ok(())
}

/// Something is wrong, and its fault is in the report.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reported;

/// A token whose signature is good.
#[must_use = "it is remembered when all the rest is good too"]
pub(crate) struct VerifiedToken<'s> {
    cache: &'s VerifiedTokenCache,
    /// Nothing if it is remembered already.
    news: Option<(TokenDigest, Arc<JsonWebKey>)>,
}

impl TokenVerifier {
    /// For tokens of one of `types`, signed by one of `keys`.
    pub(crate) fn new(context: &BuildContext, keys: Arc<KeyStore>, types: Vec<String>) -> Self {
        // Made anew for each configuration: nothing of an older one is left in it.
        let generation = context.services.generation.to_string();
        let cache = context
            .services
            .shared
            .obtain(&generation, || VerifiedTokenCache::new(context.services.cache.tokens));
        let authenticator = Arc::clone(&context.name);
        let observer = Arc::clone(&context.services.observer);
        Self { authenticator, keys, types, cache, observer }
    }

    /// Checks the signature, or recalls that it was checked.
    ///
    /// # Errors
    /// Rejected if it is not good or not of a kind that is accepted; unavailable without keys.
    pub(crate) async fn check(&self, token: &Compact<'_>) -> Result<VerifiedToken<'_>, Decline> {
        let digest = TokenDigest::of(&self.authenticator, token.as_str());
        let recalled = self.recalls(&digest);
        if recalled.map_err(|error| Decline::Unavailable(error.into()))? {
            self.observer.signature_counted(&self.authenticator, true);
            return Ok(VerifiedToken { cache: &self.cache, news: None });
        }
        let key = self.verify(token).await?;
        Ok(VerifiedToken { cache: &self.cache, news: Some((digest, key)) })
    }

    /// True if it was signed by a key that still counts.
    fn recalls(&self, token: &TokenDigest) -> Result<bool, KeysUnavailable> {
        let Some(key) = self.cache.find(token) else { return Ok(false) };
        let counts = self.keys.still_has(&key)?;
        if !counts {
            self.cache.forget(token);
        }
        Ok(counts)
    }

    async fn verify(&self, token: &Compact<'_>) -> Result<Arc<JsonWebKey>, Decline> {
        let header = token.header().map_err(|error| bad(error.to_string()))?;
        if !header.is_of_kind(&self.types) {
            return Err(none_of("typ", &self.types));
        }
        let accepted = self.keys.algorithms();
        let algorithm = header.algorithm.parse().ok().filter(|one| accepted.contains(one));
        let Some(algorithm) = algorithm else {
            let accepted: Vec<_> = accepted.iter().map(|one| one.as_str()).collect();
            return Err(none_of("alg", &accepted));
        };
        let signature = token.signature().map_err(|error| bad(error.to_string()))?;
        let id = header.key_id.as_deref();
        let key = self.keys.find(id, algorithm).await?;
        self.observer.signature_counted(&self.authenticator, false);
        let made_it = |key: &Arc<JsonWebKey>| key.verifies(algorithm, token.signed(), &signature);
        if made_it(&key) {
            return Ok(key);
        }
        // Some issuers rotate under one key id, or name none.
        let successor = self.keys.find_successor(&key, id, algorithm).await?;
        let not_good = || bad("its signature is not good".to_owned()).into();
        successor.filter(made_it).ok_or_else(not_good)
    }

    /// Whether there are keys to judge by.
    pub(crate) fn readiness(&self) -> Readiness {
        match self.keys.check() {
            Ok(()) => Readiness::Ready,
            Err(error) => Readiness::Waiting(error.to_string()),
        }
    }
}

impl VerifiedToken<'_> {
    /// Spares the token's next bearer the check. Only for a token that is good in all: others would take
    /// room.
    pub(crate) fn remember(self) {
        if let Some((token, key)) = self.news {
            self.cache.remember(token, key);
        }
    }
}

fn none_of<T: AsRef<str>>(name: &str, accepted: &[T]) -> Decline {
    let accepted: Vec<_> = accepted.iter().map(AsRef::as_ref).collect();
    bad(format!("its `{name}` is none of `{}`", accepted.join("`, `"))).into()
}
