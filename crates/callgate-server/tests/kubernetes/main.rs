//! Pods that connect: nats-server, the `callgate` binary and an API server (a real one for `make
//! test-kubernetes`, otherwise a stand-in), with real clients.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code: a panic is how a test fails"
)]

#[cfg(feature = "real-kubernetes")]
mod deployed;
mod init;
mod limits;
mod migrate;

use std::{fs, path::Path, time::Duration};

use async_nats::{Client, ConnectOptions};
use callgate_testkit::{
    CurveKey, NatsServer, Nkey, Service, eventually,
    files::write_private,
    kube::KubeCluster,
    service::{Launch, PERMISSIONS, command, run},
    wait::PATIENCE,
};
use serde_json::{Value, json};
use tempfile::TempDir;

const CALLGATE: &str = env!("CARGO_BIN_EXE_callgate");
const SECOND: Duration = Duration::from_secs(1);
/// The watch retries within eight seconds after the API server was unavailable.
const RECOVERY: Duration = Duration::from_secs(25);

/// A cluster, a nats-server and Callgate.
struct Scene {
    cluster: KubeCluster,
    server: NatsServer,
    gate: Service,
    folder: TempDir,
}

impl Scene {
    async fn start(more: &str, ceiling: &str) -> Self {
        let cluster = KubeCluster::start().await;
        cluster.grant("callgate", chart_rules()).await;
        cluster.create_namespace("shop").await;
        cluster.create_account("shop", "web", json!({})).await;
        let this = Self::over(cluster, more, ceiling).await;
        this.gate.ready().await;
        this
    }

    /// Starts without waiting until it is ready.
    async fn over(cluster: KubeCluster, more: &str, ceiling: &str) -> Self {
        let kubeconfig = cluster.kubeconfig("callgate");
        Self::with(cluster, &kubeconfig, more, ceiling).await
    }

    /// Starts with this kubeconfig.
    async fn with(cluster: KubeCluster, kubeconfig: &Path, more: &str, ceiling: &str) -> Self {
        let (issuer, xkey) = (Nkey::account(), CurveKey::generate());
        let server = NatsServer::start(&server_config(&issuer.public(), &xkey.public())).await;
        let folder = tempfile::tempdir().unwrap();
        write_private(&folder.path().join("issuer.nk"), &issuer.seed());
        write_private(&folder.path().join("xkey.xk"), &xkey.seed());
        let config = gate_config(&server.url(), kubeconfig, more, ceiling);
        fs::write(folder.path().join("callgate.toml"), config).unwrap();
        let gate = Service::start(folder.path(), &Launch::of(CALLGATE)).await;
        Self { cluster, server, gate, folder }
    }

    async fn connect(&self, token: &str) -> Option<Client> {
        let options = ConnectOptions::with_token(token.to_owned());
        options.connect(self.server.url()).await.ok()
    }

    /// The refused ones of these operations (`pub SUBJECT` or `sub SUBJECT`). `None` if the client is not
    /// admitted.
    async fn refused<'s>(&self, token: &str, operations: &[&'s str]) -> Option<Vec<&'s str>> {
        const LAST: &str = "never.permitted";
        let (events, mut received) = tokio::sync::mpsc::unbounded_channel();
        let options = ConnectOptions::with_token(token.to_owned()).event_callback(move |event| {
            let _ = events.send(event.to_string().to_lowercase());
            std::future::ready(())
        });
        let client = options.connect(self.server.url()).await.ok()?;
        let mut subscriptions = Vec::new();
        for operation in operations {
            match operation.split_once(' ').unwrap() {
                ("pub", subject) => client.publish(subject.to_owned(), "x".into()).await.unwrap(),
                (_, subject) => {
                    subscriptions.push(client.subscribe(subject.to_owned()).await.unwrap())
                }
            }
        }
        // The server reports refusals in order, so operations without one before this are allowed.
        client.publish(LAST, "x".into()).await.unwrap();
        client.flush().await.unwrap();
        let mut refused = Vec::new();
        loop {
            let event = tokio::time::timeout(PATIENCE, received.recv()).await.unwrap()?;
            let is_about = |operation: &&&str| {
                let (side, subject) = operation.split_once(' ').unwrap();
                let side = if side == "pub" { "publish" } else { "subscription" };
                event.contains(side) && event.contains(&format!("\"{}\"", subject.to_lowercase()))
            };
            refused.extend(operations.iter().find(is_about));
            if event.contains(LAST) {
                return Some(refused);
            }
        }
    }

    /// The last decision in the log.
    fn decision(&self) -> Value {
        self.gate.decisions(0).pop().expect("a decision")
    }

    async fn becomes(&self, token: &str, admitted: bool, within: Duration) {
        eventually(&format!("admitted: {admitted}"), within, async || {
            (self.connect(token).await.is_some() == admitted).then_some(())
        })
        .await;
    }

    /// Runs `callgate` to its end.
    fn run(&self, arguments: &[&str]) -> (i32, String) {
        let ran = run(&mut command(CALLGATE, self.folder.path(), arguments), b"");
        (ran.code, ran.text())
    }
}

