//! The part of the page about other callouts that concerns clusters.

use std::fs;

use callgate_testkit::{
    NatsServer, Nkey, Service, files::write_private, kube::KubeCluster, service::Launch,
};
use serde_json::json;

use super::{CALLGATE, Scene, chart_rules, root};

/// The block for clusters, and every first cell of the section's tables.
fn section() -> (String, Vec<String>) {
    let text = fs::read_to_string(root().join("docs/migrate-callouts.md")).unwrap();
    let (_, section) = text.split_once("\n## The Kubernetes OIDC callout\n").unwrap();
    let (_, config) = section.split_once("```toml\n").unwrap();
    let config = config.split("```").next().unwrap().to_owned();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    let names = rows.flat_map(|row| row.split(" | ").next().unwrap().split('`'));
    (config, names.map(str::to_owned).collect())
}

/// As in the original: two accounts, no xkey, annotations of service accounts.
async fn migrated() -> Scene {
    let cluster = KubeCluster::start().await;
    cluster.grant("callgate", chart_rules()).await;
    cluster.create_namespace("foo").await;
    let annotations = json!({
        "nats.io/allowed-pub-subjects": "platform.commands.*, bar.>",
        "nats.io/allowed-sub-subjects": "platform.events.*",
    });
    cluster.create_account("foo", "my-service", annotations).await;
    let issuer = Nkey::account();
    let server = NatsServer::start(&format!(
        "accounts {{
  AUTH_SERVICE {{ users: [ {{ user: auth-service, password: auth-service-pass }} ] }}
  AUTH_ACCOUNT {{}}
}}
authorization {{
  auth_callout {{ issuer: {}, auth_users: [ auth-service ], account: AUTH_SERVICE }}
}}
",
        issuer.public()
    ))
    .await;
    let folder = tempfile::tempdir().unwrap();
    write_private(&folder.path().join("signing.key"), &issuer.seed());
    let kubeconfig = format!("kubeconfig = {:?}\naudience =", cluster.kubeconfig("callgate"));
    let config = section().0.replace("nats://nats:4222", &server.url()).replacen(
        "audience =",
        &kubeconfig,
        1,
    ) + "[admin]\nlisten = \"127.0.0.1:0\"\n[log]\nformat = \"json\"\n";
    fs::write(folder.path().join("callgate.toml"), config).unwrap();
    let variables = vec![("NATS_PASSWORD".to_owned(), "auth-service-pass".into())];
    let launch = Launch { variables, ..Launch::of(CALLGATE) };
    let gate = Service::start(folder.path(), &launch).await;
    gate.ready().await;
    Scene { cluster, server, gate, folder }
}

#[tokio::test]
async fn annotations_keep_their_meaning_within_the_ceiling() {
    let scene = migrated().await;
    let token = scene.cluster.token("foo", "my-service", "nats").await;
    let operations = [
        "pub foo.a",
        "pub platform.commands.a",
        "sub foo.>",
        "sub _INBOX.>",
        "sub _INBOX_foo_my-service.>",
        "sub platform.events.*",
        "pub bar.a",
    ];
    assert_eq!(scene.refused(&token, &operations).await, Some(vec!["pub bar.a"]));
    let decision = scene.decision();
    assert_eq!(decision["account"], "AUTH_ACCOUNT");
    assert!(decision["ceiling_dropped"].to_string().contains("bar.>"), "{decision}");
}

#[test]
fn every_variable_of_the_original_has_a_counterpart() {
    let (_, names) = section();
    for variable in [
        "PORT",
        "NATS_URL",
        "NATS_USER_CREDS_FILE",
        "NATS_TOKEN",
        "NATS_ACCOUNT",
        "NATS_SIGNING_KEY_FILE",
        "JWKS_URL",
        "JWKS_PATH",
        "JWT_ISSUER",
        "JWT_AUDIENCE",
        "K8S_IN_CLUSTER=false",
        "K8S_NAMESPACE",
        "SA_ANNOTATION_PREFIX",
        "CACHE_CLEANUP_INTERVAL",
        "LOG_LEVEL",
        "nats.io/allowed-pub-subjects",
        "nats.io/allowed-sub-subjects",
    ] {
        assert!(names.iter().any(|name| name == variable), "{variable} is missing");
    }
}
