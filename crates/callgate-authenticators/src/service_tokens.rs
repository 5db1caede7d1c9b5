#![doc = include_str!("../docs/service-tokens.md")]

mod config;
mod mint;

pub use config::{DEFAULT_MAX_TOKEN_LIFETIME, Service, Settings};
pub use mint::{MintError, mint_service_token};

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use callgate::{
    authn::{
        Authenticator, Decline, GoneCause, Identity, IdentityLookup, Reassessment, Rejection,
        Standing,
    },
    clock::UnixTime,
    record::Reason,
    request::{AuthRequest, Credential},
};
use futures_util::future::BoxFuture;
use serde_json::{Map, Value};

use crate::{
    jws::{
        Compact, RegisteredClaims, TimeRules,
        claims::{bad, bad_signature, issued_at, malformed},
    },
    kind::{BuildContext, Kind},
};
use callgate_config::{Key, Table};

/// How far clocks of services may differ, for `iat` and `nbf` only.
const LEEWAY: Duration = Duration::from_secs(30);
/// Both mean Ed25519: the standard's name, and that of the NATS libraries.
const ALGORITHMS: [&str; 2] = ["EdDSA", "ed25519-nkey"];

/// Accepts tokens that services sign with their own nkeys.
#[derive(Debug)]
pub struct ServiceTokens {
    settings: Settings,
}

impl ServiceTokens {
    /// Accepts tokens of the services in these settings.
    pub fn new(settings: Settings) -> Self {
        Self { settings }
    }

    /// The service that signed this token.
    ///
    /// # Errors
    /// [`Decline::NotMine`] if it is not a JWT, or its issuer is not a configured key; rejected with
    /// the reason if it is not valid.
    pub fn identify(&self, token: &str, now: UnixTime) -> Result<Identity, Decline> {
        let compact = Compact::split(token).map_err(|_| Decline::NotMine)?;
        let claims = compact.claims().map_err(|_| Decline::NotMine)?;
        let issuer = claims.get("iss").and_then(Value::as_str).ok_or(Decline::NotMine)?;
        let (key, service) = self.settings.services.get(issuer).ok_or(Decline::NotMine)?;

        let header = compact.header().map_err(|error| malformed(error.to_string()))?;
        if !ALGORITHMS.contains(&header.algorithm.as_str()) || !header.is_of_kind(&["JWT"]) {
            let detail = "the header must have `typ` JWT and `alg` EdDSA or ed25519-nkey";
            return Err(malformed(detail).into());
        }
        let signature = compact.signature().map_err(|error| malformed(error.to_string()))?;
        if !key.verifies(compact.signed(), &signature) {
            return Err(bad_signature(format!("the key {issuer} did not sign it")).into());
        }
        let expires =
            self.judge(service, issuer, &claims, now).map_err(Rejection::after_signature)?;
        Ok(Identity {
            user: service.user.clone(),
            expires_at: Some(expires),
            issued_at: issued_at(&claims),
            credential_id: Some(issuer.into()),
            proposal: service.proposal.clone(),
            claims,
            ..Identity::default()
        })
    }

    /// Checks the claims of a token whose signature is valid; returns when it expires.
    fn judge(
        &self,
        service: &Service,
        issuer: &str,
        claims: &Map<String, Value>,
        now: UnixTime,
    ) -> Result<UnixTime, Rejection> {
        let registered = RegisteredClaims::read(claims)?;
        if registered.subject != service.user {
            let user = &service.user;
            return Err(bad(format!("the key {issuer} may sign only for `{user}`")));
        }
        self.check_audience(&registered)?;
        self.check_times(&registered, now)?;
        Ok(registered.expires)
    }

    fn check_audience(&self, token: &RegisteredClaims) -> Result<(), Rejection> {
        match (&self.settings.audience, &token.audience) {
            (Some(ours), _) => token.check_audience(ours),
            (None, None) => Ok(()),
            // RFC 7519 section 4.1.3: a recipient that `aud` does not name must reject the token.
            (None, Some(_)) => Err(Rejection::new(
                Reason::WrongAudience,
                "the token has an `aud`, but no `audience` is configured here",
            )),
        }
    }

