//! Servers, replicas of Callgate with `[state]`, `[system]` and `[control]`, and clients.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use async_nats::ConnectOptions;
use callgate_testkit::{
    NatsCluster, NatsServer, Nkey, Service, Session, eventually,
    service::CommandOutput,
    wait::{LONG, PATIENCE},
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Credential, callgate_in, command, connect_to, run, serve, write_private};

/// What the callout user may publish.
const PUBLISH: [&str; 13] = [
    "_INBOX.>",
    "$SYS._INBOX.>",
    "$SYS.REQ.USER.INFO",
    "$SRV.INFO",
    "CALLGATE.>",
    "$JS.API.INFO",
    "$JS.API.STREAM.INFO.KV_callgate",
    "$JS.API.STREAM.CREATE.KV_callgate",
    "$JS.API.CONSUMER.CREATE.KV_callgate",
    "$JS.API.CONSUMER.CREATE.KV_callgate.>",
    "$JS.API.CONSUMER.DELETE.KV_callgate.>",
    "$JS.FC.KV_callgate.>",
    "$KV.callgate.>",
];
const SUBSCRIBE: [&str; 4] = ["$SYS.REQ.USER.AUTH", "$SRV.>", "_INBOX.>", "CALLGATE.>"];
/// What the system user may publish and subscribe to.
const SYSTEM_PUBLISH: [&str; 5] = [
    "$SYS.REQ.SERVER.PING",
    "$SYS.REQ.SERVER.PING.CONNZ",
    "$SYS.REQ.SERVER.*.CONNZ",
    "$SYS.REQ.SERVER.*.KICK",
    "$SYS.REQ.USER.INFO",
];
const SYSTEM_SUBSCRIBE: [&str; 4] = [
    "_INBOX.>",
    "$SYS.ACCOUNT.*.CONNECT",
    "$SYS.ACCOUNT.*.DISCONNECT",
    "$SYS.SERVER.*.CLIENT.AUTH.ERR",
];

/// Two authenticators that both know `alice`.
const AUTHENTICATORS: &str = r#"
[[authenticators]]
name = "staff"
timeout = "10s"
[authenticators.users]
file = "staff.json"

[[authenticators]]
name = "guests"
timeout = "10s"
[authenticators.users]
file = "guests.json"
"#;

/// Options of a [`World`].
#[derive(Debug, Clone)]
pub(super) struct Options {
    pub(super) servers: usize,
    pub(super) replicas: usize,
    pub(super) version: Option<String>,
    pub(super) state: bool,
    /// Replicas connect to the first servers, so many.
    pub(super) servers_of_gates: usize,
}

/// A user whose name has a wildcard, quotes and a space.
pub(super) const ODD_NAME: &str = "we*rd \"n\u{e4}me\"";

impl Default for Options {
    fn default() -> Self {
        Self { servers: 1, replicas: 1, version: None, state: true, servers_of_gates: 3 }
    }
}

/// Servers and replicas.
pub(super) struct World {
    pub(super) servers: NatsCluster,
    pub(super) gates: Vec<Service>,
    folders: Vec<TempDir>,
}

impl World {
    pub(super) async fn start() -> Self {
        Self::with(Options::default()).await
    }

    pub(super) async fn cluster() -> Self {
        Self::with(Options { servers: 3, replicas: 3, ..Options::default() }).await
    }

    pub(super) async fn with(options: Options) -> Self {
        let issuer = Nkey::account();
        let text = server_text(&issuer.public());
        let servers = match options.servers {
            1 => {
                let builder = NatsServer::builder().config(&text);
                let builder = match &options.version {
                    Some(version) => builder.version(version),
                    None => builder,
                };
                NatsCluster { servers: vec![builder.start().await] }
            }
            many => NatsCluster::start(many, &text).await,
        };
        let mut world = Self { servers, gates: Vec::new(), folders: Vec::new() };
        for _ in 0..options.replicas {
            world.add_replica(&issuer, &options).await;
        }
        world
    }

    async fn add_replica(&mut self, issuer: &Nkey, options: &Options) {
        let folder = tempfile::tempdir().unwrap();
        write_private(&folder.path().join("issuer.nk"), &issuer.seed());
        fs::write(folder.path().join("staff.json"), staff().to_string()).unwrap();
        fs::write(folder.path().join("guests.json"), guests().to_string()).unwrap();
        let urls = self.servers.servers.iter().take(options.servers_of_gates);
        let urls = urls.map(NatsServer::url).collect::<Vec<_>>().join(",");
        let text = gate_text(&urls, options);
        fs::write(folder.path().join("callgate.toml"), text).unwrap();
        self.gates.push(started(folder.path()).await);
        self.folders.push(folder);
    }

    /// Starts a replica that was stopped.
    pub(super) async fn restart(&mut self, replica: usize) {
        self.gates[replica] = started(self.folders[replica].path()).await;
    }

    pub(super) fn path(&self, replica: usize, name: &str) -> PathBuf {
        self.folders[replica].path().join(name)
    }

    /// Runs a command against the first replica.
    pub(super) fn run(&self, arguments: &[&str]) -> CommandOutput {
        self.run_at(0, arguments)
    }

    pub(super) fn run_at(&self, replica: usize, arguments: &[&str]) -> CommandOutput {
        let config = ["--config", "callgate.toml"];
        callgate_in(self.folders[replica].path(), &[arguments, &config].concat())
    }

