#![doc = include_str!("docs.md")]

mod accounts;
mod annotations;
mod api;
mod asking;
mod cluster;
mod config;
mod kept;
mod keys;
mod review;
mod siblings;
mod token;
mod watch;

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use callgate::{
    authn::{Authenticator, Decline, Identity, Readiness},
    clock::UnixTime,
    decision::Reason,
    policy::settings::RoleSettings,
    request::{AuthRequest, Credential},
};
use futures_util::future::BoxFuture;
use serde_json::{Map, Value};

use crate::{
    jwks::{JsonWebKey, KeyStore},
    jws::{Algorithm, Compact, RegisteredClaims, TimeRules, claims::bad},
    kind::{BuildContext, Kind},
    remembered::{Remembered, Verified},
    settings::Table,
};
use accounts::Account;
use api::ApiServer;
use cluster::{Cluster, WatchSettings};
use config::{Settings, Verify};
use kept::{identity_of_cluster, keys_proof};
use keys::Issuer;
use review::Reviews;
use siblings::Siblings;
use token::{MAX_SUBJECT, Named, ServiceAccountClaims, looks_like_ours};

const TIMES: TimeRules = TimeRules { leeway: Duration::from_secs(30), max_lifetime: None };
/// API servers write no `typ`, which counts as `JWT`.
const TYPES: [&str; 1] = ["JWT"];

/// Service account tokens of one Kubernetes cluster.
pub struct Kubernetes {
    name: Arc<str>,
    audience: Vec<String>,
    namespaces: Vec<String>,
    proof: Proof,
    cluster: Arc<Cluster>,
    siblings: Arc<Siblings>,
}

