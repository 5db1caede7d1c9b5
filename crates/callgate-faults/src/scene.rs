//! A nats-server, one or more replicas of the service, and clients.

use std::{
    fs,
    path::{Path, PathBuf},
};

use callgate_testkit::{
    CurveKey, NatsCluster, NatsServer, Nkey, Service,
    files::write_private,
    service::{Launch, PERMISSIONS, http_get},
};
use tempfile::TempDir;

use crate::{client::Credential, probe::Clients};

/// Everything that a fault is played with; all of it ends with this value.
#[derive(Debug)]
pub struct Scene {
    /// The servers; usually one.
    pub servers: Vec<NatsServer>,
    /// The replicas; usually one.
    pub replicas: Vec<Service>,
    folder: TempDir,
    launch: Launch,
}

/// What is special about a scene.
#[derive(Debug)]
pub struct SceneBuilder {
    authenticators: String,
    files: Vec<(String, String)>,
    server: String,
    servers: usize,
    replicas: usize,
    url: Option<String>,
    admin: String,
    launch: Launch,
    publish: Vec<String>,
    with_jetstream: bool,
}

/// Users with clear-text passwords, so that a login is cheap.
pub const USERS: &str = r#"
[[authenticators]]
name = "staff"
timeout = "10s"
[authenticators.users]
file = "users.json"
"#;

/// What [`USERS`] reads.
pub const USERS_FILE: &str = r#"{ "alice": { "pass": "alice", "account": "APP" },
  "token": { "token": "a-good-token", "account": "APP" } }"#;

/// The account of the clients.
pub const ACCOUNT: &str = "APP";

/// An account in which no client of a scene may ever be.
pub const OTHER_ACCOUNT: &str = "OTHER";

/// The name and password of a service in the callout account that is admitted without Callgate.
pub const TEAM: &str = "team";

impl Scene {
    /// With [`USERS`], and nothing special.
    pub async fn start() -> Self {
        Self::builder().start().await
    }

    /// A scene to configure.
    pub fn builder() -> SceneBuilder {
        SceneBuilder {
            authenticators: USERS.to_owned(),
            files: vec![("users.json".to_owned(), USERS_FILE.to_owned())],
            server: String::new(),
            servers: 1,
            replicas: 1,
            url: None,
            admin: "127.0.0.1:0".to_owned(),
            launch: Launch::default(),
            publish: Vec::new(),
            with_jetstream: false,
        }
    }

    /// The only server, or the first.
    pub fn server(&mut self) -> &mut NatsServer {
        &mut self.servers[0]
    }

    /// The first replica.
    pub fn service(&mut self) -> &mut Service {
        &mut self.replicas[0]
    }

    /// Starts another replica, without waiting until it is ready.
    pub async fn one_more(&self) -> Service {
        Service::start(self.folder.path(), &self.launch).await
    }

    /// The folder of the replicas.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A file of the replicas.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The number of replicas that are connected to a server.
    ///
    /// # Panics
    /// If its monitor does not answer.
    pub async fn members_at(&self, server: usize) -> usize {
        let address = self.servers[server].monitor_url().replace("http://", "");
        let (_, body) = http_get(&address, "/connz").await.expect("the server's monitor answers");
        body.matches("\"name\": \"callgate\"").count()
    }

    /// A copy of the replicas' folder with a changed configuration.
    pub fn variant(&self, name: &str, change: impl FnOnce(String) -> String) -> PathBuf {
        let folder = self.path(name);
        fs::create_dir(&folder).expect("a folder");
        for entry in fs::read_dir(self.folder.path()).expect("a folder").flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_file()) {
                fs::copy(entry.path(), folder.join(entry.file_name())).expect("a copy");
            }
        }
        let config = folder.join("callgate.toml");
        let text = fs::read_to_string(&config).expect("it was written");
        write_private(&config, &change(text));
        folder
    }

    /// Alice, a valid client, and three invalid ones.
    pub fn clients(&self) -> Clients {
        let urls = self.servers.iter().map(NatsServer::url).collect();
        Clients {
            urls,
            right: Credential::password("alice", "alice"),
            at_once: 1,
            wrong: vec![
                Credential::password("alice", "wrong"),
                Credential::password("mallory", "alice"),
                Credential::Token("a-bad-token".to_owned()),
            ],
            account: ACCOUNT.to_owned(),
        }
    }
}

impl SceneBuilder {
    /// Instead of [`USERS`].
    pub fn authenticators(mut self, text: &str) -> Self {
        text.clone_into(&mut self.authenticators);
        self
    }

    /// A file beside the configuration.
    pub fn file(mut self, name: &str, text: &str) -> Self {
        self.files.retain(|(other, _)| other != name);
        self.files.push((name.to_owned(), text.to_owned()));
        self
    }

