//! The chart as its users install it: with `helm`, from what `callgate init --kubernetes` writes.

use std::{fs, path::Path, process::Command};

use callgate_testkit::{
    kube::{ADMIN, KubeCluster},
    service::{command, run},
    tools,
};
use tempfile::TempDir;

use super::{done, known};
use crate::{CALLGATE, root};

/// A cluster with the namespace of the documentation, and a folder with its files.
struct Place {
    cluster: KubeCluster,
    folder: TempDir,
}

impl Place {
    async fn start(flags: &[&str]) -> Self {
        let cluster = KubeCluster::start().await;
        done(&cluster, &["create", "namespace", "nats"], "");
        let folder = tempfile::tempdir().unwrap();
        let arguments = [&["init", "gate", "--kubernetes"], flags].concat();
        let init = run(&mut command(CALLGATE, folder.path(), &arguments), b"");
        assert_eq!(init.code, 0, "{init:?}");
        copy_chart(&root().join("deploy/helm/callgate"), &folder.path().join("chart"));
        Self { cluster, folder }
    }

    /// Runs `helm` in the folder; returns its output.
    fn helm(&self, arguments: &[&str]) -> String {
        let output = Command::new(tools::installed("helm/helm"))
            .args(arguments)
            .current_dir(self.folder.path())
            .env("KUBECONFIG", self.cluster.kubeconfig(ADMIN))
            .env("HOME", self.folder.path())
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let said = text(&output.stdout) + &text(&output.stderr);
        assert!(output.status.success(), "helm {arguments:?}: {said}");
        said
    }

    /// The names of the chart's objects in all namespaces.
    fn objects(&self) -> Vec<String> {
        let kinds = "deployment,configmap,service,serviceaccount,networkpolicy,poddisruptionbudget,\
                     clusterrole,clusterrolebinding";
        let selector = "--selector=app.kubernetes.io/name=callgate";
        let get = ["get", kinds, "--all-namespaces", selector, "--output=name"];
        let said = done(&self.cluster, &get, "");
        said.lines().filter(|line| line.contains("/callgate")).map(str::to_owned).collect()
    }

    fn deployment(&self, path: &str) -> String {
        let output = format!("--output=jsonpath={{{path}}}");
        done(&self.cluster, &["get", "deployment", "callgate", "--namespace=nats", &output], "")
    }
}

/// The chart for this API server, which is one minor version older than the oldest supported one, and whose
/// build names no version.
fn copy_chart(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_chart(&path, &target);
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let text = text.replace("kubeVersion: \">=1.21.0-0\"", "kubeVersion: \">=0.0.0-0\"");
        let is_template = path.parent().unwrap().ends_with("templates");
        fs::write(target, if is_template { known(&text) } else { text }).unwrap();
    }
}

const IMAGE: &str = "image.repository=registry.example.com/callgate";
const VALUES: [&str; 2] = ["--values", "gate/callgate-values.yaml"];

/// As far as it goes without nodes: every object exists, and no pod runs.
#[tokio::test]
async fn helm_installs_upgrades_and_removes_the_chart() {
    let place = Place::start(&[]).await;
    let secret = fs::read_to_string(place.folder.path().join("gate/secret.yaml")).unwrap();
    done(&place.cluster, &["create", "--namespace=nats"], &secret);
    let install = ["install", "callgate", "chart", "--namespace=nats", "--set", IMAGE];
    place.helm(&[&install[..], &VALUES].concat());
    let objects = place.objects();
    assert_eq!(objects.len(), 8, "{objects:?}");
    let image = place.deployment(".spec.template.spec.containers[0].image");
    assert_eq!(image, "registry.example.com/callgate:0.1.0");
    let upgrade = ["upgrade", "callgate", "chart", "--namespace=nats", "--reuse-values"];
    place.helm(&[&upgrade[..], &["--set", "replicas=3"]].concat());
    assert_eq!(place.deployment(".spec.replicas"), "3");
    place.helm(&["rollback", "callgate", "1", "--namespace=nats"]);
    assert_eq!(place.deployment(".spec.replicas"), "2");
    place.helm(&["uninstall", "callgate", "--namespace=nats"]);
    assert_eq!(place.objects(), [""; 0]);
    // The keys are the user's: the chart never owned them.
    done(&place.cluster, &["get", "secret", "callgate", "--namespace=nats"], "");
}

#[tokio::test]
async fn helm_installs_the_chart_for_operator_mode() {
    let place = Place::start(&["--operator"]).await;
    let secret = fs::read_to_string(place.folder.path().join("gate/secret.yaml")).unwrap();
    done(&place.cluster, &["create", "--namespace=nats"], &secret);
    let install = ["install", "callgate", "chart", "--namespace=nats", "--set", IMAGE];
    place.helm(&[&install[..], &VALUES].concat());
    let get = ["get", "configmap", "callgate", "--namespace=nats", "--output=jsonpath={.data}"];
    let configuration = done(&place.cluster, &get, "");
    assert!(configuration.contains("/etc/callgate/secrets/nats.creds"), "{configuration}");
    assert_eq!(place.objects().len(), 8);
}

/// What CI compares the chart with is also what an API server accepts, without creating it.
#[tokio::test]
async fn every_rendered_object_passes_a_server_side_dry_run() {
    let place = Place::start(&[]).await;
    for namespace in ["production", "staging"] {
        done(&place.cluster, &["create", "namespace", namespace], "");
    }
    for file in [
        "deploy/kubernetes/callgate.yaml",
        "deploy/helm/callgate/ci/everything-golden.yaml",
        "deploy/helm/callgate/ci/operator-golden.yaml",
    ] {
        let rendered = known(&fs::read_to_string(root().join(file)).unwrap());
        let said = done(&place.cluster, &["apply", "--dry-run=server"], &rendered);
        let objects = rendered.matches("\nkind: ").count();
        assert_eq!(said.matches("(server dry run)").count(), objects, "{file}: {said}");
    }
    assert_eq!(place.objects(), [""; 0]);
}
