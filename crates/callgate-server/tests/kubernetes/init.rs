//! What `callgate init --kubernetes` writes, with the chart's defaults, as in a cluster.

use std::{fs, path::Path};

use callgate_config::{Document, Format};
use callgate_testkit::{
    NatsServer, Service,
    files::write_private,
    kube::KubeCluster,
    pages::assert_current,
    service::{Launch, command, run},
};
use serde_json::{Value, json};

use super::{CALLGATE, Scene, chart_rules, root};

const MOUNTED: &str = "/etc/callgate/secrets/";

/// The one warning is about responses, which services need; `callgate.toml` says how to do without.
#[track_caller]
fn assert_checked(folder: &Path, file: &str, kubeconfig: &Path) {
    let mut check = command(CALLGATE, folder, &["check", file]);
    let check = run(check.env("KUBECONFIG", kubeconfig), b"");
    assert_eq!(check.code, 0, "{check:?}");
    let expected = ["kubernetes.defaults.responses: ", ": 0 errors, 1 warning"];
    assert!(expected.iter().all(|text| check.stdout.contains(text)), "{check:?}");
}

fn yaml(path: &Path) -> Value {
    let text = fs::read(path).unwrap();
    Document::parse(&text, Format::Yaml)
        .unwrap_or_else(|error| panic!("{path:?}: {error}"))
        .value()
        .clone()
}

/// Merges values as Helm does: maps are merged, and null removes a key.
fn merge(into: &mut Value, from: &Value) {
    let (Some(old), Some(new)) = (into.as_object_mut(), from.as_object()) else {
        *into = from.clone();
        return;
    };
    for (key, value) in new {
        match value {
            Value::Null => drop(old.remove(key)),
            value => merge(old.entry(key).or_insert(Value::Null), value),
        }
    }
}

/// Writes the files of the Secret, and returns the values of both charts.
fn written(folder: &Path, flags: &[&str]) -> (Value, Value) {
    let init = run(&mut command(CALLGATE, folder, &[&["init", "gate"], flags].concat()), b"");
    assert_eq!(init.code, 0, "{init:?}");
    let gate = folder.join("gate");
    let secret = yaml(&gate.join("secret.yaml"));
    assert_eq!(secret["kind"], "Secret");
    for (name, text) in secret["stringData"].as_object().unwrap() {
        write_private(&folder.join(name), text.as_str().unwrap());
    }
    let mut values = yaml(&root().join("deploy/helm/callgate/values.yaml"));
    let changed = yaml(&gate.join("callgate-values.yaml"));
    assert_eq!(changed["secretName"], secret["metadata"]["name"]);
    merge(&mut values, &changed);
    (yaml(&gate.join("nats-values.yaml")), values)
}

async fn scene(flags: &[&str]) -> Scene {
    let cluster = KubeCluster::start().await;
    cluster.grant("callgate", chart_rules()).await;
    cluster.create_namespace("shop").await;
    cluster.create_account("shop", "web", json!({})).await;
    let folder = tempfile::tempdir().unwrap();
    let (nats, callgate) = written(folder.path(), flags);
    // The NATS chart merges this into its nats.conf, which is JSON in form.
    let server = &nats["config"]["merge"].to_string()[1..];
    let server =
        NatsServer::start(&format!("{{\"listen\": \"127.0.0.1:{{{{port}}}}\", {server}")).await;
    let mut config = callgate["config"].clone();
    config["nats"]["servers"] = json!([server.url()]);
    config["admin"]["listen"] = json!("127.0.0.1:0");
    config["authenticators"][0]["kubernetes"]["kubeconfig"] = json!(cluster.kubeconfig("callgate"));
    let config = config.to_string().replace(MOUNTED, "");
    fs::write(folder.path().join("callgate.json"), config).unwrap();
    assert_checked(folder.path(), "callgate.json", &cluster.kubeconfig("callgate"));
    let arguments = ["--config", "callgate.json"].map(str::to_owned).to_vec();
    let launch = Launch { arguments, ..Launch::of(CALLGATE) };
    let gate = Service::start(folder.path(), &launch).await;
    gate.ready().await;
    Scene { cluster, server, gate, folder }
}

#[tokio::test]
async fn pods_log_in_with_what_init_writes() {
    for flags in [&["--kubernetes"][..], &["--operator", "--kubernetes"]] {
        let scene = scene(flags).await;
        let token = scene.cluster.token("shop", "web", "nats").await;
        let operations =
            ["pub shop.a", "sub shop.>", "sub _INBOX_shop_web.>", "pub bank.a", "sub _INBOX.>"];
        let refused = scene.refused(&token, &operations).await;
        assert_eq!(refused, Some(operations[3..].to_vec()), "{flags:?}: {}", scene.gate.log());
    }
}

#[tokio::test]
async fn configuration_of_init_works_outside_the_cluster() {
    let cluster = KubeCluster::start().await;
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = cluster.kubeconfig("callgate");
    for flags in [&["--kubernetes"][..], &["--operator", "--kubernetes"]] {
        let gate = format!("gate{}", flags.len());
        let init =
            run(&mut command(CALLGATE, folder.path(), &[&["init", &gate], flags].concat()), b"");
        assert_eq!(init.code, 0, "{init:?}");
        assert_checked(folder.path(), &format!("{gate}/callgate.toml"), &kubeconfig);
    }
}

const EXAMPLE: &str =
    "# What `callgate init DIR --kubernetes` writes, with words in place of keys and a hash.\n#\n";

/// Keys and hashes differ each time; everything else in the example is what `init` writes.
#[test]
fn example_values_are_those_of_init() {
    let folder = tempfile::tempdir().unwrap();
    let init = run(&mut command(CALLGATE, folder.path(), &["init", "gate", "--kubernetes"]), b"");
    assert_eq!(init.code, 0, "{init:?}");
    let text = fs::read_to_string(folder.path().join("gate/nats-values.yaml")).unwrap();
    let values = yaml(&folder.path().join("gate/nats-values.yaml"));
    let merged = &values["config"]["merge"];
    let callout = &merged["authorization"]["auth_callout"];
    let mut example = EXAMPLE.to_owned() + &text;
    for (secret, shown) in [
        (&callout["issuer"], "APUBLICKEYOFISSUERNK"),
        (&callout["xkey"], "XPUBLICKEYOFXKEYXK"),
        (&callout["auth_users"][0], "UPUBLICKEYOFAUTHNK"),
        (&callout["auth_users"][1], "UPUBLICKEYOFSYSTEMNK"),
        (&merged["accounts"]["SYS"]["users"][0]["password"], "BCRYPTHASH"),
    ] {
        example = example.replace(secret.as_str().unwrap(), shown);
    }
    let remedy = "CALLGATE_BLESS=1 cargo test -p callgate-server --test kubernetes example_values";
    if std::env::var_os("CALLGATE_BLESS").is_some() {
        fs::write(root().join("deploy/nats-values.yaml"), &example).unwrap();
    }
    assert_current("deploy/nats-values.yaml", &example, remedy);
}
