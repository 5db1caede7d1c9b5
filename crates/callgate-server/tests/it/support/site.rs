//! Accounts and fixed users of servers with a callout, in configuration and in operator mode.

use std::{collections::BTreeMap, path::Path};

use async_nats::ConnectOptions;
use callgate::{
    clock::UnixTime,
    keys::{AccountKey, KeyKind, KeyPair},
    operator::{
        Account, AllowedAccounts, ExternalAuthorization, FixedUser, Operator, Rights, credentials,
    },
};
use callgate_testkit::{NatsCluster, NatsServer};

use super::{Credential, write_private};

/// The lines on which sessions, locks and revocation are tested.
pub(crate) const LINES: [&str; 3] = ["2.10", "2.12", "2.15"];

/// Both modes on servers of every line.
pub(crate) fn everywhere() -> impl Iterator<Item = (Mode, &'static str)> {
    let modes = [Mode::Configuration, Mode::Operator];
    modes.into_iter().flat_map(|mode| LINES.map(|line| (mode, line)))
}

const ACCOUNTS: [&str; 4] = ["AUTH", "APP", "OTHER", "SYS"];

/// How servers know their accounts and users.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Configuration,
    Operator,
}

impl Mode {
    pub(crate) const ALL: [Self; 2] = [Self::Configuration, Self::Operator];
}

/// A user that logs in without a decision of Callgate.
#[derive(Debug, Clone)]
pub(crate) struct Fixed {
    name: &'static str,
    account: &'static str,
    /// What it may publish and subscribe to; `None` is everything.
    permitted: Option<[Vec<String>; 2]>,
}

impl Fixed {
    /// A user that may do everything in its account.
    pub(crate) fn new(name: &'static str, account: &'static str) -> Self {
        Self { name, account, permitted: None }
    }

    /// The same with limited permissions.
    pub(crate) fn limited(
        name: &'static str,
        account: &'static str,
        publish: &[&str],
        subscribe: &[&str],
    ) -> Self {
        let owned = |subjects: &[&str]| subjects.iter().map(|&it| it.to_owned()).collect();
        Self { permitted: Some([owned(publish), owned(subscribe)]), ..Self::new(name, account) }
    }
}

/// Accounts, the callout and fixed users. The password of a fixed user is its name.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) mode: Mode,
    /// The part of the server's configuration.
    pub(crate) server: String,
    /// `[issuer]` and, in operator mode, `[[accounts]]` of Callgate's configuration.
    pub(crate) gate: String,
    /// Private files beside Callgate's configuration.
    files: BTreeMap<String, String>,
    /// What servers list as the name of a fixed user.
    listed: BTreeMap<&'static str, String>,
    /// The sentinel's JWT and credentials file, in operator mode.
    sentinel: Option<[String; 2]>,
}

impl Site {
    /// Accounts AUTH (of the callout), APP, OTHER and SYS with these users. All but OTHER's use JetStream.
    pub(crate) fn new(mode: Mode, line: &str, users: &[Fixed]) -> Self {
        match mode {
            Mode::Configuration => configuration(users),
            Mode::Operator => operator(line, users),
        }
    }

    /// Writes the files that Callgate's configuration names.
    pub(crate) fn write_files(&self, folder: &Path) {
        for (name, content) in &self.files {
            write_private(&folder.join(name), content);
        }
    }

    /// How Callgate logs in as a fixed user, for `[nats]` and `[system]`.
    pub(crate) fn login(&self, user: &str) -> String {
        match self.mode {
            Mode::Configuration => {
                format!("user = \"{user}\"\npassword = {{ file = \"{user}.password\" }}")
            }
            Mode::Operator => format!("creds = \"{user}.creds\""),
        }
    }

    /// Options of a fixed user.
    pub(crate) fn fixed(&self, user: &str) -> ConnectOptions {
        match self.mode {
            Mode::Configuration => {
                ConnectOptions::with_user_and_password(user.to_owned(), user.to_owned())
            }
            Mode::Operator => {
                let file = &self.files[&format!("{user}.creds")];
                ConnectOptions::with_credentials(file).unwrap()
            }
        }
    }

    /// Options of a client that Callgate decides about.
    pub(crate) fn options(&self, credential: &Credential) -> ConnectOptions {
        let options = match &self.sentinel {
            Some([_, file]) => ConnectOptions::with_credentials(file).unwrap(),
            None => ConnectOptions::new(),
        };
        credential.add_to(options)
    }

    /// The sentinel's JWT, which clients send besides their credential.
    pub(crate) fn sentinel(&self) -> Option<&str> {
        self.sentinel.as_ref().map(|[jwt, _]| jwt.as_str())
    }

    /// What servers list as the name of a fixed user.
    pub(crate) fn listed(&self, user: &str) -> &str {
        &self.listed[user]
    }

    /// A leaf node of `hub` that logs in with a password.
    pub(crate) async fn leaf_node(&self, hub: &NatsServer, user: &str) -> NatsServer {
        let port = hub.leaf_port();
        let (file, more) = match &self.sentinel {
            Some([_, file]) => (file.as_str(), ", credentials: \"{{dir}}/sentinel.creds\""),
            None => ("", ""),
        };
        let text = format!(
            "leafnodes {{ reconnect: \"200ms\", remotes: [ {{ url: \"nats-leaf://{user}:{user}@127.0.0.1:{port}\"{more} }} ] }}"
        );
        NatsServer::builder().file("sentinel.creds", file).config(&text).start().await
    }
}

