#![doc = include_str!("../../../docs/kubernetes.md")]

mod accounts;
mod annotations;
mod api;
mod audience_routing;
mod cluster;
mod config;
mod keys;
mod persistent;
mod review;
mod token;
mod watch;

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use callgate::{
    authn::{Authenticator, Decline, Identity, Readiness, Rejection},
    clock::UnixTime,
    policy::settings::RoleSettings,
    record::Reason,
    request::{AuthRequest, Credential},
};
use futures_util::future::BoxFuture;
use serde_json::{Map, Value};

use crate::{
    jwks::KeyStore,
    jws::{Algorithm, RegisteredClaims, TimeRules, unverified},
    kind::{BuildContext, Kind},
    token_verifier::TokenVerifier,
};
use accounts::Account;
use api::ApiServer;
use audience_routing::AudienceRouting;
use callgate_config::Table;
use cluster::{Cluster, WatchSettings};
use config::{Settings, Verify};
use keys::Issuer;
use persistent::{identity_of_cluster, keys_proof};
use review::Reviews;
use token::{MAX_SUBJECT, ServiceAccountClaims, looks_like_ours};

const TIMES: TimeRules = TimeRules { leeway: Duration::from_secs(30), max_lifetime: None };
/// Service account tokens of one Kubernetes cluster.
pub struct Kubernetes {
    name: Arc<str>,
    audience: Vec<String>,
    namespaces: Vec<String>,
    proof: Proof,
    cluster: Arc<Cluster>,
    routing: Arc<AudienceRouting>,
}

/// How a token is proven.
enum Proof {
    Keys { issuer: Arc<Issuer>, verifier: TokenVerifier },
    Review { issuer: Option<Arc<Issuer>>, reviews: Reviews },
}

/// What annotations ask for, and how many subjects in them are malformed.
#[cfg(feature = "fuzzing")]
pub(crate) fn asked(
    prefix: &str,
    annotations: &BTreeMap<String, String>,
) -> (callgate::authn::Proposal, usize) {
    let annotations::Asked { proposal, malformed, .. } = annotations::read(prefix, annotations);
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

    /// The issuer that the claims name, if that is ours.
    ///
    /// # Errors
    /// [`Decline::NotMine`] if it is not; unavailable if nobody can tell yet.
    async fn issuer_of<'c>(&self, claims: &'c Map<String, Value>) -> Result<&'c str, Decline> {
        let found = claims.get("iss").and_then(Value::as_str);
        let known = match self {
            Self::Keys { issuer, verifier } => match issuer.known() {
                Some(issuer) => Some(issuer),
                // Whose it is shows only when the issuer is known; of another kind it is never ours.
                None if !looks_like_ours(claims) => return Err(Decline::NotMine),
                None => Some(learn(issuer, &verifier.keys).await?),
            },
            // Whose the others are, the API server says.
            Self::Review { .. } if !looks_like_ours(claims) => return Err(Decline::NotMine),
            Self::Review { issuer, .. } => issuer.as_ref().and_then(|issuer| issuer.known()),
        };
        match known {
            Some(issuer) if found != Some(&*issuer) => Err(Decline::NotMine),
            Some(_) | None => Ok(found.unwrap_or_default()),
        }
    }
}

impl Kubernetes {
    /// Builds it from its table; what is wrong goes into the table's report.
    pub fn build(context: &BuildContext, mut table: Table<'_>) -> Option<Self> {
        let settings = Settings::read(&mut table);
        let built = settings.and_then(|settings| Self::with(context, settings, &table));
        let faultless = table.finish();
        built.filter(|_| faultless)
    }

    fn with(context: &BuildContext, settings: Settings, table: &Table<'_>) -> Option<Self> {
        let shared = &context.services.shared;
        let id = identity_of_cluster(context, &settings);
        let access = settings.access.clone();
        let api = shared.obtain(&id, || ApiServer::new(access));
        let watch = WatchSettings {
            name: Arc::clone(&context.name),
            namespaces: settings.namespaces.clone(),
            selector: settings.label_selector.clone(),
            prefix: settings.annotation_prefix.clone(),
            observer: Arc::clone(&context.services.observer),
            background: context.services.background,
        };
        let cluster = shared.obtain(&id, || Cluster::start(Arc::clone(&api), watch));
        let proof = match settings.verify {
            Verify::TokenReview => Proof::Review {
                issuer: settings.issuer.as_deref().map(|issuer| Arc::new(Issuer::given(issuer))),
                reviews: Reviews::new(context, api, &settings.audience),
            },
            Verify::Jwks => keys_proof(context, &settings, &api, &id, table)?,
        };
        // Made anew for each configuration: nothing of an older one is left in it.
        let routing: Arc<AudienceRouting> =
            shared.obtain(&context.services.generation.to_string(), AudienceRouting::default);
        routing
            .add(audience_routing::Entry::of(context, &settings, proof.issuer()))
            .map_err(|overlap| table.fault("audience", overlap))
            .ok()?;
        let Settings { audience, namespaces, .. } = settings;
        let name = Arc::clone(&context.name);
        Some(Self { name, audience, namespaces, proof, cluster, routing })
    }