/// The checkout.
fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// The manifests rendered from the chart.
fn manifests() -> String {
    let path = root().join("deploy/kubernetes/callgate.yaml");
    fs::read_to_string(path).unwrap()
}

/// The RBAC rules in the rendered manifests.
fn chart_rules() -> Value {
    let text = manifests();
    let role = text.split("\n---\n").find(|part| part.contains("kind: ClusterRole\n")).unwrap();
    // Rules are written as flow lists, so no YAML parser is needed.
    let lines: Vec<&str> = role.lines().map(str::trim).collect();
    let mut rules: Vec<Value> = Vec::new();
    for line in lines {
        let line = line.strip_prefix("- ").inspect(|_| rules.push(json!({}))).unwrap_or(line);
        let Some((key, list)) = line.split_once(": [") else { continue };
        let list: Value = serde_json::from_str(&format!("[{list}")).unwrap();
        rules.last_mut().unwrap()[key] = list;
    }
    json!(rules)
}

#[tokio::test]
async fn chart_configuration_is_valid() {
    let cluster = KubeCluster::start().await;
    let folder = tempfile::tempdir().unwrap();
    write_private(&folder.path().join("issuer.nk"), &Nkey::account().seed());
    write_private(&folder.path().join("xkey.xk"), &CurveKey::generate().seed());
    write_private(&folder.path().join("auth.nk"), &Nkey::user().seed());
    let text = manifests();
    let (_, config) = text.split_once("  callgate.yaml: |\n").unwrap();
    let (config, _) = config.split_once("\n---\n").unwrap();
    // As in a pod, except for the paths.
    let kubeconfig =
        format!("kubernetes:\n        kubeconfig: {:?}", cluster.kubeconfig("callgate"));
    let config =
        config.replace("/etc/callgate/secrets/", "").replacen("kubernetes:", &kubeconfig, 1);
    fs::write(folder.path().join("callgate.yaml"), config).unwrap();
    let check = ["check", "--config", "callgate.yaml"];
    let ran = run(&mut command(CALLGATE, folder.path(), &check), b"");
    assert_eq!(ran.code, 0, "{ran:?}");
}