    /// The command, to be started without waiting.
    pub(super) fn command(&self, arguments: &[&str]) -> Command {
        let config = ["--config", "callgate.toml"];
        command(self.folders[0].path(), &[arguments, &config].concat())
    }

    /// Runs a command on a blocking thread, so that clients of the test go on.
    pub(super) async fn run_aside(&self, arguments: &[&str]) -> CommandOutput {
        let mut command = self.command(arguments);
        tokio::task::spawn_blocking(move || run(&mut command, b"")).await.unwrap()
    }

    /// The JSON of a command that must exit with this code.
    pub(super) fn json(&self, code: i32, arguments: &[&str]) -> Value {
        let ran = self.run(&[arguments, &["--json"]].concat());
        assert_eq!(ran.code, code, "{arguments:?}: {ran:?}");
        serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}"))
    }

    /// Logs in at a server. The password is the name.
    pub(super) async fn login_at(&self, server: usize, user: &str) -> Session {
        let url = self.servers.servers[server].url();
        let credential = Credential::password(user, user);
        connect_to(&url, &credential).await.unwrap_or_else(|error| panic!("{user}: {error}"))
    }

    pub(super) async fn login(&self, user: &str) -> Session {
        self.login_at(0, user).await
    }

    /// Logs in once, without reconnecting.
    pub(super) async fn login_once(
        &self,
        server: usize,
        user: &str,
        password: &str,
        name: &str,
    ) -> Session {
        let options = ConnectOptions::with_user_and_password(user.to_owned(), password.to_owned());
        let options = options.name(name).max_reconnects(1);
        Session::connect(&self.servers.servers[server].url(), options).await.unwrap()
    }

    /// Whether a login is admitted.
    pub(super) async fn admits(&self, server: usize, user: &str) -> bool {
        let url = self.servers.servers[server].url();
        connect_to(&url, &Credential::password(user, user)).await.is_ok()
    }

    /// The listed sessions with these filters, once there are so many.
    pub(super) async fn sessions(&self, count: usize, filter: &[&str]) -> Vec<Value> {
        eventually(&format!("{count} sessions of {filter:?}"), PATIENCE, async || {
            let listed = self.json(0, &[&["sessions"], filter].concat());
            let sessions = listed["sessions"].as_array().unwrap().clone();
            (sessions.len() == count).then_some(sessions)
        })
        .await
    }
}

async fn started(folder: &Path) -> Service {
    let gate = serve(folder, &["--config", "callgate.toml"]).await;
    gate.ready().await;
    eventually("the system account is connected", LONG, async || {
        (gate.metric("callgate_system_connected").await > 0.0).then_some(())
    })
    .await;
    gate
}

fn staff() -> Value {
    let user = |account: &str| json!({ "account": account, "permissions": { "publish": ">", "subscribe": ">" } });
    let mut all = serde_json::Map::new();
    for (name, account) in [("alice", "APP"), ("bob", "APP"), ("carol", "OTHER"), (ODD_NAME, "APP")]
    {
        let mut entry = user(account);
        entry["pass"] = json!(name);
        all.insert(name.to_owned(), entry);
    }
    for number in 0..20 {
        let mut entry = user("APP");
        entry["pass"] = json!(format!("user{number}"));
        all.insert(format!("user{number}"), entry);
    }
    Value::Object(all)
}

fn guests() -> Value {
    json!({
        "alice": { "token": "guest-alice", "account": "OTHER" },
        "fast": { "token": "fast-alice", "account": "OTHER" },
    })
}

fn server_text(issuer: &str) -> String {
    format!(
        "accounts {{
  AUTH {{ jetstream: enabled, users: [
    {{ user: auth, password: auth, permissions: {{ subscribe: {SUBSCRIBE:?}, publish: {PUBLISH:?} }} }}
    {{ user: break-glass, password: glass }} ] }}
  APP {{ users: [ {{ user: static, password: unmoved }} ] }}
  OTHER {{}}
  SYS {{ users: [
    {{ user: system, password: system, permissions: {{ subscribe: {SYSTEM_SUBSCRIBE:?}, publish: {SYSTEM_PUBLISH:?} }} }}
    {{ user: admin, password: admin }} ] }}
}}
system_account: SYS
jetstream {{ store_dir: \"{{{{dir}}}}/jetstream\", max_file_store: 256MB, max_memory_store: 64MB }}
authorization {{ timeout: 5, auth_callout {{ issuer: \"{issuer}\", account: AUTH,
  auth_users: [ auth, break-glass, static, system, admin ] }} }}
"
    )
}

fn gate_text(urls: &str, options: &Options) -> String {
    let Options { servers, state, .. } = options;
    let state = match state {
        true => format!("[state]\nreplicas = {servers}\nmax_stale = \"5s\""),
        false => String::new(),
    };
    format!(
        "[nats]
servers = \"{urls}\"
user = \"auth\"
password = \"auth\"
[issuer]
seed = {{ file = \"issuer.nk\" }}
{AUTHENTICATORS}
[admin]
listen = \"127.0.0.1:0\"
[log]
format = \"json\"
[control]
socket = \"control.sock\"
[system]
user = \"system\"
password = \"system\"
reconcile = \"5s\"
[[audit.sinks]]
file = \"audit.jsonl\"
{state}
"
    )
}