    fn check_times(&self, token: &RegisteredClaims, now: UnixTime) -> Result<(), Rejection> {
        if token.issued.is_none() {
            return Err(bad("`iat` is missing"));
        }
        let max_lifetime = Some(self.settings.max_lifetime);
        token.check_times(now, &TimeRules { leeway: LEEWAY, max_lifetime })
    }
}

impl Authenticator for ServiceTokens {
    fn authenticate<'a>(
        &'a self,
        request: &'a AuthRequest,
    ) -> BoxFuture<'a, Result<Identity, Decline>> {
        Box::pin(async move {
            match request.credential() {
                Credential::Token(token) => self.identify(token.expose(), request.received()),
                _ => Err(Decline::NotMine),
            }
        })
    }

    fn lookup(&self) -> Option<&dyn IdentityLookup> {
        Some(self)
    }

    fn reassess(&self, identity: &Identity, _how: &Reassessment) -> Standing {
        let Some(key) = identity.credential_id.as_deref() else { return Standing::Unknown };
        let service = self.settings.services.get(key).map(|(_, service)| service);
        match service.filter(|service| service.user == identity.user) {
            Some(service) => Standing::Current(Box::new(Identity {
                proposal: service.proposal.clone(),
                ..identity.clone()
            })),
            None => Standing::Gone(GoneCause::KeyRemoved),
        }
    }
}

/// The identity of a service, without a token.
fn identity_of(key: &str, service: &Service) -> Identity {
    let claims = [("iss", key), ("sub", &*service.user)];
    Identity {
        user: service.user.clone(),
        proposal: service.proposal.clone(),
        claims: claims.map(|(name, text)| (name.to_owned(), text.into())).into_iter().collect(),
        ..Identity::default()
    }
}

impl IdentityLookup for ServiceTokens {
    fn find<'a>(
        &'a self,
        user: &'a str,
        _now: UnixTime,
    ) -> BoxFuture<'a, Option<Result<Identity, Decline>>> {
        let of_user = self.settings.services.iter().filter(|(_, (_, known))| known.user == user);
        let found = of_user.min_by_key(|(key, _)| *key);
        let found = found.map(|(key, (_, service))| identity_of(key, service));
        Box::pin(async move {
            Some(found.ok_or_else(|| {
                let detail = format!("there is no service `{}`", user.escape_debug());
                Decline::rejected(Reason::UnknownUser, detail)
            }))
        })
    }

    fn for_each(&self, _now: UnixTime, visit: &mut dyn FnMut(Identity)) -> Option<()> {
        // A service may have several keys.
        let mut seen = BTreeSet::new();
        for (key, (_, service)) in &self.settings.services {
            if seen.insert(Arc::as_ptr(service)) {
                visit(identity_of(key, service));
            }
        }
        Some(())
    }
}

/// The kind `service_tokens`.
#[derive(Debug, Clone, Copy, Default)]
pub struct ServiceTokensKind;

impl Kind for ServiceTokensKind {
    fn name(&self) -> &'static str {
        "service_tokens"
    }

    fn keys(&self) -> &'static [Key] {
        config::KEYS
    }

    fn token_keys(&self, table: &Value) -> Vec<String> {
        let services = table.get("services").map(items).unwrap_or_default();
        let keys = services.iter().flat_map(|service| {
            ["public_key", "public_keys"].into_iter().filter_map(|name| service.get(name))
        });
        let texts = keys.flat_map(items).filter_map(Value::as_str);
        texts.filter_map(|text| Some(config::parse_key(text).ok()?.as_str().to_owned())).collect()
    }

    fn build(&self, context: &BuildContext, table: Table<'_>) -> Option<Arc<dyn Authenticator>> {
        let settings = Settings::read(context, table)?;
        Some(Arc::new(ServiceTokens::new(settings)))
    }
}

/// The items of a list, or the value itself if it is not a list.
fn items(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(list) => list.iter().collect(),
        one => vec![one],
    }
}

#[cfg(test)]
mod tests;
