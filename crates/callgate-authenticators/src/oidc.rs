#![doc = include_str!("../docs/oidc.md")]

mod config;
mod identity;

use std::{fmt, sync::Arc, time::Duration};

use callgate::{
    authn::{
        Authenticator, BackendError, Decline, GoneCause, Identity, IdentityLookup, Probe,
        ProbeReport, Readiness, Reassessment, Rejection, Standing,
    },
    clock::UnixTime,
    request::{AuthRequest, Credential},
};
use callgate_config::{Key, Table};
use futures_util::future::BoxFuture;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use crate::{
    audience_routing::{AudienceRouting, Entry, Issuer},
    http_client::HttpSettings,
    jwks::{DiscoverySource, KeySource, KeyStore, Timing},
    jws::{
        RegisteredClaims,
        claims::{bad, check_audience, read_audience},
        unverified,
    },
    kind::{BuildContext, Kind},
    state_dir::StateDir,
    token_verifier::{self, PROBE_TIMEOUT, TokenVerifier, http_client, state_file},
};
#[cfg(feature = "introspection")]
pub(crate) use config::ClaimRules;
pub use config::check_issuer;
use config::{KeysFrom, Settings};

/// Accepts the bearer tokens of one issuer.
pub struct Oidc {
    issuer: Arc<str>,
    settings: Settings,
    verifier: TokenVerifier,
    routing: AudienceRouting,
}

impl Oidc {
    /// Builds the authenticator; errors go into the table's report.
    pub fn build(context: &BuildContext, mut table: Table<'_>) -> Option<Self> {
        let settings = Settings::read(&mut table);
        let built = settings.and_then(|settings| Self::with(context, settings, &table));
        let faultless = table.finish();
        built.filter(|_| faultless)
    }

    fn with(context: &BuildContext, settings: Settings, table: &Table<'_>) -> Option<Self> {
        let entry = Entry {
            name: Arc::clone(&context.name),
            audience: settings.audience.clone(),
            audience_claim: Some(settings.audience_claim.clone()),
            issuer: Some(Arc::new(Issuer::configured(&settings.issuer))),
            backend: settings.issuer.clone(),
        };
        let routing = AudienceRouting::register(context, "oidc", entry, table)?;
        let keys = key_store(context, &settings, table)?;
        let verifier = TokenVerifier::new(context, keys, settings.types.clone());
        let issuer = Arc::from(settings.issuer.as_str());
        Some(Self { issuer, settings, verifier, routing })
    }

    /// The identity of the token's bearer.
    ///
    /// # Errors
    /// [`Decline::NotMine`] if it is not a JWT, has another issuer, or is for another entry of this
    /// issuer; rejected with the reason if it is not valid; unavailable without keys.
    pub async fn identify(&self, token: &str, now: UnixTime) -> Result<Identity, Decline> {
        // A text that cannot be read names no issuer.
        let (token, claims) = unverified(token).map_err(|_| Decline::NotMine)?;
        if claims.get("iss").and_then(Value::as_str) != Some(&*self.issuer) {
            return Err(Decline::NotMine);
        }
        let registered = RegisteredClaims::read(&claims)?;
        if self.routing.is_for_another(&claims, &self.issuer) {
            return Err(Decline::NotMine);
        }
        let audience = self.audience(&claims)?;
        let verified = match self.verifier.verify(&token).await {
            // Entries may have different keys. Only the one whose key signed the token may answer
            // that its audience is wrong.
            Err(Decline::Rejected(_)) if self.routing.may_be_refused_later(&claims) => {
                return Err(Decline::NotMine);
            }
            result => result?,
        };
        let identity = self.judge(claims, &registered, &audience, now);
        let identity = identity.map_err(Rejection::after_signature)?;
        let credential_id = Some(verified.key_name().into());
        verified.remember();
        Ok(Identity { credential_id, ..identity })
    }

    /// The identity of verified claims, for explanations only.
    fn identity_of(&self, claims: Map<String, Value>, now: UnixTime) -> Result<Identity, Decline> {
        let is_ours = claims.get("iss").and_then(Value::as_str) == Some(&*self.issuer);
        if !is_ours || self.routing.is_for_another(&claims, &self.issuer) {
            return Err(Decline::NotMine);
        }
        let registered = RegisteredClaims::read(&claims)?;
        let audience = self.audience(&claims)?;
        Ok(self.judge(claims, &registered, &audience, now)?)
    }

    /// Checks the claims of a token whose signature is valid.
    fn judge(
        &self,
        claims: Map<String, Value>,
        registered: &RegisteredClaims,
        audience: &[String],
        now: UnixTime,
    ) -> Result<Identity, Rejection> {
        check_audience(audience, self.routing.audience(), &self.settings.audience_claim)?;
        registered.check_times(now, &self.settings.times)?;
        self.settings.rules.identity(claims, registered.expires)
    }

