//! Servers whose users log in without a callout, and the connection under test.

use std::{collections::BTreeMap, sync::Arc};

use async_nats::{ConnectError, ConnectOptions};
use callgate::{
    clock::UnixTime,
    keys::{AccountKey, KeyKind, KeyPair},
    operator::{
        Account, AllowedAccounts, ExternalAuthorization, FixedUser, Operator, Rights, credentials,
    },
    secret::Secret,
};
use callgate_testkit::{
    MqttClient, NatsCluster, NatsServer, Session, eventually, nats_server::installed_versions,
    wait::PATIENCE,
};
use futures_util::StreamExt;
use serde_json::Value;

use super::*;
use crate::nats::{Login, Purpose, TlsSettings};

/// How servers know their accounts and users.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Configuration,
    Operator,
}

impl Mode {
    pub(super) const ALL: [Self; 2] = [Self::Configuration, Self::Operator];
}

/// The lines that are tested.
pub(super) fn versions() -> impl Iterator<Item = String> {
    installed_versions().into_iter().map(|version| version.to_string())
}

/// Users, and the account of each.
const USERS: [(&str, &str); 5] =
    [("auth", "AUTH"), ("alice", "APP"), ("bob", "APP"), ("carol", "OTHER"), ("admin", "SYS")];

/// Listeners of every kind.
const LISTENERS: &str = r#"
websocket { listen: "127.0.0.1:{{websocket_port}}", no_tls: true }
leafnodes { listen: "127.0.0.1:{{leaf_port}}" }
mqtt { listen: "127.0.0.1:{{mqtt_port}}" }
jetstream { store_dir: "{{dir}}/jetstream" }
server_name: one
ping_interval: "1s"
"#;

/// Servers, and a [`System`] that is connected to the first of them.
#[derive(Debug)]
pub(super) struct World {
    pub(super) servers: NatsCluster,
    pub(super) system: Arc<System>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) logins: Logins,
}

/// How each user logs in.
#[derive(Debug)]
pub(super) struct Logins {
    /// Credentials files, in operator mode.
    files: BTreeMap<String, String>,
    /// What a server lists for a user.
    listed: BTreeMap<String, String>,
    /// Names and keys of accounts.
    accounts: Vec<(String, String)>,
    server: String,
}

impl World {
    pub(super) async fn start(mode: Mode, version: &str) -> Self {
        let logins = Logins::new(mode, &permissions::PUBLISHES);
        let server = NatsServer::builder().version(version);
        let server = server.config(&format!("{}{LISTENERS}", logins.server)).start().await;
        Self::of(NatsCluster { servers: vec![server] }, logins).await
    }

    pub(super) async fn cluster(mode: Mode) -> Self {
        let logins = Logins::new(mode, &permissions::PUBLISHES);
        let text = format!("{}ping_interval: \"1s\"\n", logins.server);
        Self::of(NatsCluster::start(3, &text).await, logins).await
    }

    async fn of(servers: NatsCluster, logins: Logins) -> Self {
        let url = servers.servers[0].url();
        let callout = logins.options("auth").connect(&url).await.unwrap();
        let metrics = Arc::<Metrics>::default();
        let nats = NatsSettings {
            purpose: Purpose::System,
            servers: vec![url.parse().unwrap()],
            login: logins.login("system"),
            tls: TlsSettings::default(),
            queue: String::new(),
        };
        let settings = SystemSettings {
            nats,
            reconcile: Duration::from_secs(30),
            kicks_per_second: 2000,
            remember: 1000,
        };
        let system = System::new(settings, Arc::clone(&metrics));
        system.configured(AccountNames::new(logins.accounts.clone()));
        system.start(&callout);
        let mut link = system.link();
        let up = link.wait_for(|link| *link != Link::Down);
        timeout(LONG, up).await.unwrap().unwrap();
        let world = Self { servers, system, metrics, logins };
        // Other servers of a cluster become known a moment later.
        let count = world.servers.servers.len();
        eventually("all servers answer", LONG, async || {
            let listing = world.system.connections(&ConnzFilter::default()).await.ok()?;
            (listing.servers.answered == count).then_some(())
        })
        .await;
        world
    }

    /// Refuses every login that the servers ask about: an empty answer needs no signature.
    pub(super) async fn refuses(&self) {
        let auth = self.login("auth").await.client;
        let mut requests = auth.subscribe("$SYS.REQ.USER.AUTH").await.unwrap();
        auth.flush().await.unwrap();
        tokio::spawn(async move {
            while let Some(request) = requests.next().await {
                let reply = request.reply.unwrap();
                auth.publish(reply, "".into()).await.unwrap();
            }
        });
    }

    /// Logs in over MQTT, and is refused.
    pub(super) async fn mqtt_login(&self, user: &str, password: &str) {
        let port = self.servers.servers[0].mqtt_port();
        assert!(MqttClient::connect(port, "id", user, password).await.is_none());
    }

