//! What the authenticator's part of a decision on a remembered token costs: `kubernetes` beside
//! `oidc`, with the same token. The rest of a decision (opening, policy, signing) is not in it.
//!
//!     cargo run --release -p callgate-authenticators --features kubernetes --example kubernetes_cost

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a measurement, not the service"
)]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use callgate::{
    authn::{Authenticator, Readiness},
    clock::UnixTime,
};
use callgate_authenticators::{
    kind::{BuildContext, Shared},
    kubernetes::Kubernetes,
    oidc::Oidc,
    settings::{Document, Format, Report, Sources, Table},
};
use callgate_testkit::kube::{ADMIN, KubeCluster};
use serde_json::json;

const ROUNDS: u32 = 9;
const DECISIONS: u32 = 20_000;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let cluster = KubeCluster::start().await;
    cluster.create_namespace("shop").await;
    let annotations = json!({"nats.io/allowed-pub-subjects": "shop.orders.>"});
    cluster.create_account("shop", "web", annotations).await;
    let token = cluster.token("shop", "web", "nats").await;
    let keys = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(keys.path(), cluster.keys().await).unwrap();
    let kubernetes =
        build(&format!("kubeconfig = {:?}", cluster.kubeconfig(ADMIN)), Kubernetes::build);
    let oidc = build(
        &format!("issuer = {:?}\njwks_file = {:?}", cluster.issuer(), keys.path()),
        Oidc::build,
    );
    while kubernetes.readiness() != Readiness::Ready {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let now = UnixTime::now();
    let (mut best_kubernetes, mut best_oidc) = (f64::MAX, f64::MAX);
    // Interleaved, and the best of each: what else runs on the machine only adds.
    for _ in 0..ROUNDS {
        best_kubernetes = best_kubernetes
            .min(time(async || drop(kubernetes.identify(&token, now).await.unwrap())).await);
        best_oidc =
            best_oidc.min(time(async || drop(oidc.identify(&token, now).await.unwrap())).await);
    }
    let ratio = best_kubernetes / best_oidc;
    println!("kubernetes {best_kubernetes:.2} µs, oidc {best_oidc:.2} µs: {ratio:.2} times");
}

/// Microseconds per decision.
async fn time(decide: impl AsyncFn()) -> f64 {
    let start = Instant::now();
    for _ in 0..DECISIONS {
        decide().await;
    }
    start.elapsed().as_secs_f64() * 1e6 / f64::from(DECISIONS)
}

fn build<T>(toml: &str, build: impl Fn(&BuildContext, Table<'_>) -> Option<T>) -> T {
    let toml = format!("audience = [\"nats\"]\n{toml}");
    let document = Document::parse(toml.as_bytes(), Format::Toml).unwrap();
    let (report, sources) = (Report::new(), Sources::new("."));
    let mut context = BuildContext::new("measured", sources.clone(), Arc::new(Shared::default()));
    context.background = true;
    let built = build(&context, Table::root(&document, "", &report, &sources));
    built.unwrap_or_else(|| panic!("{:?}", report.faults()))
}
