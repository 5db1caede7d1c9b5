#![doc = include_str!("../docs/kubernetes.md")]

mod access;
mod accounts;
mod annotations;
mod api;
mod client_error;
mod cluster;
mod config;
mod keys;
mod persistent;
mod review;
mod token;
mod watch;

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use callgate::{
    authn::{
        Authenticator, BackendError, Decline, GoneCause, Identity, IdentityLookup, Probe,
        ProbeReport, Readiness, Reassessment, Rejection, Standing,
    },
    clock::UnixTime,
    policy::settings::RoleSettings,
    record::Reason,
    request::{AuthRequest, Credential},
};
use callgate_config::{Key, Table};
use futures_util::future::BoxFuture;
use serde_json::{Map, Value};
use tokio::sync::watch::Receiver;

use crate::{
    audience_routing::{AudienceRouting, Entry, Issuer},
    jwks::KeyStore,
    jws::{Algorithm, RegisteredClaims, TimeRules, claims::issued_at, unverified},
    kind::{BuildContext, Kind},
    token_verifier::{PROBE_TIMEOUT, TokenVerifier},
};
use accounts::Account;
use api::ApiServer;
use cluster::{Cluster, WatchSettings};
use config::{Settings, Verify};
use persistent::{cluster_id, keys_proof};
use review::Reviews;
use token::{MAX_SUBJECT, ServiceAccountClaims, is_service_account};

const TIMES: TimeRules = TimeRules { leeway: Duration::from_secs(30), max_lifetime: None };

/// Accepts the service account tokens of one Kubernetes cluster.
pub struct Kubernetes {
    namespaces: Vec<String>,
    proof: Proof,
    cluster: Arc<Cluster>,
    routing: AudienceRouting,
}

/// How a token is proven.
enum Proof {
    Keys { issuer: Arc<Issuer>, verifier: TokenVerifier },
    Review { issuer: Option<Arc<Issuer>>, reviews: Reviews },
}

/// The proposal in annotations, and the number of malformed subjects.
#[cfg(feature = "fuzzing")]
pub(crate) fn proposal_from_annotations(
    prefix: &str,
    annotations: &BTreeMap<String, String>,
) -> (callgate::authn::Proposal, usize) {
    let annotations::Requested { proposal, malformed, .. } = annotations::read(prefix, annotations);
    (proposal, malformed)
}

impl Proof {
    /// The issuer, if it is known or will be.
    fn issuer(&self) -> Option<&Arc<Issuer>> {
        match self {
            Self::Keys { issuer, .. } => Some(issuer),
            Self::Review { issuer, .. } => issuer.as_ref(),
        }
    }

    /// The issuer in the claims, if it is the cluster's.
    ///
    /// # Errors
    /// [`Decline::NotMine`] if it is not; unavailable if that cannot be decided yet.
    async fn issuer_of<'c>(&self, claims: &'c Map<String, Value>) -> Result<&'c str, Decline> {
        let found = claims.get("iss").and_then(Value::as_str);
        let known = match self {
            Self::Keys { issuer, verifier } => match issuer.known() {
                Some(issuer) => Some(issuer),
                // Without a known issuer, only other kinds of tokens are certainly not ours.
                None if !is_service_account(claims) => return Err(Decline::NotMine),
                None => Some(learn(issuer, &verifier.keys).await?),
            },
            // The API server recognizes its own service accounts.
            Self::Review { .. } if !is_service_account(claims) => return Err(Decline::NotMine),
            Self::Review { issuer, .. } => issuer.as_ref().and_then(|issuer| issuer.known()),
        };
        match known {
            Some(issuer) if found != Some(&*issuer) => Err(Decline::NotMine),
            Some(_) | None => Ok(found.unwrap_or_default()),
        }
    }
}