    /// More of nats-server's configuration.
    pub fn server_config(mut self, text: &str) -> Self {
        self.server.push_str(text);
        self
    }

    /// A cluster of this many servers.
    pub fn servers(mut self, count: usize) -> Self {
        self.servers = count;
        self
    }

    /// The number of replicas; 0 to start them separately.
    pub fn replicas(mut self, count: usize) -> Self {
        self.replicas = count;
        self
    }

    /// The server listens on every address, not only on loopback.
    pub fn listen_everywhere(self) -> Self {
        self.server_config("listen: \"0.0.0.0:{{port}}\"\n")
    }

    /// The replicas reach the server here; `{port}` is the server's.
    pub fn url(mut self, url: &str) -> Self {
        self.url = Some(url.to_owned());
        self
    }

    /// Where the replicas serve `/metrics`.
    pub fn admin(mut self, address: &str) -> Self {
        address.clone_into(&mut self.admin);
        self
    }

    /// How replicas are started.
    pub fn launch(mut self, launch: Launch) -> Self {
        self.launch = launch;
        self
    }

    /// What the replicas may publish besides.
    pub fn publish(mut self, subjects: &[&str]) -> Self {
        self.publish = subjects.iter().map(|&subject| subject.to_owned()).collect();
        self
    }

    /// JetStream, in the callout account.
    pub fn jetstream(mut self) -> Self {
        self.with_jetstream = true;
        let folder = "jetstream { store_dir: \"{{dir}}/jetstream\", max_file_store: 256MB }\n";
        self.server_config(folder)
    }

    /// Starts everything, and waits until the replicas are ready.
    pub async fn start(self) -> Scene {
        let (issuer, xkey) = (Nkey::account(), CurveKey::generate());
        let servers = self.start_servers(&issuer, &xkey).await;
        let folder = tempfile::tempdir().expect("a folder");
        write_private(&folder.path().join("issuer.nk"), &issuer.seed());
        write_private(&folder.path().join("xkey.xk"), &xkey.seed());
        write_private(&folder.path().join("password"), "callgate");
        for (name, text) in &self.files {
            write_private(&folder.path().join(name), text);
        }
        let urls: Vec<String> = match &self.url {
            None => servers.iter().map(NatsServer::url).collect(),
            Some(url) => vec![url.replace("{port}", &servers[0].port().to_string())],
        };
        write_private(&folder.path().join("callgate.toml"), &self.gate_config(&urls));
        let mut scene = Scene { servers, replicas: Vec::new(), folder, launch: self.launch };
        for _ in 0..self.replicas {
            let service = scene.one_more().await;
            service.ready().await;
            scene.replicas.push(service);
        }
        scene
    }

    async fn start_servers(&self, issuer: &Nkey, xkey: &CurveKey) -> Vec<NatsServer> {
        let config = self.server_config_text(issuer, xkey);
        match self.servers {
            1 => vec![NatsServer::start(&config).await],
            many => NatsCluster::start(many, &config).await.servers,
        }
    }

    fn server_config_text(&self, issuer: &Nkey, xkey: &CurveKey) -> String {
        let (issuer, xkey, more) = (issuer.public(), xkey.public(), &self.server);
        let more_subjects: String =
            self.publish.iter().map(|subject| format!(", \"{subject}\"")).collect();
        let last = "\"$SRV.INFO\"]";
        let permissions = PERMISSIONS.replace(last, &format!("\"$SRV.INFO\"{more_subjects}]"));
        let jetstream = if self.with_jetstream { "jetstream: enabled," } else { "" };
        format!(
            "accounts {{
  AUTH {{ {jetstream} users: [ {{ user: callgate, password: callgate, {permissions} }},
    {{ user: {TEAM}, password: {TEAM} }} ] }}
  APP {{}}
  {OTHER_ACCOUNT} {{}}
  SYS {{}}
}}
system_account: SYS
http: \"127.0.0.1:{{{{monitor_port}}}}\"
authorization {{ auth_callout {{
  issuer: \"{issuer}\", xkey: \"{xkey}\", account: AUTH, auth_users: [ callgate, {TEAM} ] }} }}
{more}
"
        )
    }

    fn gate_config(&self, urls: &[String]) -> String {
        let (authenticators, admin) = (&self.authenticators, &self.admin);
        format!(
            "default_account = \"{ACCOUNT}\"
[nats]
servers = {urls:?}
user = \"callgate\"
password = {{ file = \"password\" }}
[issuer]
seed = {{ file = \"issuer.nk\" }}
xkeys = [{{ file = \"xkey.xk\" }}]
[admin]
listen = \"{admin}\"
[log]
format = \"json\"
{authenticators}
"
        )
    }
}
