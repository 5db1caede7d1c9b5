#![doc = include_str!("docs.md")]

mod config;
mod identity;
mod issuers;
mod path;

pub use config::{ClaimRules, KeysFrom, Settings};
pub use path::{ClaimPath, PathError};

use std::{fmt, sync::Arc};

use callgate::{
    authn::{Authenticator, Decline, Identity, Readiness},
    clock::UnixTime,
    decision::Reason,
    request::{AuthRequest, Credential},
};
use futures_util::future::BoxFuture;
use sha2::{Digest, Sha256};

use crate::{
    http_client::{ClientError, HttpClient, HttpSettings},
    jwks::{DiscoverySource, FileSource, JsonWebKey, KeySource, KeyStore, Timing, UrlSource},
    jws::{Compact, RegisteredClaims, claims::bad},
    kind::{BuildContext, Kind, Observer},
    remembered::{Remembered, Verified},
    settings::Table,
};
use issuers::Issuers;

/// Bearer tokens of one issuer.
pub struct Oidc {
    name: Arc<str>,
    issuer: Arc<str>,
    settings: Settings,
    keys: Arc<KeyStore>,
    issuers: Arc<Issuers>,
    remembered: Arc<Remembered>,
    observer: Arc<dyn Observer>,
}

impl Oidc {
    /// Builds it from its table; what is wrong goes into the table's report.
    pub fn build(context: &BuildContext, mut table: Table<'_>) -> Option<Self> {
        let settings = Settings::read(&mut table);
        let built = settings.and_then(|settings| Self::with(context, settings, &table));
        let faultless = table.finish();
        built.filter(|_| faultless)
    }

    fn with(context: &BuildContext, settings: Settings, table: &Table<'_>) -> Option<Self> {
        // Both are made anew for each configuration: nothing of an older one is left in them.
        let (shared, generation) = (&context.shared, context.generation.to_string());
        let issuers: Arc<Issuers> = shared.obtain(&generation, Issuers::default);
        issuers
            .add(&context.name, &settings.issuer, &settings.audience)
            .map_err(|overlap| table.fault("audience", overlap))
            .ok()?;
        let keys = key_store(context, &settings)
            .map_err(|fault| table.fault(fault.key, fault.text))
            .ok()?;
        let remembered = shared.obtain(&generation, || Remembered::new(context.cache.tokens));
        let name = Arc::clone(&context.name);
        let issuer = Arc::from(settings.issuer.as_str());
        let observer = Arc::clone(&context.observer);
        Some(Self { name, issuer, settings, keys, issuers, remembered, observer })
    }

    /// Who the bearer of this token is.
    ///
    /// # Errors
    /// [`Decline::NotMine`] for a text that is no JWT, names another issuer, or is for a sibling;
    /// rejected with the reason if anything is wrong with one of ours; unavailable without keys.
    pub async fn identify(&self, token: &str, now: UnixTime) -> Result<Identity, Decline> {
        let digest = Remembered::digest(token);
        if let Some(verified) = self.remembered.find(&digest) {
            match self.recall(&verified, now) {
                Some(answer) => return answer,
                None => self.remembered.forget(&digest),
            }
        }
        let verified = Arc::new(self.verify(token).await?);
        let identity = self.judge(&verified, now)?;
        self.remembered.remember(digest, verified);
        Ok(identity)
    }

    /// The answer for a token that was verified before; nothing if it must be verified anew.
    fn recall(&self, verified: &Verified, now: UnixTime) -> Option<Result<Identity, Decline>> {
        if verified.issuer != self.issuer || self.is_for_another(&verified.registered) {
            return Some(Err(Decline::NotMine));
        }
        if verified.authenticator != self.name {
            return None;
        }
        match self.keys.still_has(&verified.key) {
            Ok(true) => {
                self.observer.signature_counted(&self.name, true);
                Some(self.judge(verified, now))
            }
            Ok(false) => None,
            Err(error) => Some(Err(Decline::Unavailable(error.into()))),
        }
    }

    /// Checks everything about a token that never changes, its signature last.
    async fn verify(&self, token: &str) -> Result<Verified, Decline> {
        let compact = Compact::split(token).map_err(|_| Decline::NotMine)?;
        // What cannot be read names no issuer, and so is nobody's.
        let claims = compact.claims().map_err(|_| Decline::NotMine)?;
        if claims.get("iss").and_then(|issuer| issuer.as_str()) != Some(&*self.issuer) {
            return Err(Decline::NotMine);
        }
        let registered = RegisteredClaims::read(&claims)?;
        if registered.audience.is_none() {
            return Err(bad("`aud` is missing".to_owned()).into());
        }
        if self.is_for_another(&registered) {
            return Err(Decline::NotMine);
        }
        let key = self.check_signature(&compact).await?;
        let (authenticator, issuer) = (Arc::clone(&self.name), Arc::clone(&self.issuer));
        Ok(Verified { authenticator, issuer, key, registered, claims, size: token.len() })
    }