/// How a token is proven.
enum Proof {
    Keys { issuer: Arc<Issuer>, keys: Arc<KeyStore>, remembered: Arc<Remembered> },
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

/// What a proven token says: what every token has, and what [`ServiceAccountClaims::told`] of the rest.
enum Proven {
    Remembered(Arc<Verified>),
    Reviewed(RegisteredClaims, Map<String, Value>),
}

impl Proof {
    /// The issuer, if it is known or will be.
    fn issuer(&self) -> Option<&Arc<Issuer>> {
        match self {
            Self::Keys { issuer, .. } => Some(issuer),
            Self::Review { issuer, .. } => issuer.as_ref(),
        }
    }
}

impl Proven {
    fn parts(&self) -> (&RegisteredClaims, &Map<String, Value>) {
        match self {
            Self::Remembered(verified) => (&verified.registered, &verified.claims),
            Self::Reviewed(registered, claims) => (registered, claims),
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
        let shared = &context.shared;
        let id = identity_of_cluster(context, &settings);
        let access = settings.access.clone();
        let api = shared.obtain(&id, || ApiServer::new(access));
        let watch = WatchSettings {
            name: Arc::clone(&context.name),
            namespaces: settings.namespaces.clone(),
            selector: settings.label_selector.clone(),
            prefix: settings.annotation_prefix.clone(),
            observer: Arc::clone(&context.observer),
            background: context.background,
        };
        let cluster = shared.obtain(&id, || Cluster::start(Arc::clone(&api), watch));
        let proof = match settings.verify {
            Verify::TokenReview => Proof::Review {
                issuer: settings.issuer.as_deref().map(|issuer| Arc::new(Issuer::given(issuer))),
                reviews: Reviews::new(api, &settings.audience, context.cache.tokens),
            },
            Verify::Jwks => keys_proof(context, &settings, &api, &id, table)?,
        };
        // Made anew for each configuration: nothing of an older one is left in it.
        let siblings: Arc<Siblings> =
            shared.obtain(&context.generation.to_string(), Siblings::default);
        siblings
            .add(siblings::Entry::of(context, &settings, proof.issuer()))
            .map_err(|overlap| table.fault("audience", overlap))
            .ok()?;
        let Settings { audience, namespaces, .. } = settings;
        let name = Arc::clone(&context.name);
        Some(Self { name, audience, namespaces, proof, cluster, siblings })
    }

    /// Which service account the bearer of this token is.
    ///
    /// # Errors
    /// [`Decline::NotMine`] for a text that is no JWT of a service account of this cluster;
    /// rejected with the reason if anything is wrong with one that is; unavailable if the API
    /// server has not told enough yet.
    pub async fn identify(&self, token: &str, now: UnixTime) -> Result<Identity, Decline> {
        match &self.proof {
            Proof::Keys { issuer, keys, remembered } => {
                let digest = Remembered::digest(token);
                if let Some(verified) = remembered.find(&digest) {
                    match self.recall(verified, issuer, keys) {
                        Recalled::Proven(proven) => return self.judge(&proven, now).await,
                        Recalled::Declined(decline) => return Err(decline),
                        Recalled::Outdated => remembered.forget(&digest),
                    }
                }
                let verified = Arc::new(self.verify(token, issuer, keys).await?);
                let proven = Proven::Remembered(Arc::clone(&verified));
                let identity = self.judge(&proven, now).await?;
                remembered.remember(digest, verified);
                Ok(identity)
            }
            Proof::Review { issuer, reviews } => {
                let issuer = issuer.as_ref().and_then(|issuer| issuer.known());
                let proven = self.review(token, issuer.as_deref(), reviews, now).await?;
                self.judge(&proven, now).await
            }
        }
    }

    /// What becomes of a token that was verified before.
    fn recall(&self, verified: Arc<Verified>, issuer: &Issuer, keys: &KeyStore) -> Recalled {
        let mine = issuer.known().is_some_and(|known| *verified.issuer == **known);
        if mine && self.is_for_another(&verified.registered, &verified.issuer) {
            return Recalled::Declined(Decline::NotMine);
        }
        if !mine || verified.authenticator != self.name {
            return Recalled::Outdated;
        }
        match keys.still_has(&verified.key) {
            Ok(true) => Recalled::Proven(Proven::Remembered(verified)),
            Ok(false) => Recalled::Outdated,
            Err(error) => Recalled::Declined(Decline::Unavailable(error.into())),
        }
    }

    /// Checks everything about a token that never changes, its signature last.
    async fn verify(
        &self,
        token: &str,
        issuer: &Issuer,
        keys: &KeyStore,
    ) -> Result<Verified, Decline> {
        let (compact, claims) = read(token)?;
        let issuer = match issuer.known() {
            Some(issuer) => issuer,
            // Whose it is shows only when the issuer is known; of another kind it is never ours.
            None if !looks_like_ours(&claims) => return Err(Decline::NotMine),
            None => learn(issuer, keys).await?,
        };
        if claims.get("iss").and_then(Value::as_str) != Some(&**issuer) {
            return Err(Decline::NotMine);
        }
        let registered = RegisteredClaims::read_with(&claims, MAX_SUBJECT)?;
        if self.is_for_another(&registered, &issuer) {
            return Err(Decline::NotMine);
        }
        let key = check_signature(&compact, keys).await?;
        self.check_audience(&registered)?;
        let claims = ServiceAccountClaims::read(&claims)?.told();
        let (authenticator, issuer) = (Arc::clone(&self.name), Arc::from(issuer.as_str()));
        Ok(Verified { authenticator, issuer, key, registered, claims, size: token.len() })
    }

    /// Has the API server check a token, after everything that can be told without it.
    async fn review(
        &self,
        token: &str,
        issuer: Option<&String>,
        reviews: &Reviews,
        now: UnixTime,
    ) -> Result<Proven, Decline> {
        let (_, claims) = read(token)?;
        let found = claims.get("iss").and_then(Value::as_str).unwrap_or_default();
        if !looks_like_ours(&claims) || issuer.is_some_and(|issuer| found != issuer) {
            return Err(Decline::NotMine);
        }
        let registered = RegisteredClaims::read_with(&claims, MAX_SUBJECT)?;
        if self.is_for_another(&registered, found) {
            return Err(Decline::NotMine);
        }
        self.check_registered(&registered, now)?;
        let account = ServiceAccountClaims::read(&claims)?;
        reviews.check(token, &account).await?;
        Ok(Proven::Reviewed(registered, account.told()))
    }

    /// Everything that depends on the time or on the cluster.
    async fn judge(&self, proven: &Proven, now: UnixTime) -> Result<Identity, Decline> {
        let (registered, told) = proven.parts();
        self.check_registered(registered, now)?;
        let Some(named) = Named::of(told) else {
            return Err(bad("it names no service account".to_owned()).into());
        };
        let Named { namespace, name, uid } = named;
        let unknown = |why: String| Decline::rejected(Reason::UnknownServiceAccount, why);
        if !self.namespaces.is_empty() && self.namespaces.iter().all(|known| known != namespace) {
            return Err(unknown(format!("the namespace `{namespace}` is not one of `namespaces`")));
        }
        let user = format!("{namespace}/{name}");
        let account = self.cluster.account(&user, &named).await;
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
        Ok(identity(user, &named, told, &account, registered.expires))
    }

    /// True if a sibling takes it. Otherwise it is ours, even if it is for nobody here: then the
    /// first of the siblings refuses it.
    fn is_for_another(&self, registered: &RegisteredClaims, issuer: &str) -> bool {
        let Some(audience) = &registered.audience else { return false };
        !registered.is_for(&self.audience)
            && self.siblings.another_takes(&self.name, issuer, audience)
    }

    fn check_audience(&self, registered: &RegisteredClaims) -> Result<(), Decline> {
        if registered.is_for(&self.audience) {
            return Ok(());
        }
        let ours = self.audience.join("`, `");
        Err(Decline::rejected(
            Reason::WrongAudience,
            format!("the token is not for this system: its `aud` has none of `{ours}`"),
        ))
    }

    fn check_registered(
        &self,
        registered: &RegisteredClaims,
        now: UnixTime,
    ) -> Result<(), Decline> {
        self.check_audience(registered)?;
        Ok(registered.check_times(now, &TIMES)?)
    }
}

enum Recalled {
    Proven(Proven),
    Declined(Decline),
    /// It must be verified anew.
    Outdated,
}

fn read(token: &str) -> Result<(Compact<'_>, Map<String, Value>), Decline> {
    let compact = Compact::split(token).map_err(|_| Decline::NotMine)?;
    // What cannot be read names no issuer, and so is nobody's.
    let claims = compact.claims().map_err(|_| Decline::NotMine)?;
    Ok((compact, claims))
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

async fn check_signature(
    compact: &Compact<'_>,
    keys: &KeyStore,
) -> Result<Arc<JsonWebKey>, Decline> {
    let header = compact.header().map_err(|error| bad(error.to_string()))?;
    if !header.is_of_kind(&TYPES) {
        return Err(bad("its `typ` is not `JWT`".to_owned()).into());
    }
    let algorithm = header.algorithm.parse::<Algorithm>();
    let algorithm =
        algorithm.map_err(|_| bad("its `alg` is not one that is accepted".to_owned()))?;
    let signature = compact.signature().map_err(|error| bad(error.to_string()))?;
    let key = keys.find(header.key_id.as_deref(), algorithm).await?;
    match key.verifies(algorithm, compact.signed(), &signature) {
        true => Ok(key),
        false => Err(bad("its signature is not good".to_owned()).into()),
    }
}

fn identity(
    user: String,
    named: &Named<'_>,
    told: &Map<String, Value>,
    account: &Account,
    expires: UnixTime,
) -> Identity {
    let mut claims = told.clone();
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
            Proof::Keys { keys, .. } => keys.check().map_err(|error| error.to_string()),
            Proof::Review { .. } => Ok(()),
        };
        let accounts = || self.cluster.check().map_err(|error| error.to_string());
        match keys.and_then(|()| accounts()) {
            Ok(()) => Readiness::Ready,
            Err(why) => Readiness::Waiting(why),
        }
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

    fn defaults(&self) -> Option<RoleSettings> {
        Some(config::defaults())
    }

    fn build(&self, context: &BuildContext, table: Table<'_>) -> Option<Arc<dyn Authenticator>> {
        Some(Arc::new(Kubernetes::build(context, table)?))
    }
}
