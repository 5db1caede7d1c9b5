#![doc = include_str!("../docs/introspection.md")]

mod answer;
mod config;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use callgate::{
    authn::{Authenticator, BackendError, Decline, Identity, Probe, ProbeReport, Readiness},
    clock::UnixTime,
    jwt::looks_like_jwt,
    request::{AuthRequest, Credential},
    secret::Secret,
};
use callgate_config::{Key, Table};
use data_encoding::BASE64URL_NOPAD;
use futures_util::future::BoxFuture;
use reqwest::StatusCode;
use serde_json::Value;
use tokio::time::Instant;

use crate::{
    backend::{Backend, FirstContact, QueryError},
    jws::{claims::bad, unverified},
    kind::{BuildContext, Kind},
    network::AnswerCache,
    oauth_client::OauthClient,
    passwords::digest,
};
use answer::{Introspected, MAX_REMEMBERED_BYTES};
use config::Settings;

/// Maximum number of remembered answers, of each kind.
const MAX_REMEMBERED: usize = 10_000;

/// The kind `introspection`: opaque tokens, checked by their issuer (RFC 7662).
#[derive(Debug, Clone, Copy, Default)]
pub struct IntrospectionKind;

impl Kind for IntrospectionKind {
    fn name(&self) -> &'static str {
        "introspection"
    }

    fn keys(&self) -> &'static [Key] {
        config::KEYS
    }

    fn build(
        &self,
        context: &BuildContext,
        mut table: Table<'_>,
    ) -> Option<Arc<dyn Authenticator>> {
        let settings = Settings::read(context, &mut table);
        let is_faultless = table.finish();
        let (settings, server, connections) = settings.filter(|_| is_faultless)?;
        let server = Arc::new(server);
        let first_contact =
            FirstContact::start(context, &server, |server| async move { server.reach().await });
        let capacity = |duration: Duration| if duration.is_zero() { 0 } else { MAX_REMEMBERED };
        Some(Arc::new(Introspection {
            name: Arc::clone(&context.name),
            backend: Backend::new(context, &server.target(), connections),
            active: AnswerCache::new(capacity(settings.remember)),
            rejected: AnswerCache::new(capacity(settings.remember_rejected)),
            client: Arc::new(Client {
                name: Arc::clone(&context.name),
                server,
                is_refused: AtomicBool::new(false),
            }),
            settings,
            first_contact,
        }))
    }
}

/// Accepts the opaque tokens of one authorization server.
struct Introspection {
    name: Arc<str>,
    settings: Settings,
    client: Arc<Client>,
    backend: Backend<Arc<Introspected>>,
    /// Claims of active tokens. They are judged again on every login.
    active: AnswerCache<[u8; 32], Arc<Introspected>>,
    /// A cache of its own, so that made-up tokens never displace good ones.
    rejected: AnswerCache<[u8; 32], ()>,
    first_contact: FirstContact,
}

impl Introspection {
    async fn identify(&self, request: &AuthRequest) -> Result<Identity, Decline> {
        let Some(token) = self.own_token(request.credential()) else {
            return Err(Decline::NotMine);
        };
        let key = digest(&[self.name.as_bytes(), token.expose().as_bytes()]);
        if let Some(answer) = self.active.get(&key) {
            self.backend.count_remembered();
            return Ok(answer.judge(&self.settings, request)?);
        }
        if self.rejected.get(&key).is_some() {
            self.backend.count_remembered();
            return Err(self.inactive().into());
        }
        let result = self.introspect(request, token, key).await.map_err(Decline::from);
        self.backend.count(&result);
        result
    }