impl Kubernetes {
    /// Builds the authenticator; errors go into the table's report.
    pub fn build(context: &BuildContext, mut table: Table<'_>) -> Option<Self> {
        let settings = Settings::read(&mut table);
        let built = settings.and_then(|settings| Self::with(context, settings, &table));
        let faultless = table.finish();
        built.filter(|_| faultless)
    }

    fn with(context: &BuildContext, settings: Settings, table: &Table<'_>) -> Option<Self> {
        let services = &context.services;
        let id = cluster_id(context, &settings);
        let access = settings.access.clone();
        let api = services.shared.obtain(&id, || ApiServer::new(access));
        let watch = WatchSettings {
            name: Arc::clone(&context.name),
            namespaces: settings.namespaces.clone(),
            selector: settings.label_selector.clone(),
            prefix: settings.annotation_prefix.clone(),
            observer: Arc::clone(&services.observer),
            background: services.background,
        };
        let cluster = services.shared.obtain(&id, || Cluster::start(Arc::clone(&api), watch));
        let proof = match settings.verify {
            Verify::TokenReview => Proof::Review {
                issuer: settings.issuer.as_deref().map(Issuer::configured).map(Arc::new),
                reviews: Reviews::new(context, api, &settings.audience),
            },
            Verify::Jwks => keys_proof(context, &settings, &api, &id, table)?,
        };
        let Settings { audience, namespaces, cluster: backend, issuer, .. } = settings;
        let configured = issuer.as_deref().map(Issuer::configured).map(Arc::new);
        let issuer = configured.or_else(|| proof.issuer().cloned());
        let entry = Entry {
            name: Arc::clone(&context.name),
            audience,
            audience_claim: None,
            issuer,
            backend,
        };
        let routing = AudienceRouting::register(context, "kubernetes", entry, table)?;
        Some(Self { namespaces, proof, cluster, routing })
    }

    /// The service account of the token's bearer.
    ///
    /// # Errors
    /// [`Decline::NotMine`] if it is not a JWT of a service account in this cluster; rejected with
    /// the reason if it is one and not valid; unavailable if the API server's answers are missing.
    pub async fn identify(&self, token: &str, now: UnixTime) -> Result<Identity, Decline> {
        // A text that cannot be read names no issuer.
        let (compact, claims) = unverified(token).map_err(|_| Decline::NotMine)?;
        let issuer = self.proof.issuer_of(&claims).await?;
        let registered = RegisteredClaims::read_with(&claims, MAX_SUBJECT)?;
        if self.routing.is_for_another(&claims, issuer) {
            return Err(Decline::NotMine);
        }
        match &self.proof {
            Proof::Keys { verifier, .. } => {
                let verified = verifier.verify(&compact).await?;
                let account = self.check_claims(&registered, &claims, now);
                let account = account.map_err(Rejection::after_signature)?;
                let identity = self.admit(&account, registered.expires).await?;
                let credential_id = Some(credential_id(account.uid, &verified.key_name()));
                verified.remember();
                Ok(Identity { issued_at: issued_at(&claims), credential_id, ..identity })
            }
            Proof::Review { reviews, .. } => {
                // All checks that need no request come first.
                let account = self.check_claims(&registered, &claims, now)?;
                reviews.check(token, &account).await?;
                let identity = self.admit(&account, registered.expires).await?;
                let credential_id = Some(credential_id(account.uid, ""));
                Ok(Identity { issued_at: issued_at(&claims), credential_id, ..identity })
            }
        }
    }