    fn audience(&self, claims: &Map<String, Value>) -> Result<Vec<String>, Rejection> {
        let path = &self.settings.audience_claim;
        let audience = read_audience(path.find(claims), path)?;
        audience.ok_or_else(|| match path.is("aud") {
            true => {
                bad("`aud` is missing: if another claim of these tokens names the audience, set \
                 `audience_claim`"
                    .to_owned())
            }
            false => bad(format!("`{path}`, the `audience_claim`, is missing")),
        })
    }
}

impl fmt::Debug for Oidc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Oidc({}, {}, {:?})", self.routing.name(), self.issuer, self.verifier.keys)
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

    fn remark(&self) -> Option<String> {
        self.verifier.remark()
    }

    fn probe(&self, _: Probe) -> Option<BoxFuture<'_, Result<ProbeReport, BackendError>>> {
        self.verifier.probe()
    }

    fn probe_timeout(&self) -> Option<Duration> {
        Some(PROBE_TIMEOUT)
    }

    fn only_issuer(&self) -> Option<&str> {
        Some(&self.issuer)
    }

    fn lookup(&self) -> Option<&dyn IdentityLookup> {
        Some(self)
    }

    fn reassess(&self, identity: &Identity, how: &Reassessment) -> Standing {
        let key = identity.credential_id.as_deref().filter(|_| how.withdrawn_keys);
        match key.is_some_and(|key| self.verifier.is_withdrawn(key)) {
            true => Standing::Gone(GoneCause::KeyRemoved),
            false => Standing::Current(Box::new(identity.clone())),
        }
    }

    fn changes(&self) -> Vec<watch::Receiver<u64>> {
        vec![self.verifier.keys.changes()]
    }
}

/// How long a token without `exp` is assumed to be valid, in explanations only.
const ASSUMED_LIFETIME: Duration = Duration::from_secs(3600);

impl IdentityLookup for Oidc {
    fn of_claims(
        &self,
        claims: &Map<String, Value>,
        now: UnixTime,
    ) -> Option<Result<Identity, Decline>> {
        let mut claims = claims.clone();
        let mut assume = |name: &str, value: Value| {
            claims.entry(name).or_insert(value);
        };
        assume("iss", (&*self.issuer).into());
        if self.settings.audience_claim.is("aud") {
            assume("aud", self.routing.audience().into());
        }
        assume("iat", now.seconds().into());
        assume("exp", now.plus(ASSUMED_LIFETIME).seconds().into());
        Some(self.identity_of(claims, now))
    }
}

/// The kind `oidc`.
#[derive(Debug, Clone, Copy, Default)]
pub struct OidcKind;

impl Kind for OidcKind {
    fn name(&self) -> &'static str {
        "oidc"
    }

    fn keys(&self) -> &'static [Key] {
        config::KEYS
    }

    fn build(&self, context: &BuildContext, table: Table<'_>) -> Option<Arc<dyn Authenticator>> {
        Some(Arc::new(Oidc::build(context, table)?))
    }
}

/// The issuer's keys. They survive a reload that does not change their settings, so that a reload
/// neither queries the provider nor waits for it.
fn key_store(
    context: &BuildContext,
    settings: &Settings,
    table: &Table<'_>,
) -> Option<Arc<KeyStore>> {
    let Settings { issuer, keys, ca, insecure_http, algorithms, max_stale, .. } = settings;
    let http =
        HttpSettings { ca: ca.clone(), insecure_http: *insecure_http, ..HttpSettings::default() };
    let (location, source): (_, Arc<dyn KeySource>) = match keys {
        KeysFrom::Location(location) => (Some(location), location.source(table, &http)?),
        KeysFrom::Discovery(discovery) => {
            let source = DiscoverySource::new(http_client(table, &http)?, discovery.clone());
            (None, Arc::new(source.map_err(|error| table.fault("issuer", error)).ok()?))
        }
    };
    // Entries never share keys, so the entry's name is part of the id.
    let background = context.services.background;
    let ca = ca.as_ref().map(Sha256::digest);
    let state_dir = context.services.state_dir.as_ref().map(StateDir::path);
    let saved = state_file(context, "oidc", location, &(issuer, keys, ca, insecure_http));
    let same = (&context.name, issuer, keys, ca, insecure_http, algorithms, background);
    let id = format!("{same:?} {max_stale:?} {state_dir:?}");
    let timing = Timing { keep: *max_stale, ..Timing::default() };
    token_verifier::key_store(context, table, &id, location, |observer| {
        KeyStore::kept_in(saved, source, algorithms, timing, observer, background)
    })
}

#[cfg(test)]
mod tests;