fn server_config(issuer: &str, xkey: &str) -> String {
    format!(
        "accounts {{
  AUTH {{ users: [ {{ user: callgate, password: callgate, {PERMISSIONS} }} ] }}
  APP {{}}
  OTHER {{}}
  SYS {{}}
}}
system_account: SYS
authorization {{ auth_callout {{ issuer: \"{issuer}\", xkey: \"{xkey}\", account: AUTH, auth_users: [ callgate ] }} }}
"
    )
}

fn gate_config(url: &str, kubeconfig: &Path, more: &str, ceiling: &str) -> String {
    format!(
        "[nats]
servers = [\"{url}\"]
user = \"callgate\"
password = \"callgate\"
[issuer]
seed = {{ file = \"issuer.nk\" }}
xkeys = [{{ file = \"xkey.xk\" }}]
[[accounts]]
name = \"APP\"
[[accounts]]
name = \"OTHER\"
[[authenticators]]
account = \"APP\"
{ceiling}
[authenticators.kubernetes]
audience = [\"nats\"]
kubeconfig = {kubeconfig:?}
{more}
[roles.reader]
subscribe = [\"news.>\"]
[admin]
listen = \"127.0.0.1:0\"
[log]
format = \"json\"
"
    )
}

#[tokio::test]
async fn pod_has_default_permissions_of_its_namespace() {
    let scene = Scene::start("", "").await;
    let token = scene.cluster.token("shop", "web", "nats").await;
    let open = [
        "pub shop.a",
        "pub _INBOX.a",
        "pub _INBOX_shop_web.a",
        "sub shop.>",
        "sub _INBOX.>",
        "sub _INBOX_shop_web.>",
    ];
    assert_eq!(scene.refused(&token, &open).await, Some(vec![]));
    let closed = [
        "pub shop",
        "pub bank.a",
        "pub _INBOX_bank_web.a",
        "pub $SYS.REQ.USER.INFO",
        "pub $JS.API.INFO",
        "sub >",
        "sub *.a",
        "sub bank.>",
        "sub _INBOX_bank_web.>",
        "sub $SYS.>",
    ];
    assert_eq!(scene.refused(&token, &closed).await, Some(closed.to_vec()));
    let decision = scene.decision().to_string();
    assert!(decision.contains("\"shop/web\"") && decision.contains("\"APP\""), "{decision}");
    let for_server = scene.cluster.token("shop", "web", scene.cluster.issuer()).await;
    assert!(scene.connect(&for_server).await.is_none());
    assert_eq!(scene.decision()["reason"], "wrong_audience");
    assert!(scene.gate.metric("callgate_kubernetes_service_accounts").await >= 1.0);
    let (code, text) = scene.run(&["check", "--config", "callgate.toml"]);
    assert_eq!(code, 0, "{text}");
    for words in
        ["what kubernetes requests for an identity grants nothing", "prefer `defaults.inbox"]
    {
        assert!(text.contains(words), "{words} is not in {text}");
    }
    assert!(
        scene.gate.log().contains("what kubernetes requests for an identity grants nothing"),
        "not said at the start"
    );
}

#[tokio::test]
async fn defaults_are_replaced_key_by_key() {
    let scene = Scene::start("defaults = { inbox = \"private\", responses = false }", "").await;
    let token = scene.cluster.token("shop", "web", "nats").await;
    let operations =
        ["pub _INBOX.a", "pub shop.a", "sub shop.>", "sub _INBOX_shop_web.>", "sub _INBOX.>"];
    assert_eq!(scene.refused(&token, &operations).await, Some(vec!["sub _INBOX.>"]));
}

#[tokio::test]
async fn annotations_are_limited_by_the_ceiling() {
    let ceiling = "ceiling = { publish = [\"{{ namespace }}.>\", \"shared.>\"], roles = [\"reader\"], accounts = [\"OTHER\"] }";
    let scene = Scene::start("", ceiling).await;
    let token = scene.cluster.token("shop", "web", "nats").await;
    let operations =
        ["pub shop.a", "pub shared.a", "pub shared.b", "pub bank.b", "pub $SYS.a", "pub a.x"];
    for (annotation, refused) in [
        (
            "shared.a, bank.b, >, $SYS.>, _INBOX.a, *.x, a..b, x y,,",
            vec!["pub shared.b", "pub bank.b", "pub $SYS.a", "pub a.x"],
        ),
        ("shared.>", vec!["pub bank.b", "pub $SYS.a", "pub a.x"]),
        ("bank.>", vec!["pub shared.a", "pub shared.b", "pub bank.b", "pub $SYS.a", "pub a.x"]),
    ] {
        scene
            .cluster
            .annotate("shop", "web", json!({"nats.io/allowed-pub-subjects": annotation}))
            .await;
        eventually(annotation, 2 * SECOND, async || {
            (scene.refused(&token, &operations).await? == refused).then_some(())
        })
        .await;
    }
    assert!(
        scene.gate.metric("callgate_ceiling_dropped_total{authenticator=\"kubernetes\"}").await
            >= 3.0
    );
    let annotations = json!({"nats.io/roles": "reader, admin", "nats.io/account": "OTHER"});
    scene.cluster.annotate("shop", "web", annotations).await;
    eventually("role and account", 2 * SECOND, async || {
        let refused = scene.refused(&token, &["sub news.>"]).await?;
        (refused.is_empty() && scene.decision().to_string().contains("\"OTHER\"")).then_some(())
    })
    .await;
    scene.cluster.annotate("shop", "web", json!({"nats.io/account": "AUTH"})).await;
    scene.becomes(&token, false, 2 * SECOND).await;
    assert_eq!(scene.decision()["reason"], "account_not_allowed");
    let (code, text) = scene.run(&["explain", "--config", "callgate.toml", "--token", &token]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("account_not_allowed"), "{text}");
    scene.cluster.annotate("shop", "web", json!({"nats.io/account": null})).await;
    let (code, text) = scene.run(&[
        "explain",
        "--config",
        "callgate.toml",
        "--token",
        &token,
        "--can",
        "pub:shop.orders",
        "--why",
    ]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("shop/web") && text.contains("reader"), "{text}");
}

#[tokio::test]
async fn service_survives_deletions_restarts_and_key_rotation() {
    let mut scene = Scene::start("", "").await;
    let old = scene.cluster.token("shop", "web", "nats").await;
    scene.becomes(&old, true, SECOND).await;
    scene.cluster.delete_account("shop", "web").await;
    scene.becomes(&old, false, 2 * SECOND).await;
    scene.cluster.create_account("shop", "web", json!({})).await;
    let new = scene.cluster.token("shop", "web", "nats").await;
    scene.becomes(&new, true, 2 * SECOND).await;
    assert!(scene.connect(&old).await.is_none());
    assert!(scene.gate.log().contains("unknown_service_account"));
    // The API server goes away: known accounts still work, and their age is reported.
    let lost = "callgate_kubernetes_watch_lost_seconds{authenticator=\"kubernetes\"}";
    scene.cluster.stop().await;
    eventually("the lost watch", PATIENCE, async || {
        (scene.gate.metric(lost).await > 0.0).then_some(())
    })
    .await;
    assert!(scene.connect(&new).await.is_some());
    assert_eq!(scene.gate.get("/readyz").await.0, 200);
    assert!(scene.gate.log().contains("the watch of service accounts is lost"));
    scene.cluster.resume().await;
    eventually("the watch", RECOVERY, async || {
        (scene.gate.metric(lost).await == 0.0).then_some(())
    })
    .await;
    // Restarted with another signing key.
    scene.cluster.rotate_key().await;
    let newest = scene.cluster.token("shop", "web", "nats").await;
    scene.becomes(&newest, true, RECOVERY).await;
    assert!(scene.connect(&new).await.is_none());
    assert!(!scene.gate.log().contains(&newest), "a token is in the log");
}

#[tokio::test]
async fn not_ready_before_first_list_and_missing_rule_is_named() {
    let cluster = KubeCluster::start().await;
    cluster.create_namespace("shop").await;
    cluster.create_account("shop", "web", json!({})).await;
    let token = cluster.token("shop", "web", "nats").await;
    let scene = Scene::over(cluster, "", "").await;
    eventually("the reason", PATIENCE, async || {
        let (status, why) = scene.gate.get("/readyz").await;
        (status == 503 && why.contains("does not permit Callgate to")).then_some(())
    })
    .await;
    assert!(scene.connect(&token).await.is_none());
    scene.cluster.grant("callgate", chart_rules()).await;
    eventually("callgate to be ready", RECOVERY, async || {
        (scene.gate.get("/readyz").await.0 == 200).then_some(())
    })
    .await;
    assert!(scene.connect(&token).await.is_some());
    assert!(scene.gate.log().contains("serviceaccounts"), "the rule is not named");
}

/// Resident memory of a process, in bytes.
fn memory_of(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

#[tokio::test]
async fn ten_thousand_accounts_use_less_than_20_megabytes() {
    const MANY: usize = 10_000;
    let mut scene = Scene::start("", "").await;
    let token = scene.cluster.token("shop", "web", "nats").await;
    scene.becomes(&token, true, SECOND).await;
    let before = memory_of(scene.gate.process.pid());
    scene.cluster.create_many("shop", MANY).await;
    let known = "callgate_kubernetes_service_accounts";
    eventually("every account", PATIENCE, async || {
        (scene.gate.metric(known).await as usize > MANY).then_some(())
    })
    .await;
    let watched = memory_of(scene.gate.process.pid()) - before;
    // Listed again, as after a long outage: the old list is used until the new one is complete.
    let lost = "callgate_kubernetes_watch_lost_seconds{authenticator=\"kubernetes\"}";
    scene.cluster.stop().await;
    eventually("the lost watch", PATIENCE, async || {
        (scene.gate.metric(lost).await > 0.0).then_some(())
    })
    .await;
    scene.cluster.forget_history();
    scene.cluster.resume().await;
    eventually("the watch", RECOVERY, async || {
        (scene.gate.metric(lost).await == 0.0).then_some(())
    })
    .await;
    let listed = memory_of(scene.gate.process.pid()) - before;
    println!(
        "{MANY} accounts: {} kB watched, {} kB after another list",
        watched / 1024,
        listed / 1024
    );
    assert!(watched < 20_000_000, "{watched} bytes");
    assert!(scene.connect(&token).await.is_some());
}