    /// Checks everything that depends on the claims alone.
    fn check_claims<'c>(
        &self,
        registered: &RegisteredClaims,
        claims: &'c Map<String, Value>,
        now: UnixTime,
    ) -> Result<ServiceAccountClaims<'c>, Rejection> {
        registered.check_audience(self.routing.audience())?;
        registered.check_times(now, &TIMES)?;
        ServiceAccountClaims::read(claims)
    }

    /// Checks everything that depends on the cluster, once the token is proven.
    async fn admit(
        &self,
        named: &ServiceAccountClaims<'_>,
        expires: UnixTime,
    ) -> Result<Identity, Decline> {
        let ServiceAccountClaims { namespace, name, uid, .. } = *named;
        let unknown = |why: String| {
            Decline::from(Rejection::new(Reason::UnknownServiceAccount, why).after_signature())
        };
        if !self.namespaces.is_empty() && self.namespaces.iter().all(|known| known != namespace) {
            return Err(unknown(format!("the namespace `{namespace}` is not one of `namespaces`")));
        }
        let user = format!("{namespace}/{name}");
        let account = self.cluster.account(&user, named).await;
        let account = account.map_err(|error| Decline::Unavailable(error.into()))?;
        let Some(account) = account else {
            return Err(unknown(format!(
                "there is no service account `{user}`, or `label_selector` excludes it"
            )));
        };
        if *account.uid != *uid {
            return Err(unknown(format!(
                "`{user}` was deleted and created again after the token was issued: the uids differ"
            )));
        }
        Ok(identity(user, named, &account, Some(expires)))
    }
}

impl Kubernetes {
    /// The identity of a known account, without a token.
    fn known(&self, user: &str) -> Option<Identity> {
        let account = self.cluster.accounts().find(user)?;
        let (namespace, name) = user.split_once('/')?;
        let uid = &*account.uid;
        let named = ServiceAccountClaims { namespace, name, uid, pod: None, node: None };
        Some(identity(user.to_owned(), &named, &account, None))
    }
}

/// Learns the issuer, which comes with the keys: any lookup makes the store fetch them, or wait for a
/// fetch in flight.
async fn learn(issuer: &Issuer, keys: &KeyStore) -> Result<Arc<String>, Decline> {
    let lookup = keys.find(None, Algorithm::Rs256).await;
    issuer.known().ok_or_else(|| {
        let why = lookup.err().map_or_else(|| "unknown".to_owned(), |error| error.to_string());
        Decline::Unavailable(format!("the issuer of service account tokens: {why}").into())
    })
}

/// The account's uid, and the key that signed the token.
fn credential_id(uid: &str, key: &str) -> Arc<str> {
    format!("{uid} {key}").into()
}

fn identity(
    user: String,
    named: &ServiceAccountClaims<'_>,
    account: &Account,
    expires_at: Option<UnixTime>,
) -> Identity {
    let mut claims = named.for_bindings();
    claims.insert("labels".to_owned(), Value::Object(account.labels.as_json()));
    claims.insert("annotations".to_owned(), Value::Object(account.annotations.as_json()));
    // Names contain no underscore, so that this yields one subject token, and different names stay
    // different.
    let token = |text: &str| text.replace('.', "_");
    Identity {
        user,
        groups: Vec::new(),
        claims,
        variables: BTreeMap::from([
            ("namespace", token(named.namespace)),
            ("service_account", token(named.name)),
        ]),
        expires_at,
        proposal: account.proposal(),
        ..Identity::default()
    }
}

/// The same bearer, with what its account says now.
fn with_account(identity: &Identity, account: &Account) -> Identity {
    let mut current = identity.clone();
    let labels = Value::Object(account.labels.as_json());
    let annotations = Value::Object(account.annotations.as_json());
    current.claims.insert("labels".to_owned(), labels);
    current.claims.insert("annotations".to_owned(), annotations);
    current.proposal = account.proposal();
    current
}

impl Authenticator for Kubernetes {
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

    fn remark(&self) -> Option<String> {
        match &self.proof {
            Proof::Keys { verifier, .. } => verifier.remark(),
            Proof::Review { .. } => None,
        }
    }

    fn readiness(&self) -> Readiness {
        let keys = match &self.proof {
            Proof::Keys { verifier, .. } => verifier.readiness(),
            Proof::Review { .. } => Readiness::Ready,
        };
        match (keys, self.cluster.check()) {
            (Readiness::Ready, Err(error)) => Readiness::Waiting(error.to_string()),
            (keys, _) => keys,
        }
    }

