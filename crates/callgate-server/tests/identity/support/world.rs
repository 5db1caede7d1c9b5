//! A nats-server, a gate, and their folder.

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

/// All of it ends with this value.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) server: NatsServer,
    pub(crate) gate: Service,
    folder: TempDir,
    head: String,
}

/// What is special about a world.
#[derive(Debug)]
pub(crate) struct WorldBuilder {
    config: String,
    files: Vec<(String, String)>,
    patience: u32,
    wait: bool,
}

impl World {
    /// With these `[[authenticators]]`, `[roles]` and `[[bindings]]`.
    pub(crate) fn of(config: &str) -> WorldBuilder {
        WorldBuilder { config: config.to_owned(), files: Vec::new(), patience: 2, wait: true }
    }

    /// What became of a client with this token, and the decision about it.
    pub(crate) async fn attempt(&self, token: &str) -> (Option<Session>, Value) {
        let name = unique_name();
        let outcome = connect(&self.server.url(), token, &name).await;
        let client = format!("\"client_name\":\"{name}\"");
        (outcome.ok(), self.gate.record(0, &["\"outcome\":", &client]).await)
    }

    /// Lets a client in, which must succeed; returns the decision too.
    pub(crate) async fn admits(&self, token: &str) -> (Session, Value) {
        let (session, decision) = self.attempt(token).await;
        (session.unwrap_or_else(|| panic!("refused: {decision}")), decision)
    }

    /// Lets a client try that must be refused; returns the reason and the detail.
    pub(crate) async fn refuses(&self, token: &str) -> (String, String) {
        let (session, decision) = self.attempt(token).await;
        assert!(session.is_none(), "let in: {decision}");
        let text = |name: &str| decision[name].as_str().expect("a text").to_owned();
        (text("reason"), text("detail"))
    }

    /// Replaces a file as editors do: the whole of it at once.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let fresh = self.folder.path().join("fresh");
        fs::write(&fresh, text).unwrap();
        fs::rename(fresh, self.folder.path().join(name)).unwrap();
    }

    /// Replaces what [`World::of`] was given, and waits until it is in force.
    pub(crate) async fn reload(&self, config: &str) {
        let before = self.gate.metric(RELOADED).await;
        self.write("callgate.toml", &format!("{}{config}", self.head));
        self.gate.metric_reaches(RELOADED, before + 1.0).await;
    }

    /// The same with a configuration that must be refused.
    pub(crate) async fn reload_fails(&self, config: &str) {
        let before = self.gate.metric(NOT_RELOADED).await;
        self.write("callgate.toml", &format!("{}{config}", self.head));
        self.gate.metric_reaches(NOT_RELOADED, before + 1.0).await;
    }

    /// What `callgate check` says to the configuration as it is now, and its exit code.
    pub(crate) fn check(&self) -> (i32, String) {
        let ran = callgate(self.folder.path(), &["check", "--config", "callgate.toml"]);
        (ran.code, ran.text())
    }

    /// Waits until the server's log has this.
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

    /// How long the server waits for an answer, in seconds; otherwise 2, as by default.
    pub(crate) fn patience(mut self, seconds: u32) -> Self {
        self.patience = seconds;
        self
    }

    /// Does not wait for the gate to be ready.
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
        let patience = self.patience;
        format!(
            "max_control_line: 262144
accounts {{ AUTH {{ users: [ {{ nkey: \"{auth}\" }} ] }}, APP {{}}, OTHER {{}} }}
authorization {{
  timeout: {patience}
  auth_callout {{ issuer: \"{issuer}\", xkey: \"{xkey}\", account: AUTH, auth_users: [ \"{auth}\" ] }}
}}
"
        )
    }
}

/// A name for each connection, by which its decision is found in the log.
fn unique_name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    format!("client-{}.", NEXT.fetch_add(1, Ordering::Relaxed))
}

fn head(url: &str) -> String {
    format!(
        "default_account = \"APP\"
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
