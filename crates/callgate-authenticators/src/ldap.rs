#![doc = include_str!("../docs/ldap.md")]

use std::{fmt, sync::Arc, time::Duration};

use callgate::{
    authn::{Authenticator, BackendError, Decline, Identity, Probe, ProbeReport, Readiness},
    record::Reason,
    request::{AuthRequest, Credential},
    secret::Secret,
};
use callgate_config::{Key, Table};
use futures_util::future::BoxFuture;
use tokio::time::Instant;

use crate::{
    backend::{Backend, FirstContact, Nul, precheck},
    kind::{BuildContext, Kind, never_falls_through},
    ldap_client::{Pool, PoolSettings, Server},
    network::{AnswerCache, BackgroundTasks},
    passwords::digest,
};

mod config;
mod entry;
mod groups;
mod login;
mod outcome;
mod probe;

use config::{LoginBind, Settings};
use login::{Client, Login, LoginKey};

/// How many logins are remembered.
const MAX_REMEMBERED: usize = 10_000;

/// How often idle connections are looked through.
const SWEEP_INTERVAL: Duration = Duration::from_secs(10);

/// Users of an LDAP directory.
pub struct Ldap {
    context: BuildContext,
    client: Arc<Client>,
    backend: Arc<Backend<Identity>>,
    remembered: AnswerCache<LoginKey, Identity>,
    contact: FirstContact,
    _sweeper: BackgroundTasks,
}

impl Ldap {
    /// Builds the authenticator; errors go into the table's report.
    fn build(context: &BuildContext, mut table: Table<'_>) -> Option<Self> {
        let fall_through = context.chain.read_password_fall_through(&mut table);
        let settings = Settings::read(&mut table, fall_through);
        if let Some(settings) = &settings
            && settings.map.proposes_access()
            && let Some(warning) = context.policy.ceiling_warning("entries")
        {
            table.warn("map", warning);
        }
        let settings = settings.and_then(|mut settings| {
            let all_plain = settings.servers.iter().all(Server::is_plain);
            let tls = match all_plain {
                true => None,
                false => Some(settings.transport.client_config(&table)?),
            };
            let account = match &mut settings.login {
                LoginBind::Search(account) => account.take(),
                LoginBind::Direct(_) => None,
            };
            let pool = PoolSettings {
                servers: settings.servers.clone(),
                tls,
                connect_timeout: settings.transport.connect_timeout,
                connections: settings.transport.connections,
                account,
            };
            Some((settings, Arc::new(Pool::new(pool))))
        });
        let faultless = table.finish();
        let (settings, pool) = settings.filter(|_| faultless)?;
        Some(Self::start(context, settings, pool))
    }

    fn start(context: &BuildContext, settings: Settings, pool: Arc<Pool>) -> Self {
        let servers: Vec<_> = settings.servers.iter().map(ToString::to_string).collect();
        let connections = settings.transport.connections;
        let backend = Arc::new(Backend::new(context, &servers.join(", "), connections));
        let remember = context.services.cache.passwords;
        if context.services.background && !remember.is_zero() {
            tracing::info!(
                authenticator = &*context.name,
                "changes in the directory take effect within {remember:?}, the time for which logins \
                 are remembered"
            );
        }
        let sweeper = BackgroundTasks::every(context.services.background, SWEEP_INTERVAL, {
            let pool = Arc::clone(&pool);
            let backend = Arc::clone(&backend);
            move || {
                pool.close_expired();
                backend.observe_idle(pool.idle());
            }
        });
        let name = Arc::clone(&context.name);
        let client = Arc::new(Client::new(name, settings, pool, MAX_REMEMBERED));
        let contact =
            FirstContact::start(
                context,
                &client,
                |client| async move { client.check_contact().await },
            );
        Self {
            context: context.clone(),
            client,
            backend,
            remembered: AnswerCache::new(MAX_REMEMBERED),
            contact,
            _sweeper: sweeper,
        }
    }

    async fn identify(&self, request: &AuthRequest) -> Result<Identity, Decline> {
        let Credential::Password { user, password } = request.credential() else {
            return Err(Decline::NotMine);
        };
        precheck(user, password, Nul::Refused)?;
        let name = self.context.name.as_bytes();
        let key = digest(&[name, user.as_bytes(), password.expose().as_bytes()]);
        if let Some(remembered) = self.remembered(&key, request) {
            self.backend.count_remembered();
            return remembered;
        }
        let answer = self.query(request, user, password, key).await;
        self.backend.count(&answer);
        answer
    }

    /// The answer to an earlier login with the same name and password.
    fn remembered(
        &self,
        key: &LoginKey,
        request: &AuthRequest,
    ) -> Option<Result<Identity, Decline>> {
        if let Some(rejection) = self.client.refused.get(key) {
            return Some(Err(rejection.into()));
        }
        let identity = self.remembered.get(key)?;
        Some(match identity.expires_at {
            Some(end) if end <= request.received() => {
                let detail = format!("`{}` expired at {end}", identity.user.escape_debug());
                Err(Decline::rejected(Reason::UserExpired, detail))
            }
            Some(_) | None => Ok(identity),
        })
    }

    async fn query(
        &self,
        request: &AuthRequest,
        user: &str,
        password: &Secret,
        key: LoginKey,
    ) -> Result<Identity, Decline> {
        let client = Arc::clone(&self.client);
        let user = user.to_owned();
        let password = password.clone();
        let received = request.received();
        let may_hurry = self.context.chain.passwords_taken_later;
        let query = move |deadline| async move {
            client.log_in(Login { user, password, key, received, deadline, may_hurry }).await
        };
        let answer = self.backend.query(&[&key], request, query).await;
        self.backend.observe_idle(self.client.pool.idle());
        let identity = answer?;
        let expires = Instant::now() + self.context.services.cache.passwords;
        self.remembered.insert(key, identity.clone(), expires);
        Ok(identity)
    }
}

impl Authenticator for Ldap {
    fn authenticate<'a>(
        &'a self,
        request: &'a AuthRequest,
    ) -> BoxFuture<'a, Result<Identity, Decline>> {
        Box::pin(self.identify(request))
    }

    fn readiness(&self) -> Readiness {
        self.contact.readiness()
    }

    fn probe(&self, _probe: Probe) -> Option<BoxFuture<'_, Result<ProbeReport, BackendError>>> {
        let deadline = Instant::now() + self.context.timeout;
        Some(Box::pin(self.client.probe(deadline)))
    }
}

impl fmt::Debug for Ldap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ldap").field("backend", &self.backend).finish_non_exhaustive()
    }
}

/// The kind `ldap`.
#[derive(Debug, Clone, Copy, Default)]
pub struct LdapKind;

impl Kind for LdapKind {
    fn name(&self) -> &'static str {
        "ldap"
    }

    fn keys(&self) -> &'static [Key] {
        config::KEYS
    }

    fn takes_passwords(&self, _table: &serde_json::Value) -> bool {
        true
    }

    fn refuses_unknown_users(&self, table: &serde_json::Value) -> bool {
        never_falls_through(table)
    }

    fn build(&self, context: &BuildContext, table: Table<'_>) -> Option<Arc<dyn Authenticator>> {
        Some(Arc::new(Ldap::build(context, table)?))
    }
}

#[cfg(test)]
mod tests;
