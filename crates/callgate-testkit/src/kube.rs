//! A Kubernetes cluster for tests: a real API server or a stand-in, behind one interface.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
};

use http::Request;
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{kube_apiserver::KubeApiserver, kube_stand_in::StandIn};

/// The variable with which `make test-kubernetes` requires the real API server.
pub const INSIST: &str = "CALLGATE_TEST_KUBERNETES";

/// A user with all permissions; the others have those that [`KubeCluster::grant`] gives them.
pub const ADMIN: &str = "admin";

/// Users with a static token, `<name>-token`.
pub const USERS: [&str; 4] = [ADMIN, "callgate", "lister", "unprivileged"];

/// A separate cluster for one test.
pub struct KubeCluster {
    server: Server,
    client: Client,
    folder: TempDir,
}

#[derive(Debug)]
enum Server {
    Real(Box<KubeApiserver>),
    StandIn(StandIn),
}

impl KubeCluster {
    /// Starts one: the real API server if `CALLGATE_TEST_KUBERNETES` is `real`, else the stand-in.
    ///
    /// # Panics
    /// If it does not start, or if the real one is wanted and is not installed.
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary directory can be made");
        let server = match std::env::var(INSIST).as_deref() {
            Ok("real") => Server::Real(Box::new(KubeApiserver::start().await)),
            Ok(other) if !other.is_empty() => {
                panic!("{INSIST} is `{other}`, and may only be `real`")
            }
            Ok(_) | Err(_) => Server::StandIn(StandIn::start()),
        };
        let (url, ca) = match &server {
            Server::Real(server) => (server.url(), Some(server.ca())),
            Server::StandIn(server) => (server.url(), None),
        };
        for user in USERS {
            fs::write(folder.path().join(user), kubeconfig(user, &url, ca.as_deref()))
                .expect("a file");
        }
        let client = client(&folder.path().join(ADMIN)).await;
        Self { server, client, folder }
    }

    /// True for the real API server.
    pub fn is_real(&self) -> bool {
        matches!(self.server, Server::Real(_))
    }

    /// A kubeconfig for one of [`USERS`].
    pub fn kubeconfig(&self, user: &str) -> PathBuf {
        self.folder.path().join(user)
    }

    /// A kubeconfig with this token, in addition to those of [`USERS`].
    pub fn kubeconfig_with(&self, name: &str, token: &str) -> PathBuf {
        let mut config: Value =
            serde_json::from_slice(&fs::read(self.kubeconfig(ADMIN)).expect("a file"))
                .expect("JSON");
        config["users"][0]["user"]["token"] = json!(token);
        let path = self.folder.path().join(name);
        fs::write(&path, config.to_string()).expect("a file");
        path
    }

    /// A kubeconfig that reads its token from a file. The file does not exist yet.
    pub fn kubeconfig_with_token_file(&self, name: &str) -> (PathBuf, PathBuf) {
        let admin = fs::read(self.kubeconfig(ADMIN)).expect("a file");
        let mut config: Value = serde_json::from_slice(&admin).expect("JSON");
        let token = self.folder.path().join(format!("{name}.token"));
        config["users"][0]["user"] = json!({ "tokenFile": token });
        let path = self.folder.path().join(name);
        fs::write(&path, config.to_string()).expect("a file");
        (path, token)
    }

    /// The issuer in the API server's discovery document.
    pub fn issuer(&self) -> &'static str {
        "https://kubernetes.test"
    }

    /// Stops the API server.
    pub async fn stop(&mut self) {
        match &mut self.server {
            Server::Real(server) => server.stop().await,
            Server::StandIn(server) => server.stop(),
        }
    }

    /// Starts it again with all its data.
    pub async fn resume(&mut self) {
        match &mut self.server {
            Server::Real(server) => server.resume().await,
            Server::StandIn(server) => server.resume(),
        }
        // The old connections are closed, and the client does not retry.
        self.client = client(&self.folder.path().join(ADMIN)).await;
    }

    /// Replaces the signing key; the old one is no longer published.
    pub async fn rotate_key(&mut self) {
        self.stop().await;
        match &mut self.server {
            Server::Real(server) => server.rotate_key(),
            Server::StandIn(server) => server.rotate_key(),
        }
        self.resume().await;
    }

    /// Drops the history of changes, so that an interrupted watch must list again. A real API server does
    /// this when it restarts.
    pub fn forget_history(&self) {
        match &self.server {
            Server::StandIn(server) => server.forget_history(),
            Server::Real(_) => {}
        }
    }

    /// Creates a namespace.
    pub async fn create_namespace(&self, name: &str) {
        let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        self.post("/api/v1/namespaces", &body).await;
    }

    /// Creates a service account; returns its uid.
    pub async fn create_account(&self, namespace: &str, name: &str, annotations: Value) -> String {
        let metadata = json!({"name": name, "annotations": annotations, "labels": {"app": format!("{name:.63}")}});
        let body = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata});
        let made =
            self.post(&format!("/api/v1/namespaces/{namespace}/serviceaccounts"), &body).await;
        made["metadata"]["uid"].as_str().expect("a uid").to_owned()
    }

    /// Creates many service accounts, `many-0` and so on, with some labels and annotations each.
    pub async fn create_many(&self, namespace: &str, count: usize) {
        let annotations = json!({"nats.io/allowed-pub-subjects": "shop.orders.>, shop.events.>",
            "example.com/other": "x".repeat(200)});
        for number in 0..count {
            self.create_account(namespace, &format!("many-{number}"), annotations.clone()).await;
        }
    }

    /// The key set of the issuer.
    pub async fn keys(&self) -> String {
        let request = Request::get("/openid/v1/jwks").header("accept", "*/*");
        self.ask(request, Vec::new()).await.expect("keys")
    }

    /// Changes annotations; `null` removes one.
    pub async fn annotate(&self, namespace: &str, name: &str, annotations: Value) {
        let body = json!({"metadata": {"annotations": annotations}});
        self.patch(&account_path(namespace, name), &body).await;
    }

    /// Changes labels.
    pub async fn label(&self, namespace: &str, name: &str, labels: Value) {
        self.patch(&account_path(namespace, name), &json!({"metadata": {"labels": labels}})).await;
    }

    /// Deletes a service account.
    pub async fn delete_account(&self, namespace: &str, name: &str) {
        let request = Request::delete(account_path(namespace, name));
        self.ask(request, Vec::new()).await.expect("it is deleted");
    }

    /// A token of the account from TokenRequest, valid for an hour.
    pub async fn token(&self, namespace: &str, name: &str, audience: &str) -> String {
        let spec = json!({"audiences": [audience], "expirationSeconds": 3600});
        let body =
            json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec});
        let made = self.post(&format!("{}/token", account_path(namespace, name)), &body).await;
        made["status"]["token"].as_str().expect("a token").to_owned()
    }

    /// Gives a user the rules of another ClusterRole.
    pub async fn grant(&self, user: &str, rules: Value) {
        let rbac = "/apis/rbac.authorization.k8s.io/v1";
        static ROLES: AtomicUsize = AtomicUsize::new(0);
        let name = format!("test-{user}-{}", ROLES.fetch_add(1, Ordering::Relaxed));
        let metadata = json!({"name": name});
        let version = "rbac.authorization.k8s.io/v1";
        let role = json!({"apiVersion": version, "kind": "ClusterRole", "metadata": metadata, "rules": rules});
        self.post(&format!("{rbac}/clusterroles"), &role).await;
        let group = "rbac.authorization.k8s.io";
        let binding = json!({
            "apiVersion": version, "kind": "ClusterRoleBinding", "metadata": metadata,
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": name},
            "subjects": [{"apiGroup": group, "kind": "User", "name": user}],
        });
        self.post(&format!("{rbac}/clusterrolebindings"), &binding).await;
    }

    async fn post(&self, path: &str, body: &Value) -> Value {
        let request = Request::post(path).header("content-type", "application/json");
        let answer = self.ask(request, body.to_string().into_bytes()).await;
        let answer = answer.unwrap_or_else(|error| panic!("POST {path}: {error}"));
        serde_json::from_str(&answer).expect("JSON")
    }

    async fn patch(&self, path: &str, body: &Value) {
        let request = Request::patch(path).header("content-type", "application/merge-patch+json");
        let answer = self.ask(request, body.to_string().into_bytes()).await;
        answer.unwrap_or_else(|error| panic!("PATCH {path}: {error}"));
    }

    async fn ask(&self, request: http::request::Builder, body: Vec<u8>) -> kube::Result<String> {
        self.client.request_text(request.body(body).expect("a request")).await
    }
}

impl std::fmt::Debug for KubeCluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KubeCluster({:?})", self.server)
    }
}

fn account_path(namespace: &str, name: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/serviceaccounts/{name}")
}

async fn client(kubeconfig: &Path) -> Client {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).expect("a kubeconfig");
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    let mut config = config.expect("a configuration");
    config.proxy_url = None;
    Client::try_from(config).expect("a client")
}

fn kubeconfig(user: &str, url: &str, ca: Option<&Path>) -> String {
    let mut cluster = json!({"server": url});
    if let Some(ca) = ca {
        cluster["certificate-authority"] = json!(ca);
    }
    // JSON is YAML.
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "test",
        "clusters": [{"name": "test", "cluster": cluster}],
        "users": [{"name": user, "user": {"token": format!("{user}-token")}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": user}}],
    });
    config.to_string()
}
