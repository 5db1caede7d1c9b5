//! Compares the CPU time of decisions on a cached token between `kubernetes` and `oidc`, with the same
//! token and roles of the same size: first complete decisions (open, authenticate, policy, sign,
//! seal), then the authenticators alone.
//!
//!     cargo run --release -p callgate-authenticators --features kubernetes --example kubernetes_cost
//!
//! Exits with an error if a complete decision takes more than 1.5 times as long with `kubernetes`.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a measurement, not the service"
)]

use std::{fs, process::ExitCode, sync::Arc, time::Duration};

use callgate::{
    Callgate, Reply,
    authn::{Authenticator, Chain, Link, Readiness},
    clock::UnixTime,
    keys::{AccountSigner, CurveKey, KeyKind, KeyPair},
    policy::{
        Policy,
        settings::{
            AuthenticatorPolicy, BindingSettings, Inbox, PolicySettings, RoleSettings, SideSettings,
        },
    },
    simulation::{ClientCredentials, RequestDraft, SimulatedRequest, SimulatedServer},
};
use callgate_authenticators::{
    kind::{BuildContext, Kind, SharedResources},
    kubernetes::{Kubernetes, KubernetesKind},
    oidc::Oidc,
};
use callgate_config::{Document, Format, Report, Sources, Table};
use callgate_testkit::{
    cpu::thread_time,
    kube::{ADMIN, KubeCluster},
};
use serde_json::json;

const ROUNDS: u32 = 9;
/// Complete decisions and authentications per round.
const DECISIONS: u32 = 2_000;
const IDENTITIES: u32 = 20_000;
const MAX_RATIO: f64 = 1.5;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let cluster = KubeCluster::start().await;
    cluster.create_namespace("shop").await;
    let annotations = json!({"nats.io/allowed-pub-subjects": "shop.orders.>"});
    cluster.create_account("shop", "web", annotations).await;
    let token = cluster.token("shop", "web", "nats").await;
    let keys = tempfile::NamedTempFile::new().unwrap();
    fs::write(keys.path(), cluster.keys().await).unwrap();
    let kubeconfig = format!("kubeconfig = {:?}", cluster.kubeconfig(ADMIN));
    let kubernetes = Arc::new(build(&kubeconfig, Kubernetes::build));
    let settings = format!("issuer = {:?}\njwks_file = {:?}", cluster.issuer(), keys.path());
    let oidc = Arc::new(build(&settings, Oidc::build));
    while kubernetes.readiness() != Readiness::Ready {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let of_kubernetes = Measured::new(kubernetes.clone(), kubernetes_policy(), &token);
    let of_oidc = Measured::new(oidc.clone(), oidc_policy(), &token);
    let whole = compare(
        "a complete decision",
        DECISIONS,
        async || of_kubernetes.decide().await,
        async || of_oidc.decide().await,
    )
    .await;
    let now = UnixTime::now();
    compare(
        "the authenticator alone",
        IDENTITIES,
        async || drop(kubernetes.identify(&token, now).await.unwrap()),
        async || drop(oidc.identify(&token, now).await.unwrap()),
    )
    .await;
    ExitCode::from(u8::from(whole > MAX_RATIO))
}

/// Interleaves the rounds and takes the best of each: other work on the machine only adds time.
async fn compare(what: &str, count: u32, kubernetes: impl AsyncFn(), oidc: impl AsyncFn()) -> f64 {
    let (mut best_kubernetes, mut best_oidc) = (f64::MAX, f64::MAX);
    for _ in 0..ROUNDS {
        best_kubernetes = best_kubernetes.min(cost(count, &kubernetes).await);
        best_oidc = best_oidc.min(cost(count, &oidc).await);
    }
    let ratio = best_kubernetes / best_oidc;
    println!(
        "{what}: kubernetes {best_kubernetes:.2} µs, oidc {best_oidc:.2} µs: {ratio:.2} times"
    );
    ratio
}

/// Microseconds of CPU time per call.
async fn cost(count: u32, decide: &impl AsyncFn()) -> f64 {
    let before = thread_time();
    for _ in 0..count {
        decide().await;
    }
    (thread_time() - before).as_secs_f64() * 1e6 / f64::from(count)
}