    /// All connections that the first server lists, as it lists them.
    pub(super) async fn raw_connections(&self) -> Vec<Value> {
        let admin = self.login("admin").await.client;
        let answer = admin.request("$SYS.REQ.SERVER.PING.CONNZ", "{\"auth\":true}".into()).await;
        let mut answer: Value = serde_json::from_slice(&answer.unwrap().payload).unwrap();
        serde_json::from_value(answer["data"]["connections"].take()).unwrap()
    }

    /// A server that connects to the first one as a leaf node, as this user.
    pub(super) async fn leaf_node(&self, user: &str) -> NatsServer {
        let remote = self.logins.remote(user, &self.servers.servers[0]);
        let text = format!("leafnodes {{ reconnect: \"100ms\", remotes: [ {{ {remote} }} ] }}");
        let builder = NatsServer::builder().file("leaf.creds", self.logins.file(user));
        builder.config(&text).start().await
    }

    /// Logs in at the first server.
    pub(super) async fn login(&self, user: &str) -> Session {
        self.login_at(0, user).await.unwrap()
    }

    pub(super) async fn login_at(
        &self,
        server: usize,
        user: &str,
    ) -> Result<Session, ConnectError> {
        let url = self.servers.servers[server].url();
        Session::connect(&url, self.logins.options(user).name("tester")).await
    }

    pub(super) async fn list(&self, filter: &ConnzFilter) -> Listing {
        self.system.connections(filter).await.unwrap()
    }

    /// The users of a list, in order.
    pub(super) fn users(&self, listing: &Listing) -> Vec<String> {
        let named = |listed: &str| {
            let known = self.logins.listed.iter().find(|(_, it)| *it == listed);
            known.map_or(listed, |(user, _)| user).to_owned()
        };
        let mut users: Vec<_> =
            listing.connections.iter().map(|connection| named(&connection.user)).collect();
        users.sort();
        users
    }

    /// Waits until a list has these users.
    pub(super) async fn lists(&self, filter: &ConnzFilter, users: &[&str]) -> Listing {
        eventually(&format!("a list of {users:?}"), PATIENCE, async || {
            let listing = self.list(filter).await;
            (self.users(&listing) == users).then_some(listing)
        })
        .await
    }

    /// What the servers list as the name of a user.
    pub(super) fn by_user(&self, user: &str) -> ConnzFilter {
        ConnzFilter { user: Some(self.logins.listed[user].clone()), account: None }
    }

    /// The value of a metric.
    pub(super) fn metric(&self, sample: &str) -> Option<f64> {
        let text = self.metrics.render().unwrap();
        let line = text.lines().find(|line| line.starts_with(&format!("{sample} ")))?;
        line.rsplit(' ').next()?.parse().ok()
    }
}

/// A server without a [`System`].
#[derive(Debug)]
pub(super) struct Server {
    server: NatsServer,
    logins: Logins,
}

pub(super) async fn server(mode: Mode, version: &str, publishes: &[&str]) -> Server {
    let logins = Logins::new(mode, publishes);
    let server = NatsServer::builder().version(version);
    Server { server: server.config(&logins.server).start().await, logins }
}

impl Server {
    pub(super) async fn client(&self, user: &str) -> async_nats::Client {
        self.logins.options(user).connect(self.server.url()).await.unwrap()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.system.shut_down();
    }
}

impl Logins {
    fn new(mode: Mode, publishes: &[&str]) -> Self {
        match mode {
            Mode::Configuration => Self::configuration(publishes),
            Mode::Operator => Self::operator(publishes),
        }
    }

