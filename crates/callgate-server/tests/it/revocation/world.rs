//! Servers with a system account, Callgate with `[system]`, and clients.

use std::{collections::BTreeMap, fs, path::Path};

use callgate_testkit::{NatsCluster, Service, eventually, wait::PATIENCE};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Credential, Fixed, Mode, Session, Site, serve, servers};

/// What the user of `[system]` may publish.
const SYSTEM: [&str; 5] = [
    "$SYS.REQ.SERVER.PING",
    "$SYS.REQ.SERVER.PING.CONNZ",
    "$SYS.REQ.SERVER.*.CONNZ",
    "$SYS.REQ.SERVER.*.KICK",
    "$SYS.REQ.USER.INFO",
];
/// What it may subscribe to.
const SYSTEM_EVENTS: [&str; 4] = [
    "_INBOX.>",
    "$SYS.ACCOUNT.*.CONNECT",
    "$SYS.ACCOUNT.*.DISCONNECT",
    "$SYS.SERVER.*.CLIENT.AUTH.ERR",
];

const JETSTREAM: &str = "jetstream { store_dir: \"{{dir}}/jetstream\", max_file_store: 256MB, \
                         max_memory_store: 64MB }\n";

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
    site: Site,
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

    /// One server of a line.
    pub(super) async fn on(mode: Mode, line: &'static str) -> Self {
        let site = Site::new(mode, line, &fixed_users());
        Self::of(site, Some(line), 1, "").await
    }

    pub(super) async fn with(count: usize, revocation: &str) -> Self {
        let site = Site::new(Mode::Configuration, "2.15", &fixed_users());
        Self::of(site, None, count, revocation).await
    }

    async fn of(site: Site, line: Option<&str>, count: usize, revocation: &str) -> Self {
        let servers = servers(line, count, &format!("{}{JETSTREAM}", site.server)).await;
        let folder = tempfile::tempdir().unwrap();
        site.write_files(folder.path());
        let world = Self {
            servers,
            folder,
            revocation: revocation.to_owned(),
            state: None,
            authenticator: "staff".to_owned(),
            more: String::new(),
            site,
        };
        world.users(&json!({}));
        world.write_configuration(world.folder.path());
        world
    }

    /// Another folder with the same files, for another replica.
    pub(super) fn copy(&self) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        self.site.write_files(folder.path());
        for name in ["users.json", "callgate.toml"] {
            fs::copy(self.folder.path().join(name), folder.path().join(name)).unwrap();
        }
        folder
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
        let Self { servers, revocation, state, authenticator, more, site, .. } = self;
        let urls = servers.urls();
        let auth = site.login("auth");
        let system = site.login("sys");
        let state = state.as_ref().map(|state| format!("[state]\n{state}\n")).unwrap_or_default();
        let text = format!(
            "[nats]
servers = \"{urls}\"
{auth}
[system]
{system}
[control]
socket = \"control.sock\"
{}
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
",
            site.gate
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

    /// Connects a client to the first server.
    pub(super) async fn connect(&self, credential: &Credential) -> Session {
        let options = self.site.options(credential);
        Session::connect(&self.servers.servers[0].url(), options).await.unwrap()
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
                let options = self.site.options(&Credential::password(name, "x"));
                Session::connect(&server.url(), options).await.ok()
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

fn fixed_users() -> [Fixed; 2] {
    [Fixed::new("auth", "AUTH"), Fixed::limited("sys", "SYS", &SYSTEM, &SYSTEM_EVENTS)]
}
