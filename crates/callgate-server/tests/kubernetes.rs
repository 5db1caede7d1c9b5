//! Pods connect: nats-server, the `callgate` binary and an API server (the real one for `make
//! test-kubernetes`, the stand-in otherwise), with real clients.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code: a panic is how a test fails"
)]

use std::{fs, path::Path, process::Command, time::Duration};

use async_nats::{Client, ConnectOptions};
use callgate_testkit::{
    CurveKey, NatsServer, Nkey, Process, eventually, kube::KubeCluster, wait::PATIENCE,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const CALLGATE: &str = env!("CARGO_BIN_EXE_callgate");
const SECOND: Duration = Duration::from_secs(1);
/// After an API server was away: the watch tries again within eight seconds.
const RECOVERY: Duration = Duration::from_secs(25);

/// A cluster, a server and a gate.
struct Scene {
    cluster: KubeCluster,
    server: NatsServer,
    gate: Process,
    admin: String,
    folder: TempDir,
}

impl Scene {
    async fn start(more: &str, ceiling: &str) -> Self {
        let cluster = KubeCluster::start().await;
        cluster.grant("callgate", chart_rules()).await;
        cluster.create_namespace("shop").await;
        cluster.create_account("shop", "web", json!({})).await;
        let this = Self::over(cluster, more, ceiling).await;
        this.ready().await;
        this
    }

    /// Without waiting for it to be ready.
    async fn over(cluster: KubeCluster, more: &str, ceiling: &str) -> Self {
        let (issuer, xkey) = (Nkey::account(), CurveKey::generate());
        let server = NatsServer::start(&server_config(&issuer.public(), &xkey.public())).await;
        let folder = tempfile::tempdir().unwrap();
        write_private(&folder.path().join("issuer.nk"), &issuer.seed());
        write_private(&folder.path().join("xkey.xk"), &xkey.seed());
        let kubeconfig = cluster.kubeconfig("callgate");
        let config = gate_config(&server.url(), &kubeconfig, more, ceiling);
        fs::write(folder.path().join("callgate.toml"), config).unwrap();
        let arguments = ["serve", "--config", "callgate.toml"];
        let mut gate = Process::builder("callgate", CALLGATE)
            .args(arguments)
            .current_dir(folder.path())
            .start();
        let line = gate.wait_for_stderr("serving /livez").await;
        let port = line.split("127.0.0.1:").nth(1).unwrap();
        let port: String = port.chars().take_while(char::is_ascii_digit).collect();
        let admin = format!("127.0.0.1:{port}");
        Self { cluster, server, gate, admin, folder }
    }

    async fn ready(&self) {
        eventually("callgate to be ready", PATIENCE, async || {
            (self.get("/readyz").await.0 == 200).then_some(())
        })
        .await;
    }

    async fn get(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.admin).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: gate\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    async fn metric(&self, sample: &str) -> f64 {
        let (_, text) = self.get("/metrics").await;
        let line = text.lines().find(|line| line.starts_with(sample));
        line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or_default()
    }

    async fn connect(&self, token: &str) -> Option<Client> {
        let options = ConnectOptions::with_token(token.to_owned());
        options.connect(self.server.url()).await.ok()
    }

    /// What the server says that the client may do.
    async fn permissions(&self, token: &str) -> Option<Value> {
        let client = self.connect(token).await?;
        let mut info = client.subscribe("_INBOX_shop_web.info").await.unwrap();
        client
            .publish_with_reply("$SYS.REQ.USER.INFO", "_INBOX_shop_web.info", "".into())
            .await
            .unwrap();
        client.flush().await.unwrap();
        let answer = tokio::time::timeout(PATIENCE, futures_util::StreamExt::next(&mut info)).await;
        let info: Value = serde_json::from_slice(&answer.unwrap()?.payload).unwrap();
        Some(info["data"].clone())
    }

    async fn publishes(&self, token: &str) -> Vec<String> {
        let info = self.permissions(token).await.unwrap_or_default();
        let allow = info["permissions"]["publish"]["allow"].as_array().cloned().unwrap_or_default();
        allow.iter().map(|subject| subject.as_str().unwrap().to_owned()).collect()
    }

    async fn becomes(&self, token: &str, admitted: bool, within: Duration) {
        eventually(&format!("admitted: {admitted}"), within, async || {
            (self.connect(token).await.is_some() == admitted).then_some(())
        })
        .await;
    }

    /// Runs `callgate` to its end.
    fn run(&self, arguments: &[&str]) -> (i32, String) {
        let output = Command::new(CALLGATE)
            .args(arguments)
            .current_dir(self.folder.path())
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout) + &text(output.stderr))
    }
}

