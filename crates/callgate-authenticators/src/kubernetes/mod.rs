#![doc = include_str!("docs.md")]

mod accounts;
mod annotations;
mod api;
mod asking;
mod cluster;
mod config;
mod keys;
mod review;
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
    http_client::{HttpClient, HttpSettings},
    jwks::{FileSource, JsonWebKey, KeySource, KeyStore, LookupError, Timing, UrlSource},
    jws::{Algorithm, Compact, RegisteredClaims, TimeRules, claims::bad},
    kind::{BuildContext, Kind},
    remembered::{Remembered, Verified},
    settings::Table,
};
use accounts::Account;
use api::ApiServer;
use cluster::{Cluster, WatchSettings};
use config::{KeysFrom, Settings, Verify};
use keys::{ApiServerKeys, Issuer};
use review::Reviews;
use token::{ServiceAccountClaims, looks_like_ours};

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
}

/// How a token is proven.
enum Proof {
    Keys { issuer: Arc<Issuer>, keys: Arc<KeyStore>, remembered: Arc<Remembered> },
    Review { issuer: Option<String>, reviews: Reviews },
}

/// What a proven token says.
enum Proven {
    Remembered(Arc<Verified>),
    Reviewed(RegisteredClaims, Map<String, Value>),
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
                issuer: settings.issuer.clone(),
                reviews: Reviews::new(api, &settings.audience, context.cache.tokens),
            },
            Verify::Jwks => keys_proof(context, &settings, &api, &id, table)?,
        };
        let Settings { audience, namespaces, .. } = settings;
        Some(Self { name: Arc::clone(&context.name), audience, namespaces, proof, cluster })
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
                let proven = self.review(token, issuer.as_deref(), reviews, now).await?;
                self.judge(&proven, now).await
            }
        }
    }

    /// What becomes of a token that was verified before.
    fn recall(&self, verified: Arc<Verified>, issuer: &Issuer, keys: &KeyStore) -> Recalled {
        let mine = issuer.known().is_some_and(|known| *verified.issuer == **known);
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
        let registered = RegisteredClaims::read(&claims)?;
        let key = check_signature(&compact, keys).await?;
        let (authenticator, issuer) = (Arc::clone(&self.name), Arc::from(issuer.as_str()));
        Ok(Verified { authenticator, issuer, key, registered, claims, size: token.len() })
    }

    /// Has the API server check a token, after everything that can be told without it.
    async fn review(
        &self,
        token: &str,
        issuer: Option<&str>,
        reviews: &Reviews,
        now: UnixTime,
    ) -> Result<Proven, Decline> {
        let (_, claims) = read(token)?;
        let found = claims.get("iss").and_then(Value::as_str);
        if !looks_like_ours(&claims) || issuer.is_some_and(|issuer| found != Some(issuer)) {
            return Err(Decline::NotMine);
        }
        let registered = RegisteredClaims::read(&claims)?;
        self.check_registered(&registered, now)?;
        reviews.check(token, &ServiceAccountClaims::read(&claims)?).await?;
        Ok(Proven::Reviewed(registered, claims))
    }

    /// Everything that depends on the time or on the cluster.
    async fn judge(&self, proven: &Proven, now: UnixTime) -> Result<Identity, Decline> {
        let (registered, claims) = proven.parts();
        self.check_registered(registered, now)?;
        let claims = ServiceAccountClaims::read(claims)?;
        let ServiceAccountClaims { namespace, name, uid, .. } = claims;
        let unknown = |why: String| Decline::rejected(Reason::UnknownServiceAccount, why);
        if !self.namespaces.is_empty() && self.namespaces.iter().all(|known| known != namespace) {
            return Err(unknown(format!("the namespace `{namespace}` is not one of `namespaces`")));
        }
        let account = self.cluster.account(namespace, name).await;
        let account = account.map_err(|error| Decline::Unavailable(error.into()))?;
        let Some(account) = account else {
            return Err(unknown(format!(
                "there is no service account `{namespace}/{name}`, or `label_selector` leaves it out"
            )));
        };
        if *account.uid != *uid {
            return Err(unknown(format!(
                "`{namespace}/{name}` was deleted and made again since the token was minted: its \
                 uid is another one"
            )));
        }
        Ok(identity(&claims, &account, registered.expires))
    }

    fn check_registered(
        &self,
        registered: &RegisteredClaims,
        now: UnixTime,
    ) -> Result<(), Decline> {
        if !registered.is_for(&self.audience) {
            let ours = self.audience.join("`, `");
            return Err(Decline::rejected(
                Reason::WrongAudience,
                format!("the token is not for this system: its `aud` has none of `{ours}`"),
            ));
        }
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
    let key = keys.find(header.key_id.as_deref(), algorithm).await.map_err(no_key)?;
    match key.verifies(algorithm, compact.signed(), &signature) {
        true => Ok(key),
        false => Err(bad("its signature is not good".to_owned()).into()),
    }
}