    /// Which service account the bearer of this token is.
    ///
    /// # Errors
    /// [`Decline::NotMine`] for a text that is no JWT of a service account of this cluster;
    /// rejected with the reason if anything is wrong with one that is; unavailable if the API
    /// server has not told enough yet.
    pub async fn identify(&self, token: &str, now: UnixTime) -> Result<Identity, Decline> {
        // What cannot be read names no issuer, and so is nobody's.
        let (compact, claims) = unverified(token).map_err(|_| Decline::NotMine)?;
        let issuer = self.proof.issuer_of(&claims).await?;
        let registered = RegisteredClaims::read_with(&claims, MAX_SUBJECT)?;
        if self.is_for_another(&registered, issuer) {
            return Err(Decline::NotMine);
        }
        match &self.proof {
            Proof::Keys { verifier, .. } => {
                let signed = verifier.check(&compact).await?;
                let account = self.judge(&registered, &claims, now)?;
                let identity = self.admit(&account, registered.expires).await?;
                signed.remember();
                Ok(identity)
            }
            Proof::Review { reviews, .. } => {
                // Everything that can be told without the API server comes first.
                let account = self.judge(&registered, &claims, now)?;
                reviews.check(token, &account).await?;
                self.admit(&account, registered.expires).await
            }
        }
    }

    /// Everything that the token alone can tell.
    fn judge<'c>(
        &self,
        registered: &RegisteredClaims,
        claims: &'c Map<String, Value>,
        now: UnixTime,
    ) -> Result<ServiceAccountClaims<'c>, Rejection> {
        registered.check_audience(&self.audience)?;
        registered.check_times(now, &TIMES)?;
        ServiceAccountClaims::read(claims)
    }

    /// Everything that depends on the cluster.
    async fn admit(
        &self,
        named: &ServiceAccountClaims<'_>,
        expires: UnixTime,
    ) -> Result<Identity, Decline> {
        let ServiceAccountClaims { namespace, name, uid, .. } = *named;
        let unknown = |why: String| Decline::rejected(Reason::UnknownServiceAccount, why);
        if !self.namespaces.is_empty() && self.namespaces.iter().all(|known| known != namespace) {
            return Err(unknown(format!("the namespace `{namespace}` is not one of `namespaces`")));
        }
        let user = format!("{namespace}/{name}");
        let account = self.cluster.account(&user, named).await;
        let account = account.map_err(|error| Decline::Unavailable(error.into()))?;
        let Some(account) = account else {
            return Err(unknown(format!(
                "there is no service account `{user}`, or `label_selector` leaves it out"
            )));
        };
        if *account.uid != *uid {
            return Err(unknown(format!(
                "`{user}` was deleted and made again since the token was minted: its \
                 uid is another one"
            )));
        }
        Ok(identity(user, named, &account, expires))
    }

    /// True if a sibling takes it. Otherwise it is ours, even if it is for nobody here: then the
    /// first of the siblings refuses it.
    fn is_for_another(&self, registered: &RegisteredClaims, issuer: &str) -> bool {
        let Some(audience) = &registered.audience else { return false };
        !registered.is_for(&self.audience)
            && self.routing.another_takes(&self.name, issuer, audience)
    }
}

/// Fetching keys brings the issuer too: any lookup makes the store ask, or wait for who does.
async fn learn(issuer: &Issuer, keys: &KeyStore) -> Result<Arc<String>, Decline> {
    let asked = keys.find(None, Algorithm::Rs256).await;
    issuer.known().ok_or_else(|| {
        let why =
            asked.err().map_or_else(|| "it is not known".to_owned(), |error| error.to_string());
        Decline::Unavailable(format!("the issuer of service account tokens: {why}").into())
    })
}

fn identity(
    user: String,
    named: &ServiceAccountClaims<'_>,
    account: &Account,
    expires: UnixTime,
) -> Identity {
    let mut claims = named.told();
    claims.insert("labels".to_owned(), Value::Object(account.labels.as_json()));
    claims.insert("annotations".to_owned(), Value::Object(account.annotations.as_json()));
    // No name has an underscore, so that this stays one token and two names never become one.
    let token = |text: &str| text.replace('.', "_");
    Identity {
        user,
        groups: Vec::new(),
        claims,
        variables: BTreeMap::from([
            ("namespace", token(named.namespace)),
            ("service_account", token(named.name)),
        ]),
        expires_at: Some(expires),
        proposal: account.proposal(),
    }
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

    fn issuer(&self) -> Option<String> {
        self.proof.issuer()?.known().map(|issuer| issuer.to_string())
    }
}

impl fmt::Debug for Kubernetes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kubernetes({})", self.name)
    }
}

/// The kind `kubernetes`.
#[derive(Debug, Clone, Copy, Default)]
pub struct KubernetesKind;

impl Kind for KubernetesKind {
    fn name(&self) -> &'static str {
        "kubernetes"
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