/// The manifests that are rendered from the chart.
fn manifests() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/kubernetes/callgate.yaml");
    fs::read_to_string(path).unwrap()
}

/// The rules that the chart grants, as the rendered manifests have them.
fn chart_rules() -> Value {
    let manifests =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/kubernetes/callgate.yaml");
    let text = fs::read_to_string(manifests).unwrap();
    let role = text.split("\n---\n").find(|part| part.contains("kind: ClusterRole\n")).unwrap();
    // Rules are written as flow lists: the few lines need no parser of YAML.
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
async fn the_configuration_of_the_chart_is_good() {
    let cluster = KubeCluster::start().await;
    let folder = tempfile::tempdir().unwrap();
    write_private(&folder.path().join("issuer.nk"), &Nkey::account().seed());
    write_private(&folder.path().join("xkey.xk"), &CurveKey::generate().seed());
    write_private(&folder.path().join("password"), "secret");
    let text = manifests();
    let (_, config) = text.split_once("  callgate.yaml: |\n").unwrap();
    let (config, _) = config.split_once("\n---\n").unwrap();
    // As in a pod, but for where things are.
    let kubeconfig =
        format!("kubernetes:\n            kubeconfig: {:?}", cluster.kubeconfig("callgate"));
    let config =
        config.replace("/etc/callgate/secrets/", "").replacen("kubernetes:", &kubeconfig, 1);
    fs::write(folder.path().join("callgate.yaml"), config).unwrap();
    let output = Command::new(CALLGATE)
        .args(["check", "--config", "callgate.yaml"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}

fn server_config(issuer: &str, xkey: &str) -> String {
    format!(
        "accounts {{
  AUTH {{ users: [ {{ user: callgate, password: callgate, permissions: {{
    subscribe: [\"$SYS.REQ.USER.AUTH\", \"$SRV.>\", \"_INBOX.>\"]
    publish: [\"_INBOX.>\", \"$SYS._INBOX.>\", \"$SYS.REQ.USER.INFO\", \"$SRV.INFO\"] }} }} ] }}
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

fn write_private(path: &Path, text: &str) {
    use std::os::unix::fs::OpenOptionsExt;
    let file =
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
    std::io::Write::write_all(&mut file.unwrap(), text.as_bytes()).unwrap();
}

fn sorted(value: &Value) -> Vec<&str> {
    let mut texts: Vec<&str> =
        value.as_array().unwrap().iter().map(|one| one.as_str().unwrap()).collect();
    texts.sort_unstable();
    texts
}

#[tokio::test]
async fn a_pod_has_the_default_permissions_of_its_namespace() {
    let scene = Scene::start("", "").await;
    let token = scene.cluster.token("shop", "web", "nats").await;
    let info = scene.permissions(&token).await.expect("it is admitted");
    assert_eq!((&info["user"], &info["account"]), (&json!("shop/web"), &json!("APP")));
    let permissions = &info["permissions"];
    let expected = ["_INBOX.>", "_INBOX_shop_web.>", "shop.>"];
    assert_eq!(sorted(&permissions["publish"]["allow"]), expected);
    assert_eq!(sorted(&permissions["subscribe"]["allow"]), expected);
    assert_eq!(permissions["responses"]["max"], 1);
    let for_server = scene.cluster.token("shop", "web", scene.cluster.issuer()).await;
    assert!(scene.connect(&for_server).await.is_none());
    assert!(scene.metric("callgate_kubernetes_service_accounts ").await >= 1.0);
    let (code, text) = scene.run(&["check", "--config", "callgate.toml"]);
    assert_eq!(code, 0, "{text}");
    for words in ["annotations of service accounts grant nothing", "prefer `defaults.inbox"] {
        assert!(text.contains(words), "{words} is not in {text}");
    }
    assert!(
        scene.gate.stderr().contains("annotations of service accounts grant nothing"),
        "not said at the start"
    );
}

#[tokio::test]
async fn defaults_are_replaced_key_by_key() {
    let scene = Scene::start("defaults = { inbox = \"private\", responses = false }", "").await;
    let token = scene.cluster.token("shop", "web", "nats").await;
    let permissions =
        scene.permissions(&token).await.expect("it is admitted")["permissions"].clone();
    assert_eq!(
        sorted(&permissions["publish"]["allow"]),
        ["_INBOX.>", "_INBOX_shop_web.>", "shop.>"]
    );
    assert_eq!(sorted(&permissions["subscribe"]["allow"]), ["_INBOX_shop_web.>", "shop.>"]);
    assert_eq!(permissions["responses"], Value::Null);
}

#[tokio::test]
async fn annotations_count_as_far_as_the_ceiling_goes() {
    let ceiling = "ceiling = { publish = [\"{{ namespace }}.>\", \"shared.>\"], roles = [\"reader\"], accounts = [\"OTHER\"] }";
    let scene = Scene::start("", ceiling).await;
    let token = scene.cluster.token("shop", "web", "nats").await;
    let own = ["_INBOX.>", "_INBOX_shop_web.>", "shop.>"];
    for (asked, more) in [
        ("shared.a, bank.b, >, $SYS.>, _INBOX.a, *.x, a..b, x y,,", vec!["shared.a"]),
        ("shared.>", vec!["shared.>"]),
        ("bank.>", vec![]),
    ] {
        scene.cluster.annotate("shop", "web", json!({"nats.io/allowed-pub-subjects": asked})).await;
        eventually(asked, 2 * SECOND, async || {
            let mut expected: Vec<&str> = own.iter().copied().chain(more.iter().copied()).collect();
            expected.sort_unstable();
            let mut found = scene.publishes(&token).await;
            found.sort_unstable();
            (found == expected).then_some(())
        })
        .await;
    }
    assert!(
        scene.metric("callgate_ceiling_dropped_total{authenticator=\"kubernetes\"}").await >= 3.0
    );
    let annotations = json!({"nats.io/roles": "reader, admin", "nats.io/account": "OTHER"});
    scene.cluster.annotate("shop", "web", annotations).await;
    eventually("role and account", 2 * SECOND, async || {
        let info = scene.permissions(&token).await?;
        let subscribe = sorted(&info["permissions"]["subscribe"]["allow"]).contains(&"news.>");
        (info["account"] == "OTHER" && subscribe).then_some(())
    })
    .await;
    scene.cluster.annotate("shop", "web", json!({"nats.io/account": "AUTH"})).await;
    scene.becomes(&token, false, 2 * SECOND).await;
    assert!(scene.gate.stderr().contains("account_not_allowed"));
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
    ]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("shop/web") && text.contains("reader"), "{text}");
}

#[tokio::test]
async fn deleted_accounts_restarts_and_rotated_keys_are_lived_through() {
    let mut scene = Scene::start("", "").await;
    let old = scene.cluster.token("shop", "web", "nats").await;
    scene.becomes(&old, true, SECOND).await;
    scene.cluster.delete_account("shop", "web").await;
    scene.becomes(&old, false, 2 * SECOND).await;
    scene.cluster.create_account("shop", "web", json!({})).await;
    let new = scene.cluster.token("shop", "web", "nats").await;
    scene.becomes(&new, true, 2 * SECOND).await;
    assert!(scene.connect(&old).await.is_none());
    assert!(scene.gate.stderr().contains("unknown_service_account"));
    // The API server goes away: what is known serves, and its age shows.
    let lost = "callgate_kubernetes_watch_lost_seconds{authenticator=\"kubernetes\"}";
    scene.cluster.stop().await;
    eventually("the lost watch", PATIENCE, async || (scene.metric(lost).await > 0.0).then_some(()))
        .await;
    assert!(scene.connect(&new).await.is_some());
    assert_eq!(scene.get("/readyz").await.0, 200);
    assert!(scene.gate.stderr().contains("the watch of service accounts is lost"));
    scene.cluster.resume().await;
    eventually("the watch", RECOVERY, async || (scene.metric(lost).await == 0.0).then_some(()))
        .await;
    // And with another key.
    scene.cluster.rotate_key().await;
    let newest = scene.cluster.token("shop", "web", "nats").await;
    scene.becomes(&newest, true, RECOVERY).await;
    assert!(scene.connect(&new).await.is_none());
    assert!(!scene.gate.stderr().contains(&newest), "a token is in the log");
}

#[tokio::test]
async fn nothing_is_ready_before_the_first_list_and_a_missing_rule_is_named() {
    let cluster = KubeCluster::start().await;
    cluster.create_namespace("shop").await;
    cluster.create_account("shop", "web", json!({})).await;
    let token = cluster.token("shop", "web", "nats").await;
    let scene = Scene::over(cluster, "", "").await;
    eventually("the reason", PATIENCE, async || {
        let (status, why) = scene.get("/readyz").await;
        (status == 503 && why.contains("forbids us to")).then_some(())
    })
    .await;
    assert!(scene.connect(&token).await.is_none());
    scene.cluster.grant("callgate", chart_rules()).await;
    eventually("callgate to be ready", RECOVERY, async || {
        (scene.get("/readyz").await.0 == 200).then_some(())
    })
    .await;
    assert!(scene.connect(&token).await.is_some());
    assert!(scene.gate.stderr().contains("serviceaccounts"), "the rule is not named");
}

/// Resident memory of a process, in bytes.
fn memory_of(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

#[tokio::test]
async fn ten_thousand_accounts_need_less_than_20_megabytes() {
    const MANY: usize = 10_000;
    let mut scene = Scene::start("", "").await;
    let token = scene.cluster.token("shop", "web", "nats").await;
    scene.becomes(&token, true, SECOND).await;
    let before = memory_of(scene.gate.pid());
    scene.cluster.create_many("shop", MANY).await;
    let known = "callgate_kubernetes_service_accounts ";
    eventually("every account", PATIENCE, async || {
        (scene.metric(known).await as usize > MANY).then_some(())
    })
    .await;
    let watched = memory_of(scene.gate.pid()) - before;
    // Listed once more, as after a long absence: the old list serves until the new one is whole.
    let lost = "callgate_kubernetes_watch_lost_seconds{authenticator=\"kubernetes\"}";
    scene.cluster.stop().await;
    eventually("the lost watch", PATIENCE, async || (scene.metric(lost).await > 0.0).then_some(()))
        .await;
    scene.cluster.forget_history();
    scene.cluster.resume().await;
    eventually("the watch", RECOVERY, async || (scene.metric(lost).await == 0.0).then_some(()))
        .await;
    let listed = memory_of(scene.gate.pid()) - before;
    println!(
        "{MANY} accounts: {} kB watched, {} kB after another list",
        watched / 1024,
        listed / 1024
    );
    assert!(watched < 20_000_000, "{watched} bytes");
    assert!(scene.connect(&token).await.is_some());
}