fn no_key(error: LookupError) -> Decline {
    match error {
        LookupError::Unavailable(error) => Decline::Unavailable(error.into()),
        LookupError::Unknown(_)
        | LookupError::NoneFits(_)
        | LookupError::WrongAlgorithm(..)
        | LookupError::Ambiguous(_) => bad(error.to_string()).into(),
    }
}

fn identity(claims: &ServiceAccountClaims<'_>, account: &Account, expires: UnixTime) -> Identity {
    let ServiceAccountClaims { namespace, name, uid, pod, node } = *claims;
    let mut seen = Map::new();
    let mut say = |key: &str, value: Value| drop(seen.insert(key.to_owned(), value));
    say("namespace", namespace.into());
    say("service_account", name.into());
    say("uid", uid.into());
    if let Some(pod) = pod {
        say("pod", pod.name.into());
        say("pod_uid", pod.uid.unwrap_or_default().into());
    }
    if let Some(node) = node {
        say("node", node.name.into());
    }
    say("labels", Value::Object(account.labels.as_json()));
    say("annotations", Value::Object(account.annotations.as_json()));
    // No name has an underscore, so that this stays one token and two names never become one.
    let token = |text: &str| text.replace('.', "_");
    Identity {
        user: format!("{namespace}/{name}"),
        groups: Vec::new(),
        claims: seen,
        variables: BTreeMap::from([
            ("namespace", token(namespace)),
            ("service_account", token(name)),
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

/// The keys of the issuer. They outlive a reload that leaves their settings as they are.
fn keys_proof(
    context: &BuildContext,
    settings: &Settings,
    api: &Arc<ApiServer>,
    cluster: &str,
    table: &Table<'_>,
) -> Option<Proof> {
    let shared = &context.shared;
    let id = format!("{cluster} {:?} {:?} {:?}", settings.issuer, settings.keys, settings.ca);
    // An issuer that is told with its keys lives with them.
    let issuer = match (&settings.keys, &settings.issuer) {
        (KeysFrom::Url(_) | KeysFrom::File(_), Some(issuer)) => Arc::new(Issuer::given(issuer)),
        _ => shared.obtain(&id, Issuer::default),
    };
    let mut initial = None;
    let source: Arc<dyn KeySource> = match &settings.keys {
        KeysFrom::ApiServer => Arc::new(ApiServerKeys {
            api: Arc::clone(api),
            issuer: Arc::clone(&issuer),
            expected: settings.issuer.clone(),
        }),
        KeysFrom::Url(url) => {
            let http = HttpSettings {
                ca: settings.ca.clone(),
                insecure_http: url.is_plain(),
                ..HttpSettings::default()
            };
            let client = HttpClient::new(&http).map_err(|error| table.fault("ca", error)).ok()?;
            Arc::new(UrlSource::new(Arc::new(client), url.clone()))
        }
        KeysFrom::File(path) => {
            let source = FileSource::new(path);
            let read = source.read().map_err(|error| table.fault("jwks_file", error)).ok()?;
            initial = Some(read);
            Arc::new(source)
        }
    };
    let (observer, name) = (Arc::clone(&context.observer), Arc::clone(&context.name));
    let observer = Arc::new(move |fetched| observer.keys_refreshed(&name, fetched));
    let keys = shared.obtain(&id, || {
        KeyStore::new(source, &Algorithm::ALL, timing(&settings.keys), observer, context.background)
    });
    if let Some(json) = initial {
        let fault = |error| table.fault("jwks_file", format!("the file is not usable: {error}"));
        keys.preload(&json).map_err(fault).ok()?;
    }
    let generation = context.generation.to_string();
    let remembered = shared.obtain(&generation, || Remembered::new(context.cache.tokens));
    Some(Proof::Keys { issuer, keys, remembered })
}

/// The API server is near, and its keys change without notice: it is asked every minute, and after
/// an unknown key id at most every two seconds.
fn timing(keys: &KeysFrom) -> Timing {
    let minute = Duration::from_secs(60);
    match keys {
        KeysFrom::ApiServer => Timing {
            refresh: minute,
            refresh_min: minute,
            refresh_max: minute,
            cool_down: Duration::from_secs(2),
            unknown_for: Duration::from_secs(5),
            retry_max: Duration::from_secs(10),
            ..Timing::default()
        },
        KeysFrom::Url(_) | KeysFrom::File(_) => Timing::default(),
    }
}

/// What makes two clusters the same: the entry's name, and everything that decides which accounts
/// are known.
fn identity_of_cluster(context: &BuildContext, settings: &Settings) -> String {
    let Settings { cluster, namespaces, label_selector, annotation_prefix, access, .. } = settings;
    // A kubeconfig that changed is another way in; its text shows secrets as stars.
    let access = match access {
        api::Access::InCluster => String::new(),
        api::Access::Kubeconfig(kubeconfig, _) => digest(kubeconfig),
    };
    let background = context.background;
    let whole =
        (&context.name, cluster, access, namespaces, label_selector, annotation_prefix, background);
    format!("{whole:?}")
}

fn digest(kubeconfig: &kube::config::Kubeconfig) -> String {
    let text = serde_json::to_vec(kubeconfig).unwrap_or_default();
    data_encoding::HEXLOWER
        .encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &text).as_ref())
}
