//! Servers, replicas of Callgate with `[state]`, `[system]` and `[control]`, and clients.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use callgate_testkit::{
    NatsCluster, NatsServer, RawClient, Service, Session, eventually, service::CommandOutput,
    wait::LONG,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Credential, Fixed, Mode, Site, callgate_in, command, run, serve, servers};

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
#[derive(Debug, Clone, Copy)]
pub(crate) struct Options {
    pub(crate) servers: usize,
    pub(crate) replicas: usize,
    pub(crate) mode: Mode,
    /// The line of nats-server; `None` is the default one.
    pub(crate) line: Option<&'static str>,
    pub(crate) state: bool,
    /// Replicas connect to the first servers, so many.
    pub(crate) servers_of_gates: usize,
    pub(crate) reconcile: &'static str,
    /// The end of the configuration.
    pub(crate) more: &'static str,
}

/// A user whose name has a wildcard, quotes and a space.
pub(crate) const ODD_NAME: &str = "we*rd \"n\u{e4}me\"";

/// The password of `hashed`, of which the file has a hash.
pub(crate) const HASHED: &str = "right";
const HASH: &str = "$argon2id$v=19$m=64,t=2,p=1$e6/13tu7V6o15jwnpJRyTg$kf0QnvWVm+l6eOpAEsRcMEGpMkeXS8f84yyFvMyZnUA";

impl Default for Options {
    fn default() -> Self {
        Self {
            servers: 1,
            replicas: 1,
            mode: Mode::Configuration,
            line: None,
            state: true,
            servers_of_gates: 3,
            reconcile: "5s",
            more: "",
        }
    }
}