/// Starts servers of a line; `None` is the default one.
pub(crate) async fn servers(line: Option<&str>, count: usize, text: &str) -> NatsCluster {
    match (line, count) {
        (None, 1) => NatsCluster { servers: vec![NatsServer::start(text).await] },
        (Some(line), 1) => {
            let server = NatsServer::builder().version(line).config(text).start().await;
            NatsCluster { servers: vec![server] }
        }
        (None, count) => NatsCluster::start(count, text).await,
        (Some(line), count) => NatsCluster::start_version(line, count, text).await,
    }
}

fn configuration(users: &[Fixed]) -> Site {
    let issuer = generate(KeyKind::Account);
    let accounts: String = ACCOUNTS
        .iter()
        .map(|account| {
            let jetstream = match *account {
                "AUTH" | "APP" => "jetstream: enabled, ",
                _ => "",
            };
            let users: String =
                users.iter().filter(|it| it.account == *account).map(user).collect();
            format!("  {account} {{ {jetstream}users: [\n{users}  ] }}\n")
        })
        .collect();
    let names: Vec<_> = users.iter().map(|user| user.name).collect();
    let names = names.join(", ");
    let server = format!(
        "accounts {{\n{accounts}}}\nsystem_account: SYS\nauthorization {{ timeout: 30, auth_callout {{ \
         issuer: \"{}\", account: AUTH, auth_users: [ {names} ] }} }}\n",
        issuer.public_key(),
    );
    let passwords =
        users.iter().map(|user| (format!("{}.password", user.name), user.name.to_owned()));
    Site {
        mode: Mode::Configuration,
        server,
        gate: "[issuer]\nseed = { file = \"issuer.nk\" }\n".to_owned(),
        files: passwords.chain([("issuer.nk".to_owned(), seed(&issuer))]).collect(),
        listed: users.iter().map(|user| (user.name, user.name.to_owned())).collect(),
        sentinel: None,
    }
}

/// A user in the server's configuration.
fn user(user: &Fixed) -> String {
    let Fixed { name, permitted, .. } = user;
    let permissions = permitted.as_ref().map(|[publish, subscribe]| {
        format!(", permissions: {{ publish: {publish:?}, subscribe: {subscribe:?} }}")
    });
    format!("    {{ user: {name}, password: {name}{} }}\n", permissions.unwrap_or_default())
}

fn operator(line: &str, users: &[Fixed]) -> Site {
    let now = UnixTime::now();
    let operator = generate(KeyKind::Operator);
    let keys: BTreeMap<&str, KeyPair> =
        ACCOUNTS.map(|name| (name, generate(KeyKind::Account))).into();
    let id = |name: &str| keys[name].public_key().parse::<AccountKey>().unwrap();
    let mut files = BTreeMap::from([("issuer.nk".to_owned(), seed(&keys["AUTH"]))]);
    let mut listed = BTreeMap::new();
    let mut auth_users = Vec::new();
    for Fixed { name, account, permitted } in users {
        let key = generate(KeyKind::User);
        let rights = permitted.clone().map(|[publish, subscribe]| Rights::new(publish, subscribe));
        let user = FixedUser { rights, ..FixedUser::new(*name, key.public_key().parse().unwrap()) };
        let jwt = user.sign(&keys[account], now).unwrap();
        if *account == "AUTH" {
            auth_users.push(key.public_key().parse().unwrap());
        }
        files.insert(format!("{name}.creds"), file(&jwt, &key));
        listed.insert(*name, key.public_key());
    }
    let sentinel = generate(KeyKind::User);
    let user = FixedUser::sentinel(sentinel.public_key().parse().unwrap());
    let sentinel_jwt = user.sign(&keys["AUTH"], now).unwrap();
    let mut preload = String::new();
    let mut gate =
        format!("[issuer]\nseed = {{ file = \"issuer.nk\" }}\naccount = \"{}\"\n", id("AUTH"));
    for name in ACCOUNTS {
        let mut account = Account::new(name, id(name));
        account.jetstream = ["AUTH", "APP"].contains(&name);
        if name == "AUTH" {
            account.external_authorization = Some(ExternalAuthorization {
                auth_users: auth_users.clone(),
                allowed_accounts: AllowedAccounts::Only(vec![id("APP"), id("OTHER")]),
                xkey: None,
            });
        }
        let jwt = account.sign(&operator, now).unwrap();
        preload.push_str(&format!("  {}: \"{jwt}\"\n", id(name)));
        if ["APP", "OTHER"].contains(&name) {
            let file = format!("{name}.nk");
            gate.push_str(&format!(
                "[[accounts]]\nname = \"{name}\"\nid = \"{}\"\nseed = {{ file = \"{file}\" }}\n",
                id(name)
            ));
            files.insert(file, seed(&keys[name]));
        }
    }
    let jwt = Operator { name: "tests".to_owned(), system_account: id("SYS") };
    let jwt = jwt.sign(&operator, now).unwrap();
    let default_sentinel = match line {
        "2.10" => String::new(),
        _ => format!("default_sentinel: \"{sentinel_jwt}\"\n"),
    };
    let server = format!(
        "operator: \"{jwt}\"\nsystem_account: {}\nresolver: MEMORY\nresolver_preload {{\n{preload}}}\n\
         authorization {{ timeout: 30 }}\n{default_sentinel}",
        id("SYS")
    );
    let sentinel = Some([sentinel_jwt.clone(), file(&sentinel_jwt, &sentinel)]);
    Site { mode: Mode::Operator, server, gate, files, listed, sentinel }
}

fn generate(kind: KeyKind) -> KeyPair {
    KeyPair::generate(kind).unwrap()
}

fn seed(key: &KeyPair) -> String {
    key.seed().expose().to_owned()
}

/// A credentials file.
fn file(jwt: &str, key: &KeyPair) -> String {
    credentials(jwt, &key.seed()).expose().to_owned()
}
