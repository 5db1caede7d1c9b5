//! Servers with a system account, Callgate with `[system]`, and clients.

use std::{collections::BTreeMap, fs, path::Path};

use callgate_testkit::{NatsCluster, NatsServer, Nkey, Service, eventually, wait::PATIENCE};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Session, connect, serve, write_private};

/// What the user of `[system]` may publish.
const SYSTEM: [&str; 5] = [
    "$SYS.REQ.SERVER.PING",
    "$SYS.REQ.SERVER.PING.CONNZ",
    "$SYS.REQ.SERVER.*.CONNZ",
    "$SYS.REQ.SERVER.*.KICK",
    "$SYS.REQ.USER.INFO",
];

/// Servers, and a folder with Callgate's configuration.
pub(super) struct World {
    pub(super) servers: NatsCluster,
    pub(super) folder: TempDir,
    /// The content of `[revocation]`.
    pub(super) revocation: String,
    /// The content of `[state]`, if there is one.
    pub(super) state: Option<String>,
    /// The name of the authenticator of the users file.
    pub(super) authenticator: String,
    more: String,
}

/// An entry of the users file with the password `x`.
pub(super) fn entry(account: &str, publish: &[&str]) -> Value {
    json!({ "pass": "x", "account": account, "permissions": { "publish": publish, "subscribe": ["_INBOX.>"] } })
}

impl World {
    /// One server; `revocation` is the content of `[revocation]`.
    pub(super) async fn start(revocation: &str) -> Self {
        Self::with(1, revocation).await
    }

    pub(super) async fn with(servers: usize, revocation: &str) -> Self {
        let issuer = Nkey::account();
        let text = server_text(&issuer.public());
        let servers = match servers {
            1 => NatsCluster { servers: vec![NatsServer::start(&text).await] },
            many => NatsCluster::start(many, &text).await,
        };
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in [("issuer.nk", &*issuer.seed()), ("auth", "auth"), ("sys", "sys")] {
            write_private(&folder.path().join(name), content);
        }
        let world = Self {
            servers,
            folder,
            revocation: revocation.to_owned(),
            state: None,
            authenticator: "staff".to_owned(),
            more: String::new(),
        };
        world.users(&json!({}));
        world.write_configuration(world.folder.path());
        world
    }

    /// Replaces the users file.
    pub(super) fn users(&self, users: &Value) {
        write_users(self.folder.path(), users);
    }

    /// Replaces the configuration; `more` follows the usual sections.
    pub(super) fn configure(&mut self, more: &str) {
        self.more = more.to_owned();
        self.write_configuration(self.folder.path());
    }

    pub(super) fn write_configuration(&self, folder: &Path) {
        let Self { servers, revocation, state, authenticator, more, .. } = self;
        let urls = servers.urls();
        let state = state.as_ref().map(|state| format!("[state]\n{state}\n")).unwrap_or_default();
        let text = format!(
            "[nats]
servers = \"{urls}\"
user = \"auth\"
password = {{ file = \"auth\" }}
[system]
user = \"sys\"
password = {{ file = \"sys\" }}
[control]
socket = \"control.sock\"
[issuer]
seed = {{ file = \"issuer.nk\" }}
[[authenticators]]
name = \"{authenticator}\"
[authenticators.users]
file = \"users.json\"
[admin]
listen = \"127.0.0.1:0\"
[log]
format = \"json\"
[revocation]
settle = \"300ms\"
{revocation}
{state}
{more}
"
        );
        replace(&folder.join("callgate.toml"), &text);
    }

    /// Starts Callgate, and waits until it can end sessions.
    pub(super) async fn gate(&self) -> Service {
        self.gate_in(self.folder.path()).await
    }

    pub(super) async fn gate_in(&self, folder: &Path) -> Service {
        let gate = serve(folder, &["--config", "callgate.toml"]).await;
        gate.ready().await;
        gate.metric_reaches("callgate_system_connected", 1.0).await;
        gate
    }

    /// Connects one client for each name, in turn over all servers, and waits until Callgate knows them.
    pub(super) async fn clients(
        &self,
        gate: &Service,
        names: &[&str],
    ) -> BTreeMap<String, Session> {
        let mut clients = BTreeMap::new();
        for (number, name) in names.iter().enumerate() {
            let server = &self.servers.servers[number % self.servers.servers.len()];
            let client = eventually("an admission", PATIENCE, async || {
                connect(&server.url(), name, "x").await.ok()
            })
            .await;
            clients.insert((*name).to_owned(), client);
        }
        let _ = gate;
        clients
    }
}

/// Replaces a users file as a whole.
pub(super) fn write_users(folder: &Path, users: &Value) {
    replace(&folder.join("users.json"), &users.to_string());
}

fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::rename(&new, path).unwrap();
}

/// How often a client has connected.
pub(super) fn connects(client: &Session) -> u64 {
    client.client.statistics().connects.load(std::sync::atomic::Ordering::Relaxed)
}

fn server_text(issuer: &str) -> String {
    format!(
        "accounts {{
  AUTH {{ jetstream: enabled, users: [ {{ user: auth, password: auth }} ] }}
  APP {{}}
  OTHER {{}}
  SYS {{ users: [ {{ user: sys, password: sys, permissions: {{ publish: {SYSTEM:?},
    subscribe: [\"_INBOX.>\", \"$SYS.ACCOUNT.*.CONNECT\", \"$SYS.ACCOUNT.*.DISCONNECT\", \"$SYS.SERVER.*.CLIENT.AUTH.ERR\"] }} }} ] }}
}}
system_account: SYS
jetstream {{ store_dir: \"{{{{dir}}}}/jetstream\", max_file_store: 256MB, max_memory_store: 64MB }}
authorization {{ timeout: 5, auth_callout {{ issuer: \"{issuer}\", account: AUTH, auth_users: [ auth, sys ] }} }}
"
    )
}
