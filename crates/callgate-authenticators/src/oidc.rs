#![doc = include_str!("../../../docs/oidc.md")]

mod audience_routing;
mod config;
mod identity;
mod path;

pub use config::{ClaimRules, KeysFrom, Settings};
pub use path::{ClaimPath, PathError};

use std::{fmt, sync::Arc};

use callgate::{
    authn::{Authenticator, Decline, Identity, Readiness},
    clock::UnixTime,
    request::{AuthRequest, Credential},
};
use futures_util::future::BoxFuture;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{
    http_client::{HttpClient, HttpSettings},
    jwks::{DiscoverySource, FileSource, KeySource, KeyStore, Timing, UrlSource},
    jws::{RegisteredClaims, claims::bad, unverified},
    kind::{BuildContext, Kind},
    token_verifier::{Reported, TokenVerifier, read_key_file, refreshes, take_key_file},
};
use audience_routing::AudienceRouting;
use callgate_config::Table;

/// Bearer tokens of one issuer.
pub struct Oidc {
    name: Arc<str>,
    issuer: Arc<str>,
    settings: Settings,
    verifier: TokenVerifier,
    routing: Arc<AudienceRouting>,
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
        // Made anew for each configuration: nothing of an older one is left in it.
        let routing: Arc<AudienceRouting> = context
            .services
            .shared
            .obtain(&context.services.generation.to_string(), AudienceRouting::default);
        routing
            .add(&context.name, &settings.issuer, &settings.audience)
            .map_err(|overlap| table.fault("audience", overlap))
            .ok()?;
        let keys = key_store(context, &settings, table).ok()?;
        let verifier = TokenVerifier::new(context, keys, settings.types.clone());
        let name = Arc::clone(&context.name);
        let issuer = Arc::from(settings.issuer.as_str());
        Some(Self { name, issuer, settings, verifier, routing })
    }

    /// Who the bearer of this token is.
    ///
    /// # Errors
    /// [`Decline::NotMine`] for a text that is no JWT, names another issuer, or is for a sibling;
    /// rejected with the reason if anything is wrong with one of ours; unavailable without keys.
    pub async fn identify(&self, token: &str, now: UnixTime) -> Result<Identity, Decline> {
        // What cannot be read names no issuer, and so is nobody's.
        let (token, claims) = unverified(token).map_err(|_| Decline::NotMine)?;
        if claims.get("iss").and_then(Value::as_str) != Some(&*self.issuer) {
            return Err(Decline::NotMine);
        }
        let registered = RegisteredClaims::read(&claims)?;
        if registered.audience.is_none() {
            return Err(bad("`aud` is missing".to_owned()).into());
        }
        if self.is_for_another(&registered) {
            return Err(Decline::NotMine);
        }
        let signed = match self.verifier.check(&token).await {
            Err(Decline::Rejected(_)) if self.may_be_judged_later(&registered) => {
                return Err(Decline::NotMine);
            }
            checked => checked?,
        };
        registered.check_audience(&self.settings.audience)?;
        registered.check_times(now, &self.settings.times)?;
        let identity = self.settings.rules.identity(claims, registered.expires)?;
        signed.remember();
        Ok(identity)
    }

    /// True if a sibling takes it. Otherwise it is ours, even if it is for nobody here.
    fn is_for_another(&self, registered: &RegisteredClaims) -> bool {
        let Some(audience) = &registered.audience else { return false };
        !registered.is_for(&self.settings.audience)
            && self.routing.another_takes(&self.name, &self.issuer, audience)
    }

    /// True for a token that is for nobody here, if a sibling follows: siblings may have keys of their
    /// own, and that it is for nobody is told only by who knows that the issuer signed it. Each of them
    /// refuses it, at last.
    fn may_be_judged_later(&self, registered: &RegisteredClaims) -> bool {
        !registered.is_for(&self.settings.audience)
            && self.routing.another_follows(&self.name, &self.issuer)
    }
}

impl fmt::Debug for Oidc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Oidc({}, {}, {:?})", self.name, self.issuer, self.verifier.keys)
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
        self.verifier.readiness()
    }

    fn issuer(&self) -> Option<String> {
        Some(self.issuer.to_string())
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

/// The keys of the issuer. They outlive a reload that leaves their settings as they are, so that
/// a reload neither asks the provider nor waits for it.
fn key_store(
    context: &BuildContext,
    settings: &Settings,
    table: &Table<'_>,
) -> Result<Arc<KeyStore>, Reported> {
    let client = HttpSettings {
        ca: settings.ca.clone(),
        insecure_http: settings.insecure_http,
        ..HttpSettings::default()
    };
    let reported = |key, error: &dyn fmt::Display| {
        table.fault(key, error);
        Reported
    };
    let client = || HttpClient::new(&client).map(Arc::new).map_err(|error| reported("ca", &error));
    let mut initial = None;
    let source: Arc<dyn KeySource> = match &settings.keys {
        KeysFrom::Url(url) => Arc::new(UrlSource::new(client()?, url.clone())),
        KeysFrom::Discovery(discovery) => Arc::new(
            DiscoverySource::new(client()?, discovery.clone())
                .map_err(|error| reported("issuer", &error))?,
        ),
        KeysFrom::File(path) => {
            let source = FileSource::new(path);
            initial = read_key_file(context, table, &source)?;
            Arc::new(source)
        }
    };
    let observer = refreshes(context);
    let algorithms = &settings.algorithms;
    let store = context.services.shared.obtain(&identity_of_keys(context, settings), || {
        KeyStore::new(source, algorithms, Timing::default(), observer, context.services.background)
    });
    if let Some(json) = initial {
        take_key_file(context, table, &store, &json)?;
    }
    Ok(store)
}

/// What makes two key stores the same: the entry's name (keys are never shared between entries),
/// and everything that decides which keys are got.
fn identity_of_keys(context: &BuildContext, settings: &Settings) -> String {
    let Settings { issuer, keys, ca, insecure_http, algorithms, .. } = settings;
    let ca = ca.as_ref().map(Sha256::digest);
    let background = context.services.background;
    format!("{:?}", (&context.name, issuer, keys, ca, insecure_http, algorithms, background))
}

#[cfg(test)]
mod tests;