/// Servers and replicas.
pub(crate) struct World {
    pub(crate) servers: NatsCluster,
    pub(crate) gates: Vec<Service>,
    pub(crate) site: Site,
    folders: Vec<TempDir>,
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::with(Options::default()).await
    }

    pub(crate) async fn cluster() -> Self {
        Self::with(Options { servers: 3, replicas: 3, ..Options::default() }).await
    }

    /// One server of a line.
    pub(crate) async fn on(mode: Mode, line: &'static str) -> Self {
        Self::with(Options { mode, line: Some(line), ..Options::default() }).await
    }

    pub(crate) async fn with(options: Options) -> Self {
        let Options { mode, line, servers: count, .. } = options;
        let site = Site::new(mode, line.unwrap_or("2.15"), &fixed_users());
        let name = if count == 1 { "server_name: s0\n" } else { "" };
        let text = format!("{name}{}{LISTENERS}", site.server);
        let servers = servers(line, count, &text).await;
        let mut world = Self { servers, site, gates: Vec::new(), folders: Vec::new() };
        for _ in 0..options.replicas {
            world.add_replica(options).await;
        }
        world
    }

    async fn add_replica(&mut self, options: Options) {
        let folder = tempfile::tempdir().unwrap();
        self.site.write_files(folder.path());
        fs::write(folder.path().join("staff.json"), staff().to_string()).unwrap();
        fs::write(folder.path().join("guests.json"), guests().to_string()).unwrap();
        let urls = self.servers.servers.iter().take(options.servers_of_gates);
        let urls = urls.map(NatsServer::url).collect::<Vec<_>>().join(",");
        let text = gate_text(&self.site, &urls, options);
        fs::write(folder.path().join("callgate.toml"), text).unwrap();
        self.gates.push(started(folder.path()).await);
        self.folders.push(folder);
    }

    /// Starts a replica that was stopped.
    pub(crate) async fn restart(&mut self, replica: usize) {
        self.gates[replica] = started(self.folders[replica].path()).await;
    }

    /// Replaces a file of the first replica as a whole.
    pub(crate) fn replace(&self, name: &str, text: &str) {
        let new = self.path(0, "new");
        fs::write(&new, text).unwrap();
        fs::rename(new, self.path(0, name)).unwrap();
    }

    pub(crate) fn path(&self, replica: usize, name: &str) -> PathBuf {
        self.folders[replica].path().join(name)
    }

    /// Runs a command against the first replica.
    pub(crate) fn run(&self, arguments: &[&str]) -> CommandOutput {
        self.run_at(0, arguments)
    }

    pub(crate) fn run_at(&self, replica: usize, arguments: &[&str]) -> CommandOutput {
        let config = ["--config", "callgate.toml"];
        callgate_in(self.folders[replica].path(), &[arguments, &config].concat())
    }

    /// The command, to be started without waiting.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let config = ["--config", "callgate.toml"];
        command(self.folders[0].path(), &[arguments, &config].concat())
    }

    /// Runs a command on a blocking thread, so that clients of the test go on.
    pub(crate) async fn run_aside(&self, arguments: &[&str]) -> CommandOutput {
        let mut command = self.command(arguments);
        tokio::task::spawn_blocking(move || run(&mut command, b"")).await.unwrap()
    }

    /// The JSON of a command that must exit with this code.
    pub(crate) fn json(&self, code: i32, arguments: &[&str]) -> Value {
        let ran = self.run(&[arguments, &["--json"]].concat());
        assert_eq!(ran.code, code, "{arguments:?}: {ran:?}");
        serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}"))
    }

    /// Kicks what the filter matches, however much that is.
    pub(crate) fn kick(&self, filter: &[&str]) -> Value {
        self.json(0, &[&["kick", "--yes"], filter].concat())
    }

    /// Locks a target, and kicks all of its sessions.
    pub(crate) fn lock(&self, target: &[&str]) -> Value {
        self.json(0, &[&["lock", "--yes"], target].concat())
    }

    /// Logs in with a credential that Callgate decides about.
    pub(crate) async fn connect(
        &self,
        server: usize,
        credential: &Credential,
    ) -> Result<Session, async_nats::ConnectError> {
        let options = self.site.options(credential).name("tester");
        Session::connect(&self.servers.servers[server].url(), options).await
    }

    /// Logs in at a server. The password is the name.
    pub(crate) async fn login_at(&self, server: usize, user: &str) -> Session {
        let credential = Credential::password(user, user);
        let session = self.connect(server, &credential).await;
        session.unwrap_or_else(|error| panic!("{user}: {error}"))
    }

    pub(crate) async fn login(&self, user: &str) -> Session {
        self.login_at(0, user).await
    }

    /// Logs in with the name that the client claims.
    pub(crate) async fn login_named(&self, user: &str, name: &str) -> Session {
        let options = self.site.options(&Credential::password(user, user)).name(name);
        Session::connect(&self.servers.servers[0].url(), options).await.unwrap()
    }

    /// Logs in as a user that Callgate does not decide about.
    pub(crate) async fn fixed(&self, user: &str) -> Session {
        let options = self.site.fixed(user).name(user);
        Session::connect(&self.servers.servers[0].url(), options).await.unwrap()
    }

    /// Begins to log in with a token, by a client that never reconnects.
    pub(crate) async fn raw_login(&self, server: usize, token: &str) -> RawClient {
        let mut members = json!({ "auth_token": token });
        if let Some(sentinel) = self.site.sentinel() {
            members["jwt"] = json!(sentinel);
        }
        RawClient::begin(self.servers.servers[server].port(), &members).await
    }

    /// Whether a login is admitted.
    pub(crate) async fn admits(&self, server: usize, user: &str) -> bool {
        self.connect(server, &Credential::password(user, user)).await.is_ok()
    }

    /// Ends all locks, and waits until no session is left. For the next case in the same world.
    pub(crate) async fn clear(&self) {
        assert_eq!(self.run(&["unlock", "--all"]).code, 0);
        self.sessions(0, &[]).await;
    }

    /// The listed sessions with these filters, once there are so many.
    pub(crate) async fn sessions(&self, count: usize, filter: &[&str]) -> Vec<Value> {
        eventually(&format!("{count} sessions of {filter:?}"), LONG, async || {
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

/// Users that Callgate does not decide about.
fn fixed_users() -> [Fixed; 5] {
    [
        Fixed::limited("auth", "AUTH", &PUBLISH, &SUBSCRIBE),
        Fixed::new("break-glass", "AUTH"),
        Fixed::new("static", "APP"),
        Fixed::limited("system", "SYS", &SYSTEM_PUBLISH, &SYSTEM_SUBSCRIBE),
        Fixed::new("admin", "SYS"),
    ]
}

/// The users of the authenticator `staff`. The password is the name.
pub(crate) fn staff() -> Value {
    let user = |account: &str| {
        json!({
            "account": account, "permissions": { "publish": ">", "subscribe": ">" },
            "connection_types": ["nats", "websocket", "mqtt", "leafnode"],
        })
    };
    let mut all = serde_json::Map::new();
    for (name, account) in [("alice", "APP"), ("bob", "APP"), ("carol", "OTHER"), (ODD_NAME, "APP")]
    {
        let mut entry = user(account);
        entry["pass"] = json!(name);
        all.insert(name.to_owned(), entry);
    }
    let permissions = json!({ "publish": ["ok"], "subscribe": ["_INBOX.>"] });
    let limited = json!({ "pass": "limited", "account": "APP", "permissions": permissions });
    all.insert("limited".to_owned(), limited);
    let mut hashed = user("APP");
    hashed["password"] = json!(HASH);
    all.insert("hashed".to_owned(), hashed);
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

/// Listeners of every kind, and JetStream.
const LISTENERS: &str = r#"
websocket { listen: "127.0.0.1:{{websocket_port}}", no_tls: true }
leafnodes { listen: "127.0.0.1:{{leaf_port}}" }
mqtt { listen: "127.0.0.1:{{mqtt_port}}" }
jetstream { store_dir: "{{dir}}/jetstream", max_file_store: 256MB, max_memory_store: 64MB }
"#;

fn gate_text(site: &Site, urls: &str, options: Options) -> String {
    let Options { servers, state, reconcile, more, .. } = options;
    let state = match state {
        true => format!("[state]\nreplicas = {servers}\nmax_stale = \"5s\""),
        false => String::new(),
    };
    let auth = site.login("auth");
    let system = site.login("system");
    format!(
        "[nats]
servers = \"{urls}\"
{auth}
{}
{AUTHENTICATORS}
[admin]
listen = \"127.0.0.1:0\"
[log]
format = \"json\"
[control]
socket = \"control.sock\"
[system]
{system}
reconcile = \"{reconcile}\"
[[audit.sinks]]
file = \"audit.jsonl\"
{state}
{more}
",
        site.gate
    )
}
