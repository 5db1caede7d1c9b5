//! The authenticator `kubernetes` with an API server: a real one for `make test-kubernetes`, otherwise
//! the stand-in.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code: a panic is how a test fails"
)]

mod accounts;
mod outages;
mod tokens;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use callgate::{
    authn::{Authenticator, Decline, GoneCause, Identity, Readiness, Reassessment, Standing},
    clock::UnixTime,
    record::Reason,
    request::{AuthRequest, Credential},
};
use callgate_authenticators::kind::{BuildContext, Observer, Registry, SharedResources};
use callgate_config::{Document, Format, Report, Sources, Table};
use callgate_testkit::{
    conformance::{Candidate, foreign, logins},
    eventually,
    kube::{ADMIN, KubeCluster},
    wait::PATIENCE,
};
use serde_json::{Value, json};

/// The permissions that the service needs (deploy/helm/callgate/templates/rbac.yaml).
fn minimal_rules() -> Value {
    json!([
        {"apiGroups": [""], "resources": ["serviceaccounts"], "verbs": ["list", "watch"]},
        {"nonResourceURLs": ["/.well-known/openid-configuration", "/openid/v1/jwks"], "verbs": ["get"]},
    ])
}

/// The background events of the authenticator.
#[derive(Debug, Default)]
struct Events {
    known: Mutex<(usize, Option<Duration>)>,
    malformed: Mutex<usize>,
}

impl Observer for Events {
    fn service_accounts(&self, _: &str, known: usize, lost_for: Option<Duration>) {
        *self.known.lock().unwrap() = (known, lost_for);
    }

    fn annotations_malformed(&self, _: &str, subjects: usize) {
        *self.malformed.lock().unwrap() += subjects;
    }
}

impl Events {
    fn known(&self) -> (usize, Option<Duration>) {
        *self.known.lock().unwrap()
    }
}

/// A cluster, and what the authenticators on it share.
struct Bench {
    cluster: KubeCluster,
    events: Arc<Events>,
    shared: Arc<SharedResources>,
}

impl Bench {
    async fn start() -> Self {
        let cluster = KubeCluster::start().await;
        cluster.grant("callgate", minimal_rules()).await;
        cluster.create_namespace("shop").await;
        Self { cluster, events: Arc::default(), shared: Arc::default() }
    }

    fn build_as(&self, user: &str, background: bool, more: &str) -> Arc<dyn Authenticator> {
        let settings = format!(
            "audience = [\"nats\"]\nkubeconfig = {:?}\n{more}",
            self.cluster.kubeconfig(user)
        );
        self.try_build("cluster", background, &settings).unwrap_or_else(|faults| panic!("{faults}"))
    }

    /// The entry `name`, or the errors in its table.
    fn try_build(
        &self,
        name: &str,
        background: bool,
        settings: &str,
    ) -> Result<Arc<dyn Authenticator>, String> {
        let toml = format!("[kubernetes]\n{settings}");
        let document = Document::parse(toml.as_bytes(), Format::Toml).unwrap();
        let (report, sources) = (Report::new(), Sources::new("."));
        let mut context = BuildContext::new(name, sources.clone(), Arc::clone(&self.shared));
        context.services.background = background;
        context.services.observer = Arc::clone(&self.events) as Arc<dyn Observer>;
        let mut entry = Table::root(&document, "authenticators[0]", &report, &sources);
        let registry = Registry::builtin();
        let built =
            registry.kind_of(&mut entry).and_then(|(kind, table)| kind.build(&context, table));
        built.ok_or_else(|| format!("{:?}", report.faults()))
    }

    async fn build(&self, more: &str) -> Arc<dyn Authenticator> {
        let built = self.build_as("callgate", true, more);
        ready(&*built).await;
        built
    }
}

async fn ready(authenticator: &dyn Authenticator) {
    let waiting = async || loop {
        if authenticator.readiness() == Readiness::Ready {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    let ready = tokio::time::timeout(PATIENCE, waiting()).await;
    ready.unwrap_or_else(|_| panic!("not ready: {:?}", authenticator.readiness()));
}

fn request(token: &str) -> AuthRequest {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    AuthRequest::for_tests(Credential::Token(token.into())).due_at(deadline)
}

async fn ask(authenticator: &dyn Authenticator, token: &str) -> Result<Identity, Decline> {
    authenticator.authenticate(&request(token)).await
}

/// The answer as one word: `ok`, `not_mine`, `unavailable`, or the reason.
async fn judge(authenticator: &dyn Authenticator, token: &str) -> String {
    word(&ask(authenticator, token).await)
}

fn word(answer: &Result<Identity, Decline>) -> String {
    match answer {
        Ok(_) => "ok".to_owned(),
        Err(Decline::NotMine) => "not_mine".to_owned(),
        Err(Decline::Rejected(rejection)) => rejection.reason.as_str().to_owned(),
        Err(Decline::Unavailable(_)) => "unavailable".to_owned(),
    }
}

async fn becomes(authenticator: &dyn Authenticator, token: &str, expected: &str, within: Duration) {
    eventually(&format!("the answer `{expected}`"), within, async || {
        (judge(authenticator, token).await == expected).then_some(())
    })
    .await;
}
