//! The deployed manifests and the documented commands, with `kubectl` on a real API server.

mod helm;

use std::{fs, process::Command};

use callgate_testkit::{
    eventually,
    kube::{ADMIN, KubeCluster},
    wait::PATIENCE,
};
use serde_json::json;

use super::{RECOVERY, Scene, manifests, root};

/// The service's own service account.
const OURSELVES: &str = "--as=system:serviceaccount:nats:callgate";

/// Runs `kubectl` as the administrator; returns success and output.
fn kubectl(cluster: &KubeCluster, arguments: &[&str], input: &str) -> (bool, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("input.yaml");
    fs::write(&file, input).unwrap();
    let output = Command::new("kubectl")
        .args(arguments)
        .args(
            (!input.is_empty())
                .then_some(["--filename".as_ref(), file.as_os_str()])
                .iter()
                .flatten(),
        )
        .env("KUBECONFIG", cluster.kubeconfig(ADMIN))
        .env("HOME", folder.path())
        .output()
        .expect("kubectl is on the PATH (Debian: kubernetes-client)");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.success(), text(&output.stdout) + &text(&output.stderr))
}

fn done(cluster: &KubeCluster, arguments: &[&str], input: &str) -> String {
    let (good, said) = kubectl(cluster, arguments, input);
    assert!(good, "kubectl {arguments:?}: {said}");
    said
}

/// Adapts manifests to this API server (1.20): PodDisruptionBudget was beta, probes had no termination grace
/// period (both are new in 1.21), and ServiceMonitor and PrometheusRule are custom resources.
fn known(text: &str) -> String {
    let parts =
        text.split("\n---\n").filter(|part| !part.contains("apiVersion: monitoring.coreos.com/"));
    let parts: Vec<&str> = parts.collect();
    let text = parts.join("\n---\n");
    let probe = |line: &&str| line.starts_with("            ") && line.contains("terminationGrace");
    let lines: Vec<&str> = text.lines().filter(|line| !probe(line)).collect();
    lines.join("\n").replace("apiVersion: policy/v1\n", "apiVersion: policy/v1beta1\n")
}

async fn deployed() -> KubeCluster {
    let cluster = KubeCluster::start().await;
    for namespace in ["nats", "production", "staging"] {
        done(&cluster, &["create", "namespace", namespace], "");
    }
    let said = done(&cluster, &["apply", "--namespace=nats"], &known(&manifests()));
    assert_eq!(said.matches(" created").count(), 8, "{said}");
    cluster
}

#[tokio::test]
async fn manifests_and_documented_sample_are_accepted() {
    let cluster = deployed().await;
    let read = |path: &str| fs::read_to_string(root().join(path)).unwrap();
    for golden in ["everything", "operator"] {
        let rendered = known(&read(&format!("deploy/helm/callgate/ci/{golden}-golden.yaml")));
        done(&cluster, &["apply"], &rendered);
    }
    let docs = read("docs/kubernetes.md");
    let (_, sample) = docs.split_once("```yaml\napiVersion: v1\nkind: ServiceAccount").unwrap();
    let (sample, _) = sample.split_once("```").unwrap();
    let sample = format!("apiVersion: v1\nkind: ServiceAccount{sample}");
    let said = done(&cluster, &["apply"], &sample);
    assert_eq!(said.matches("my-service created").count(), 2, "{said}");
    // Unknown fields would be rejected.
    let wrong = known(&manifests()).replace("readOnlyRootFilesystem", "readOnlyRootFileSystem");
    let (good, said) = kubectl(&cluster, &["apply", "--namespace=nats"], &wrong);
    assert!(!good && said.contains("readOnlyRootFileSystem"), "{said}");
}

#[tokio::test]
async fn service_has_exactly_the_needed_rights() {
    let cluster = deployed().await;
    for (operation, expected) in [
        ("list serviceaccounts --all-namespaces", true),
        ("watch serviceaccounts --all-namespaces", true),
        ("get /.well-known/openid-configuration", true),
        ("get /openid/v1/jwks", true),
        ("get serviceaccounts --all-namespaces", false),
        ("create serviceaccounts --subresource=token --all-namespaces", false),
        ("patch serviceaccounts --all-namespaces", false),
        ("impersonate serviceaccounts --all-namespaces", false),
        ("list secrets --all-namespaces", false),
        ("get secrets --namespace=nats", false),
        ("list pods --all-namespaces", false),
        ("list configmaps --namespace=nats", false),
        ("create tokenreviews.authentication.k8s.io", false),
        ("get /metrics", false),
    ] {
        let arguments: Vec<&str> =
            ["auth", "can-i", OURSELVES].into_iter().chain(operation.split(' ')).collect();
        let (allowed, said) = kubectl(&cluster, &arguments, "");
        assert_eq!(allowed, expected, "{operation}: {said}");
    }
    // And no resource rules beyond the table, except self reviews.
    let rights = done(&cluster, &["auth", "can-i", OURSELVES, "--list", "--no-headers"], "");
    let of_resources: Vec<&str> = rights
        .lines()
        .filter(|line| !line.starts_with(' ') && !line.starts_with("selfsubject"))
        .filter(|line| !line.starts_with("Warning"))
        .collect();
    assert_eq!(of_resources.len(), 1, "{rights}");
    assert!(
        of_resources[0].starts_with("serviceaccounts ") && of_resources[0].contains("[list watch]")
    );
}

#[tokio::test]
async fn service_works_with_the_chart_rights() {
    let cluster = deployed().await;
    cluster.create_account("production", "my-service", json!({})).await;
    // As mounted into its pod.
    let token = cluster.token("nats", "callgate", cluster.issuer()).await;
    let kubeconfig = cluster.kubeconfig_with("mounted", &token);
    let scene = Scene::with(cluster, &kubeconfig, "defaults = { inbox = \"private\" }", "").await;
    scene.gate.ready().await;
    let token = scene.cluster.token("production", "my-service", "nats").await;
    let operations = ["pub production.a", "sub production.>", "pub staging.a", "sub _INBOX.>"];
    assert_eq!(scene.refused(&token, &operations).await, Some(operations[2..].to_vec()));
    // The watch works, too.
    let annotate = ["annotate", "--namespace=production", "serviceaccount", "my-service", "a=b"];
    done(&scene.cluster, &annotate, "");
    let delete = ["delete", "--namespace=production", "serviceaccount", "my-service"];
    done(&scene.cluster, &delete, "");
    scene.becomes(&token, false, RECOVERY).await;
    let log = scene.gate.log();
    assert!(!log.contains("does not permit Callgate"), "{log}");
    // Without the binding, the missing rule is logged.
    done(&scene.cluster, &["delete", "clusterrolebinding", "callgate"], "");
    let (code, said) = scene.run(&["explain", "--config", "callgate.toml", "--token", &token]);
    eventually("the missing rule", PATIENCE, async || {
        let arguments = ["explain", "--config", "callgate.toml", "--token", &token];
        let (code, said) = scene.run(&arguments);
        (code == 1 && said.contains("verbs [\"list\", \"watch\"]")).then_some(())
    })
    .await;
    assert_eq!(code, 1, "{said}");
}