    fn probe(&self, _: Probe) -> Option<BoxFuture<'_, Result<ProbeReport, BackendError>>> {
        match &self.proof {
            Proof::Keys { verifier, .. } => verifier.probe(),
            Proof::Review { .. } => None,
        }
    }

    fn probe_timeout(&self) -> Option<Duration> {
        Some(PROBE_TIMEOUT)
    }

    fn issuer(&self) -> Option<String> {
        self.proof.issuer()?.known().map(|issuer| issuer.to_string())
    }

    fn lookup(&self) -> Option<&dyn IdentityLookup> {
        Some(self)
    }

    fn reassess(&self, identity: &Identity, how: &Reassessment) -> Standing {
        let proved = identity.credential_id.as_deref().and_then(|id| id.split_once(' '));
        let (Some((uid, key)), Ok(())) = (proved, self.cluster.check()) else {
            return Standing::Unknown;
        };
        let withdrawn = match &self.proof {
            Proof::Keys { verifier, .. } => how.withdrawn_keys && verifier.is_withdrawn(key),
            Proof::Review { .. } => false,
        };
        if withdrawn && !key.is_empty() {
            return Standing::Gone(GoneCause::KeyRemoved);
        }
        let namespace = identity.user.split_once('/').map(|(namespace, _)| namespace);
        let is_served = self.namespaces.is_empty()
            || self.namespaces.iter().any(|known| Some(known.as_str()) == namespace);
        let account = self.cluster.accounts().find(&identity.user).filter(|_| is_served);
        match account.filter(|account| *account.uid == *uid) {
            Some(account) => Standing::Current(Box::new(with_account(identity, &account))),
            None => Standing::Gone(GoneCause::ServiceAccountGone),
        }
    }

    fn changes(&self) -> Vec<Receiver<u64>> {
        let keys = match &self.proof {
            Proof::Keys { verifier, .. } => Some(verifier.keys.changes()),
            Proof::Review { .. } => None,
        };
        keys.into_iter().chain([self.cluster.accounts().changes()]).collect()
    }
}

impl IdentityLookup for Kubernetes {
    fn find<'a>(
        &'a self,
        user: &'a str,
        _now: UnixTime,
    ) -> BoxFuture<'a, Option<Result<Identity, Decline>>> {
        Box::pin(async move {
            let checked = self.cluster.check();
            Some(match (checked, self.known(user)) {
                (Err(error), _) => Err(Decline::Unavailable(error.into())),
                (Ok(()), Some(identity)) => Ok(identity),
                (Ok(()), None) => Err(Decline::rejected(
                    Reason::UnknownServiceAccount,
                    format!("there is no service account `{}`", user.escape_debug()),
                )),
            })
        })
    }

    fn for_each(&self, _now: UnixTime, visit: &mut dyn FnMut(Identity)) -> Option<()> {
        self.cluster.check().ok()?;
        let users = self.cluster.accounts().keys();
        users.iter().filter_map(|user| self.known(user)).for_each(visit);
        Some(())
    }
}

impl fmt::Debug for Kubernetes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kubernetes({})", self.routing.name())
    }
}

/// The kind `kubernetes`.
#[derive(Debug, Clone, Copy, Default)]
pub struct KubernetesKind;

impl Kind for KubernetesKind {
    fn name(&self) -> &'static str {
        "kubernetes"
    }

    fn keys(&self) -> &'static [Key] {
        config::KEYS
    }

    fn variables(&self) -> &'static [&'static str] {
        &["namespace", "service_account"]
    }

    fn defaults(&self) -> Option<RoleSettings> {
        Some(config::defaults())
    }

    fn build(&self, context: &BuildContext, table: Table<'_>) -> Option<Arc<dyn Authenticator>> {
        Some(Arc::new(Kubernetes::build(context, table)?))
    }
}