    async fn check_signature(&self, compact: &Compact<'_>) -> Result<Arc<JsonWebKey>, Decline> {
        let header = compact.header().map_err(|error| bad(error.to_string()))?;
        if !header.is_of_kind(&self.settings.types) {
            return Err(bad("its `typ` is not one of the configured `types`".to_owned()).into());
        }
        let algorithm = header.algorithm.parse().ok();
        let algorithm = algorithm.filter(|one| self.settings.algorithms.contains(one));
        let Some(algorithm) = algorithm else {
            return Err(
                bad("its `alg` is not one of the configured `algorithms`".to_owned()).into()
            );
        };
        let signature = compact.signature().map_err(|error| bad(error.to_string()))?;
        let key = self.keys.find(header.key_id.as_deref(), algorithm).await?;
        self.observer.signature_counted(&self.name, false);
        match key.verifies(algorithm, compact.signed(), &signature) {
            true => Ok(key),
            false => Err(bad("its signature is not good".to_owned()).into()),
        }
    }

    /// True if a sibling takes it. Otherwise it is ours, even if it is for nobody here: then the
    /// first of the siblings refuses it.
    fn is_for_another(&self, registered: &RegisteredClaims) -> bool {
        let Some(audience) = &registered.audience else { return false };
        !registered.is_for(&self.settings.audience)
            && self.issuers.another_takes(&self.name, &self.issuer, audience)
    }

    /// Everything that depends on the time or the configuration.
    fn judge(&self, verified: &Verified, now: UnixTime) -> Result<Identity, Decline> {
        let Settings { audience, times, rules, .. } = &self.settings;
        if !verified.registered.is_for(audience) {
            let ours = audience.join("`, `");
            return Err(Decline::rejected(
                Reason::WrongAudience,
                format!("the token is not for this system: its `aud` has none of `{ours}`"),
            ));
        }
        verified.registered.check_times(now, times)?;
        Ok(rules.identity(verified)?)
    }
}

impl fmt::Debug for Oidc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Oidc({}, {}, {:?})", self.name, self.issuer, self.keys)
    }
}

impl Authenticator for Oidc {
    fn authenticate<'a>(
        &'a self,
        request: &'a AuthRequest,
    ) -> BoxFuture<'a, Result<Identity, Decline>> {
        Box::pin(async move {
            match request.credential() {
                Credential::Token(token) => self.identify(token.expose(), request.received()).await,
                _ => Err(Decline::NotMine),
            }
        })
    }

    fn readiness(&self) -> Readiness {
        match self.keys.check() {
            Ok(()) => Readiness::Ready,
            Err(error) => Readiness::Waiting(error.to_string()),
        }
    }
}

/// The kind `oidc`.
#[derive(Debug, Clone, Copy, Default)]
pub struct OidcKind;

impl Kind for OidcKind {
    fn name(&self) -> &'static str {
        "oidc"
    }

    fn build(&self, context: &BuildContext, table: Table<'_>) -> Option<Arc<dyn Authenticator>> {
        Some(Arc::new(Oidc::build(context, table)?))
    }
}

struct KeysFault {
    key: &'static str,
    text: String,
}

impl From<ClientError> for KeysFault {
    fn from(error: ClientError) -> Self {
        Self { key: "ca", text: error.to_string() }
    }
}

/// The keys of the issuer. They outlive a reload that leaves their settings as they are, so that
/// a reload neither asks the provider nor waits for it.
fn key_store(context: &BuildContext, settings: &Settings) -> Result<Arc<KeyStore>, KeysFault> {
    let client = HttpSettings {
        ca: settings.ca.clone(),
        insecure_http: settings.insecure_http,
        ..HttpSettings::default()
    };
    let client = || HttpClient::new(&client).map(Arc::new);
    let mut initial = None;
    let source: Arc<dyn KeySource> = match &settings.keys {
        KeysFrom::Url(url) => Arc::new(UrlSource::new(client()?, url.clone())),
        KeysFrom::Discovery(discovery) => Arc::new(
            DiscoverySource::new(client()?, discovery.clone())
                .map_err(|error| KeysFault { key: "issuer", text: error.to_string() })?,
        ),
        KeysFrom::File(path) => {
            let source = FileSource::new(path);
            let fault = |text| KeysFault { key: "jwks_file", text };
            initial = Some(source.read().map_err(|error| fault(error.to_string()))?);
            Arc::new(source)
        }
    };
    let (observer, name) = (Arc::clone(&context.observer), Arc::clone(&context.name));
    let observer = Arc::new(move |fetched| observer.keys_refreshed(&name, fetched));
    let algorithms = &settings.algorithms;
    let store = context.shared.obtain(&identity_of_keys(context, settings), || {
        KeyStore::new(source, algorithms, Timing::default(), observer, context.background)
    });
    if let Some(json) = initial {
        store.preload(&json).map_err(|error| KeysFault {
            key: "jwks_file",
            text: format!("the file is not usable: {error}"),
        })?;
    }
    Ok(store)
}

/// What makes two key stores the same: the entry's name (keys are never shared between entries),
/// and everything that decides which keys are got.
fn identity_of_keys(context: &BuildContext, settings: &Settings) -> String {
    let Settings { issuer, keys, ca, insecure_http, algorithms, .. } = settings;
    let ca = ca.as_ref().map(Sha256::digest);
    let background = context.background;
    format!("{:?}", (&context.name, issuer, keys, ca, insecure_http, algorithms, background))
}

#[cfg(test)]
mod tests;
