//! The Kubernetes API server goes away.

use std::time::Instant;

use callgate_testkit::{eventually, kube::KubeCluster, wait::LONG};
use futures_util::FutureExt;
use serde_json::{Value, json};

use crate::{
    client::{Credential, attempt},
    fault::{Fault, NotRun},
    report::Observations,
    scene::Scene,
    trial::{Trial, seconds},
};

const LOST: &str = "callgate_kubernetes_watch_lost_seconds";

/// The API server stops and starts.
pub const GONE: Fault = Fault {
    family: "Kubernetes",
    name: "API server stopped, then started",
    how: "the API server is stopped, which closes every connection",
    story: || gone().boxed_local(),
};

/// Every fault of this family.
pub const ALL: [Fault; 1] = [GONE];

async fn gone() -> Result<Observations, NotRun> {
    let mut cluster = KubeCluster::start().await;
    cluster.grant("callgate", rules()).await;
    cluster.create_namespace("shop").await;
    for name in ["web", "later", "old"] {
        cluster.create_account("shop", name, json!({})).await;
    }
    let token = async |name: &str, audience: &str| {
        Credential::Token(cluster.token("shop", name, audience).await)
    };
    let (web, later) = (token("web", "nats").await, token("later", "nats").await);
    let wrong = vec![token("web", "other").await, token("old", "nats").await];
    cluster.delete_account("shop", "old").await;
    let config = config(&cluster);
    let mut scene = Scene::builder().authenticators(&config).start().await;
    let mut clients = scene.clients();
    (clients.right, clients.wrong) = (web, wrong);
    let urls = clients.urls.clone();
    let view = scene.service().view();
    let played_by = if cluster.is_real() { "a real kube-apiserver" } else { "a stand-in for it" };
    let mut trial = Trial::begins(view.clone(), clients).await;
    trial.note(format!("the API server of this run was {played_by}"));
    cluster.stop().await;
    view.metric_reaches(LOST, 1.0).await;
    trial.clients_try().await;
    // A pod that is new, but whose account is known.
    assert!(attempt(&urls, &later).await.is_admitted(), "a login does not need the API server");
    trial.all_are_admitted();
    trial.ends().await;
    cluster.resume().await;
    let since = Instant::now();
    cluster.delete_account("shop", "later").await;
    eventually("a deleted account to be refused", LONG, async || {
        (!attempt(&urls, &later).await.is_admitted()).then_some(())
    })
    .await;
    let after = seconds(since.elapsed());
    trial.note(format!("an account deleted after the restart is refused after {after}"));
    trial.recovers().await;
    trial.all_are_admitted();
    Ok(trial.seen().await)
}

/// What the chart grants.
fn rules() -> Value {
    json!([
        { "apiGroups": [""], "resources": ["serviceaccounts"], "verbs": ["get", "list", "watch"] },
        { "nonResourceURLs": ["/.well-known/openid-configuration", "/openid/v1/jwks"],
          "verbs": ["get"] },
        { "apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"],
          "verbs": ["create"] },
    ])
}

fn config(cluster: &KubeCluster) -> String {
    let kubeconfig = cluster.kubeconfig("callgate");
    format!(
        "[[authenticators]]\naccount = \"APP\"\n[authenticators.kubernetes]\n\
         audience = [\"nats\"]\nkubeconfig = {kubeconfig:?}\n\
         defaults = {{ publish = [\">\"], subscribe = [\">\"] }}\n"
    )
}