    /// The token, if this authenticator takes it.
    fn own_token<'r>(&self, credential: &'r Credential) -> Option<&'r Secret> {
        let settings = &self.settings;
        let token = match credential {
            Credential::Token(token) => token,
            Credential::Password { user, password }
                if settings.password_user.as_deref() == Some(user.as_str())
                    && !password.is_empty() =>
            {
                password
            }
            _ => return None,
        };
        let text = token.expose();
        if settings.prefix.as_deref().is_some_and(|prefix| !text.starts_with(prefix)) {
            return None;
        }
        if !looks_like_jwt(text) {
            return Some(token);
        }
        let is_own = settings.takes_jwts
            && settings.issuer.as_deref().is_none_or(|issuer| {
                let claims = unverified(text).map(|(_, claims)| claims).unwrap_or_default();
                claims.get("iss").and_then(Value::as_str) == Some(issuer)
            });
        is_own.then_some(token)
    }

    async fn introspect(
        &self,
        request: &AuthRequest,
        token: &Secret,
        key: [u8; 32],
    ) -> Result<Identity, QueryError> {
        let client = Arc::clone(&self.client);
        let token = token.clone();
        let query = move |_deadline| async move { client.ask(&token).await.map(Arc::new) };
        let answer = self.backend.query(&[&key], request, query).await?;
        let now = Instant::now();
        if answer.claims().is_none() {
            self.rejected.insert(key, (), now + self.settings.remember_rejected);
            return Err(self.inactive());
        }
        let identity = answer.judge(&self.settings, request);
        if identity.is_ok() && answer.bytes <= MAX_REMEMBERED_BYTES {
            let remember = self.remember_for(&answer, request.received());
            self.active.insert(key, Arc::clone(&answer), now + remember);
        }
        identity
    }

    /// Never past the token's own end.
    fn remember_for(&self, answer: &Introspected, now: UnixTime) -> Duration {
        let left = answer.expires().map(|end| u64::try_from(end.seconds_since(now)).unwrap_or(0));
        let left = left.map_or(Duration::MAX, Duration::from_secs);
        self.settings.remember.min(left)
    }

    /// Expired, revoked and unknown tokens are the same answer (RFC 7662 section 2.2).
    fn inactive(&self) -> QueryError {
        match self.settings.fall_through {
            true => QueryError::NotMine,
            false => QueryError::Rejected(bad("the server says that the token is not active")),
        }
    }

    async fn probe_server(&self) -> Result<ProbeReport, BackendError> {
        let mut random = [0; 24];
        aws_lc_rs::rand::fill(&mut random).map_err(|_| "the system has no random numbers")?;
        let prefix = self.settings.prefix.as_deref().unwrap_or_default();
        let made_up = Secret::new(format!("{prefix}{}", BASE64URL_NOPAD.encode(&random)));
        let answer = self.client.ask(&made_up).await?;
        if answer.claims().is_some() {
            return Err("the server says that a made-up token is active".into());
        }
        let notes = vec!["a made-up token is not active".to_owned()];
        Ok(ProbeReport { notes, warnings: Vec::new() })
    }
}

/// Asks the server about tokens.
struct Client {
    name: Arc<str>,
    server: Arc<OauthClient>,
    /// The server refused Callgate's own credentials, and the log says so.
    is_refused: AtomicBool,
}

impl Client {
    async fn ask(&self, token: &Secret) -> Result<Introspected, QueryError> {
        let fields = [("token", token.expose()), ("token_type_hint", "access_token")];
        let (url, status, body) = self.server.post(&fields).await?;
        match status {
            StatusCode::OK => {
                self.is_refused.store(false, Ordering::Relaxed);
                Introspected::parse(&body).map_err(|error| {
                    QueryError::unusable(format!("the answer of {url} is malformed: {error}"))
                })
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                if !self.is_refused.swap(true, Ordering::Relaxed) {
                    tracing::error!(
                        authenticator = &*self.name,
                        "the authorization server refuses Callgate's own credentials"
                    );
                }
                Err(QueryError::unusable(format!(
                    "{url} answered {status}: it refuses Callgate's own credentials"
                )))
            }
            status => Err(QueryError::unusable(format!("{url} answered {status}"))),
        }
    }
}

impl Authenticator for Introspection {
    fn authenticate<'a>(
        &'a self,
        request: &'a AuthRequest,
    ) -> BoxFuture<'a, Result<Identity, Decline>> {
        Box::pin(self.identify(request))
    }

    fn readiness(&self) -> Readiness {
        self.first_contact.readiness()
    }

    fn probe(&self, _: Probe) -> Option<BoxFuture<'_, Result<ProbeReport, BackendError>>> {
        Some(Box::pin(self.probe_server()))
    }
}

impl fmt::Debug for Introspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Introspection({}, {})", self.name, self.client.server.target())
    }
}

#[cfg(test)]
mod tests;