    /// Everyone's password is the name.
    fn configuration(publishes: &[&str]) -> Self {
        let issuer = KeyPair::generate(KeyKind::Account).unwrap().public_key();
        let subscribes = permissions::SUBSCRIBES;
        let users = |account: &str| {
            let users = USERS.iter().filter(|(_, it)| *it == account);
            users
                .map(|(user, _)| format!("{{ user: {user}, password: {user} }}"))
                .collect::<Vec<_>>()
                .join(", ")
        };
        let server = format!(
            "accounts {{
  AUTH {{ users: [ {} ] }}
  APP {{ users: [ {} ] }}
  OTHER {{ users: [ {} ] }}
  SYS {{ users: [ {}, {{ user: system, password: system, permissions: {{
    publish: {publishes:?}, subscribe: {subscribes:?} }} }} ] }}
}}
system_account: SYS
authorization {{ timeout: 30, auth_callout {{ issuer: {issuer}, account: AUTH,
  auth_users: [ auth, alice, bob, carol, admin, system ] }} }}
",
            users("AUTH"),
            users("APP"),
            users("OTHER"),
            users("SYS"),
        );
        let listed = USERS.iter().map(|(user, _)| ((*user).to_owned(), (*user).to_owned()));
        Self { files: BTreeMap::new(), listed: listed.collect(), accounts: Vec::new(), server }
    }

    fn operator(publishes: &[&str]) -> Self {
        let now = UnixTime::now();
        let operator = KeyPair::generate(KeyKind::Operator).unwrap();
        let accounts: BTreeMap<&str, KeyPair> = ["AUTH", "APP", "OTHER", "SYS"]
            .map(|name| (name, KeyPair::generate(KeyKind::Account).unwrap()))
            .into();
        let id = |name: &str| accounts[name].public_key().parse::<AccountKey>().unwrap();
        let mut logins = Self {
            files: BTreeMap::new(),
            listed: BTreeMap::new(),
            accounts: ["APP", "OTHER"].map(|name| (name.to_owned(), id(name).to_string())).into(),
            server: String::new(),
        };
        let rights = Rights::new(publishes.to_vec(), permissions::SUBSCRIBES);
        let everyone = USERS.map(|(user, account)| (user, account, None));
        let mut auth_users = Vec::new();
        for (user, account, rights) in everyone.into_iter().chain([("system", "SYS", Some(rights))])
        {
            let key = KeyPair::generate(KeyKind::User).unwrap();
            let fixed =
                FixedUser { rights, ..FixedUser::new(user, key.public_key().parse().unwrap()) };
            let jwt = fixed.sign(&accounts[account], now).unwrap();
            let file = credentials(&jwt, &key.seed()).expose().to_owned();
            if user == "auth" {
                auth_users.push(key.public_key().parse().unwrap());
            }
            logins.files.insert(user.to_owned(), file);
            logins.listed.insert(user.to_owned(), key.public_key());
        }
        let preload: String = accounts
            .iter()
            .map(|(name, key)| {
                let mut account = Account::new(*name, id(name));
                if *name == "AUTH" {
                    account.external_authorization = Some(ExternalAuthorization {
                        auth_users: auth_users.clone(),
                        allowed_accounts: AllowedAccounts::Only(vec![id("APP"), id("OTHER")]),
                        xkey: None,
                    });
                }
                format!("  {}: \"{}\"\n", key.public_key(), account.sign(&operator, now).unwrap())
            })
            .collect();
        let sentinel = KeyPair::generate(KeyKind::User).unwrap();
        let user = FixedUser::sentinel(sentinel.public_key().parse().unwrap());
        let jwt = user.sign(&accounts["AUTH"], now).unwrap();
        let file = credentials(&jwt, &sentinel.seed()).expose().to_owned();
        logins.files.insert("sentinel".to_owned(), file);
        let operator_jwt = Operator { name: "tests".to_owned(), system_account: id("SYS") };
        let operator_jwt = operator_jwt.sign(&operator, now).unwrap();
        logins.server = format!(
            "operator: \"{operator_jwt}\"\nsystem_account: {}\nresolver: MEMORY\n\
             resolver_preload {{\n{preload}}}\nauthorization {{ timeout: 30 }}\n",
            id("SYS")
        );
        logins
    }

    pub(super) fn options(&self, user: &str) -> ConnectOptions {
        match self.files.get(user) {
            Some(file) => ConnectOptions::with_credentials(file).unwrap(),
            None => ConnectOptions::with_user_and_password(user.to_owned(), user.to_owned()),
        }
    }

    /// A login that the server asks the callout about, typing this name.
    pub(super) fn unknown(&self, user: &str) -> ConnectOptions {
        let options = match self.files.get("sentinel") {
            Some(file) => ConnectOptions::with_credentials(file).unwrap(),
            None => ConnectOptions::new(),
        };
        options.user_and_password(user.to_owned(), "canary-password".to_owned())
    }

    /// The same with a token.
    pub(super) fn unknown_token(&self, token: &str) -> ConnectOptions {
        let options = match self.files.get("sentinel") {
            Some(file) => ConnectOptions::with_credentials(file).unwrap(),
            None => ConnectOptions::new(),
        };
        options.token(token.to_owned())
    }

    /// The URL part and further keys of a leaf node's remote.
    pub(super) fn remote(&self, user: &str, server: &NatsServer) -> String {
        let port = server.leaf_port();
        match self.files.contains_key(user) {
            true => format!(
                "url: \"nats-leaf://127.0.0.1:{port}\", credentials: \"{{{{dir}}}}/leaf.creds\""
            ),
            false => format!("url: \"nats-leaf://{user}:{user}@127.0.0.1:{port}\""),
        }
    }

    pub(super) fn file(&self, user: &str) -> String {
        self.files.get(user).cloned().unwrap_or_default()
    }

    pub(super) fn login(&self, user: &str) -> Login {
        match self.files.get(user) {
            Some(file) => Login::Creds(Secret::new(file.clone())),
            None => {
                Login::Password { user: user.to_owned(), password: Secret::new(user.to_owned()) }
            }
        }
    }
}
