//! A nats-server and Callgate with their directory.

use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicU32, Ordering},
};

use callgate_testkit::{
    CurveKey, NatsServer, Nkey, Service, Session, eventually, files::write_private,
    service::Launch, wait::PATIENCE,
};
use serde_json::Value;
use tempfile::TempDir;

use super::{CALLGATE, callgate, connect};

pub(crate) const RELOADED: &str = "callgate_config_reloads_total{result=\"ok\"}";
pub(crate) const NOT_RELOADED: &str = "callgate_config_reloads_total{result=\"failed\"}";

/// Dropping it stops both.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) server: NatsServer,
    pub(crate) gate: Service,
    folder: TempDir,
    head: String,
}

/// Options of a [`World`].
#[derive(Debug)]
pub(crate) struct WorldBuilder {
    config: String,
    files: Vec<(String, String)>,
    server_timeout: u32,
    wait: bool,
}

impl World {
    /// Starts with these `[[authenticators]]`, `[roles]` and `[[bindings]]`.
    pub(crate) fn of(config: &str) -> WorldBuilder {
        WorldBuilder { config: config.to_owned(), files: Vec::new(), server_timeout: 2, wait: true }
    }

    /// Connects with this token; returns the outcome and the decision.
    pub(crate) async fn attempt(&self, token: &str) -> (Option<Session>, Value) {
        let name = unique_name();
        let outcome = connect(&self.server.url(), token, &name).await;
        let client = format!("\"client_name\":\"{name}\"");
        (outcome.ok(), self.gate.record(0, &["\"outcome\":", &client]).await)
    }

    /// Connects a client that must be admitted; returns the decision, too.
    pub(crate) async fn admits(&self, token: &str) -> (Session, Value) {
        let (session, decision) = self.attempt(token).await;
        (session.unwrap_or_else(|| panic!("refused: {decision}")), decision)
    }

    /// Connects a client that must be refused; returns the reason and the detail.
    pub(crate) async fn refuses(&self, token: &str) -> (String, String) {
        let (session, decision) = self.attempt(token).await;
        assert!(session.is_none(), "let in: {decision}");
        let text = |name: &str| decision[name].as_str().expect("a text").to_owned();
        (text("reason"), text("detail"))
    }

    /// Replaces a file atomically, as editors do.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let fresh = self.folder.path().join("fresh");
        fs::write(&fresh, text).unwrap();
        fs::rename(fresh, self.folder.path().join(name)).unwrap();
    }

    /// Replaces the configuration given to [`World::of`] and waits until it is applied.
    pub(crate) async fn reload(&self, config: &str) {
        let before = self.gate.metric(RELOADED).await;
        self.write("callgate.toml", &format!("{}{config}", self.head));
        self.gate.metric_reaches(RELOADED, before + 1.0).await;
    }

    /// The same with a configuration that must be rejected.
    pub(crate) async fn reload_fails(&self, config: &str) {
        let before = self.gate.metric(NOT_RELOADED).await;
        self.write("callgate.toml", &format!("{}{config}", self.head));
        self.gate.metric_reaches(NOT_RELOADED, before + 1.0).await;
    }

    /// Stops Callgate and starts it again.
    pub(crate) async fn restart(&mut self) {
        self.gate.terminate().await;
        self.gate = Service::start(self.folder.path(), &Launch::of(CALLGATE)).await;
    }

    /// Runs `callgate check` on the current configuration.
    pub(crate) fn check(&self) -> (i32, String) {
        let ran = callgate(self.folder.path(), &["check", "--config", "callgate.toml"]);
        (ran.code, ran.text())
    }

    /// Runs `callgate check --connect` on the current configuration.
    pub(crate) async fn check_connect(&self) -> (i32, String) {
        let folder = self.folder.path().to_owned();
        // The provider that it reaches runs in this test.
        let check = move || callgate(&folder, &["check", "--config", "callgate.toml", "--connect"]);
        let ran = tokio::task::spawn_blocking(check).await.unwrap();
        (ran.code, ran.text())
    }

    /// Waits until the server's log contains this text.
    pub(crate) async fn server_says(&self, text: &str) {
        eventually(&format!("`{text}` in the server's log"), PATIENCE, async || {
            self.server.log().contains(text).then_some(())
        })
        .await;
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl WorldBuilder {
    /// A file beside the configuration.
    pub(crate) fn file(mut self, name: &str, text: &str) -> Self {
        self.files.push((name.to_owned(), text.to_owned()));
        self
    }

    /// The server's callout timeout in seconds; 2 by default.
    pub(crate) fn server_timeout(mut self, seconds: u32) -> Self {
        self.server_timeout = seconds;
        self
    }

    /// Does not wait until Callgate is ready.
    pub(crate) fn not_ready(mut self) -> Self {
        self.wait = false;
        self
    }

    pub(crate) async fn start(self) -> World {
        let (issuer, xkey, auth) = (Nkey::account(), CurveKey::generate(), Nkey::user());
        let server = NatsServer::start(&self.server_config(&issuer, &xkey, &auth)).await;
        let folder = tempfile::tempdir().unwrap();
        for (name, seed) in
            [("issuer.nk", issuer.seed()), ("xkey.xk", xkey.seed()), ("auth.nk", auth.seed())]
        {
            write_private(&folder.path().join(name), &seed);
        }
        for (name, text) in &self.files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let head = head(&server.url());
        let config = format!("{head}{}", self.config);
        fs::write(folder.path().join("callgate.toml"), config).unwrap();
        let gate = Service::start(folder.path(), &Launch::of(CALLGATE)).await;
        if self.wait {
            gate.ready().await;
        }
        World { server, gate, folder, head }
    }

    fn server_config(&self, issuer: &Nkey, xkey: &CurveKey, auth: &Nkey) -> String {
        let (issuer, xkey, auth) = (issuer.public(), xkey.public(), auth.public());
        let server_timeout = self.server_timeout;
        format!(
            "max_control_line: 262144
accounts {{ AUTH {{ users: [ {{ nkey: \"{auth}\" }} ] }}, APP {{}}, OTHER {{}} }}
authorization {{
  timeout: {server_timeout}
  auth_callout {{ issuer: \"{issuer}\", xkey: \"{xkey}\", account: AUTH, auth_users: [ \"{auth}\" ] }}
}}
"
        )
    }
}

/// A unique client name, by which the decision is found in the log.
fn unique_name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    format!("client-{}.", NEXT.fetch_add(1, Ordering::Relaxed))
}

fn head(url: &str) -> String {
    format!(
        "default_account = \"APP\"
state_dir = \"state\"
[nats]
servers = [\"{url}\"]
nkey = {{ file = \"auth.nk\" }}
[issuer]
seed = {{ file = \"issuer.nk\" }}
xkeys = [{{ file = \"xkey.xk\" }}]
[admin]
listen = \"127.0.0.1:0\"
[log]
format = \"json\"
"
    )
}