/// An instance of Callgate, and a request that it admits.
struct Measured {
    callout: Callgate,
    request: SimulatedRequest,
}

impl Measured {
    fn new(authenticator: Arc<dyn Authenticator>, policy: PolicySettings, token: &str) -> Self {
        let account = KeyPair::generate(KeyKind::Account).unwrap();
        let issuer = account.public_key().parse().unwrap();
        let signer = AccountSigner::from_seed(&account.seed()).unwrap();
        let xkey = CurveKey::generate().unwrap();
        let presented =
            ClientCredentials { token: Some(token.into()), ..ClientCredentials::default() };
        // Long enough for the request to stay fresh during the measurement.
        let patience = Duration::from_secs(240);
        let draft = RequestDraft { patience, ..RequestDraft::new(presented) };
        let server = SimulatedServer::new().unwrap();
        let public = xkey.public_key().clone();
        let request = draft.sign_as(&server, &issuer, Some(&public), UnixTime::now()).unwrap();
        let link = Link {
            name: Arc::from("measured"),
            authenticator,
            timeout: Duration::from_secs(1),
            required: true,
        };
        let policy = Arc::new(Policy::build(policy).unwrap());
        let callout = Callgate::builder(signer).xkey(xkey).chain(Chain::new(vec![link]), policy);
        Self { callout: callout.build().unwrap(), request }
    }

    async fn decide(&self) {
        let SimulatedRequest { payload, xkey_header, .. } = &self.request;
        self.callout.forget_requests();
        let reply = self.callout.handle(payload, xkey_header.as_deref(), UnixTime::now()).await;
        // Refusals have a fifth of this size.
        assert!(matches!(&reply, Reply::Answer(answer) if answer.len() > 1000), "{reply:?}");
    }
}

fn kubernetes_policy() -> PolicySettings {
    let authenticator = AuthenticatorPolicy {
        name: "measured".to_owned(),
        account: Some("APP".to_owned()),
        kind: KubernetesKind.name(),
        variables: KubernetesKind.variables(),
        defaults: KubernetesKind.defaults(),
        ..AuthenticatorPolicy::default()
    };
    PolicySettings { authenticators: vec![authenticator], ..PolicySettings::default() }
}

/// A role with as many subjects and templates as the default of service accounts.
fn oidc_policy() -> PolicySettings {
    let authenticator = AuthenticatorPolicy {
        name: "measured".to_owned(),
        account: Some("APP".to_owned()),
        ..AuthenticatorPolicy::default()
    };
    let own = "users.{{ encode(user) }}.>".to_owned();
    let role = RoleSettings {
        publish: SideSettings {
            allow: vec![
                "_INBOX.>".to_owned(),
                "_INBOX_{{ encode(user) }}.>".to_owned(),
                own.clone(),
            ],
            deny: Vec::new(),
        },
        subscribe: SideSettings { allow: vec![own, "_INBOX.>".to_owned()], deny: Vec::new() },
        responses: KubernetesKind.defaults().unwrap().responses,
        inbox: Inbox::Private,
        ..RoleSettings::default()
    };
    let binding = BindingSettings { roles: vec!["user".to_owned()], ..BindingSettings::default() };
    PolicySettings {
        authenticators: vec![authenticator],
        roles: [("user".to_owned(), role)].into(),
        bindings: vec![binding],
        ..PolicySettings::default()
    }
}

fn build<T>(toml: &str, build: impl Fn(&BuildContext, Table<'_>) -> Option<T>) -> T {
    let toml = format!("audience = [\"nats\"]\n{toml}");
    let document = Document::parse(toml.as_bytes(), Format::Toml).unwrap();
    let (report, sources) = (Report::new(), Sources::new("."));
    let mut context =
        BuildContext::new("measured", sources.clone(), Arc::new(SharedResources::default()));
    context.services.background = true;
    let built = build(&context, Table::root(&document, "", &report, &sources));
    built.unwrap_or_else(|| panic!("{:?}", report.faults()))
}
