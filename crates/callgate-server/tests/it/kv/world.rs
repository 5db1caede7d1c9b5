//! Servers with JetStream, Callgate with an authenticator of the kind `kv`, and an administrator.

use std::{fs, path::PathBuf};

use async_nats::jetstream::{self, kv::Store};
use callgate::policy::encode;
use callgate_testkit::{
    NatsCluster, NatsServer, Nkey, Service, eventually,
    service::CommandOutput,
    wait::{LONG, PATIENCE},
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Credential, callgate_in, connect_to, serve, write_private};

/// What the service user may publish besides `docs/kv.md`.
const BASE: [&str; 4] = ["_INBOX.>", "$SYS._INBOX.>", "$SYS.REQ.USER.INFO", "$SRV.INFO"];
/// What watching the bucket `users` needs.
pub(super) const NEEDED: [&str; 5] = [
    "$JS.API.STREAM.INFO.KV_users",
    "$JS.API.CONSUMER.CREATE.KV_users",
    "$JS.API.CONSUMER.CREATE.KV_users.>",
    "$JS.API.CONSUMER.DELETE.KV_users.>",
    "$JS.FC.KV_users.>",
];

/// Entries are outside data.
pub(super) const KV: &str = "bucket = \"users\"";
/// Entries are the operator's own.
pub(super) const OWNED: &str = "bucket = \"users\"\noperator_owned = true";

/// Servers, a folder with Callgate's configuration, and an administrator's connection.
pub(super) struct World {
    pub(super) servers: NatsCluster,
    pub(super) folder: TempDir,
    pub(super) admin: jetstream::Context,
}

impl World {
    /// One server.
    pub(super) async fn start(kv: &str) -> Self {
        Self::with(1, kv, "", &NEEDED).await
    }

    /// `more` is added to Callgate's configuration; the service user may publish `permitted`.
    pub(super) async fn with(servers: usize, kv: &str, more: &str, permitted: &[&str]) -> Self {
        let issuer = Nkey::account();
        let text = server_text(&issuer.public(), permitted);
        let servers = match servers {
            1 => NatsCluster { servers: vec![NatsServer::start(&text).await] },
            many => NatsCluster::start(many, &text).await,
        };
        let folder = tempfile::tempdir().unwrap();
        write_private(&folder.path().join("issuer.nk"), &issuer.seed());
        for password in ["auth", "admin"] {
            write_private(&folder.path().join(password), password);
        }
        let config = gate_text(&servers.urls(), kv, more);
        fs::write(folder.path().join("callgate.toml"), config).unwrap();
        let options =
            async_nats::ConnectOptions::with_user_and_password("admin".into(), "admin".into());
        let admin = options.connect(servers.servers[0].url()).await.unwrap();
        Self { servers, folder, admin: jetstream::new(admin) }
    }

    /// A file in Callgate's folder.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Creates the bucket.
    pub(super) async fn create(&self) -> Store {
        eventually("the bucket to be created", LONG, async || {
            let config = jetstream::kv::Config {
                bucket: "users".to_owned(),
                history: 5,
                num_replicas: self.servers.servers.len(),
                ..Default::default()
            };
            self.admin.create_key_value(config).await.ok()
        })
        .await
    }

    /// Starts a replica, and waits until it is ready.
    pub(super) async fn gate(&self) -> Service {
        let gate = self.gate_waiting().await;
        gate.ready().await;
        gate
    }

    pub(super) async fn gate_waiting(&self) -> Service {
        serve(self.folder.path(), &["--config", "callgate.toml"]).await
    }

    /// Runs a command with the administrator's login.
    pub(super) fn users(&self, arguments: &[&str]) -> CommandOutput {
        let login =
            ["--config", "callgate.toml", "--nats-user", "admin", "--nats-password", "@admin"];
        callgate_in(self.folder.path(), &[&["users"], arguments, &login].concat())
    }

    /// The reason of the decision about a login, from a gate that is the only one.
    pub(super) async fn reason(&self, gate: &Service, credential: &Credential) -> String {
        self.decision(gate, credential).await["reason"].as_str().unwrap().to_owned()
    }

    pub(super) async fn decision(&self, gate: &Service, credential: &Credential) -> Value {
        let mark = gate.mark();
        let url = self.servers.servers[0].url();
        let outcome = connect_to(&url, credential).await;
        // The record of an earlier login may be late: a client takes the `PING` of a server that waits for
        // success.
        let decision = match credential {
            Credential::Password(user, _) => {
                gate.record(mark, &["\"outcome\":", &format!("\"user\":\"{user}\"")]).await
            }
            _ => gate.decision(mark).await,
        };
        assert_eq!(outcome.is_ok(), decision["outcome"] == "admitted", "{decision}");
        decision
    }

    /// Waits until a login has this reason.
    pub(super) async fn reaches(&self, gate: &Service, user: &str, reason: &str) {
        let credential = Credential::password(user, user);
        eventually(&format!("{user}: {reason}"), PATIENCE * 3, async || {
            (self.reason(gate, &credential).await == reason).then_some(())
        })
        .await;
    }
}

/// Writes an entry whose password is the name.
pub(super) async fn put(bucket: &Store, user: &str) -> u64 {
    put_entry(bucket, user, json!({ "pass": user, "account": "APP" })).await
}

pub(super) async fn put_entry(bucket: &Store, user: &str, entry: Value) -> u64 {
    // Just after its creation in a cluster, not every server knows the stream.
    eventually(&format!("an entry of {user}"), PATIENCE * 3, async || {
        bucket.put(encode(user), entry.to_string().into()).await.ok()
    })
    .await
}

fn server_text(issuer: &str, permitted: &[&str]) -> String {
    let publish = [&BASE, permitted].concat();
    format!(
        "accounts {{
  AUTH {{ jetstream: enabled, users: [
    {{ user: auth, password: auth, permissions: {{
       subscribe: [\"$SYS.REQ.USER.AUTH\", \"$SRV.>\", \"_INBOX.>\"], publish: {publish:?} }} }}
    {{ user: admin, password: admin }} ] }}
  APP {{}}
  OTHER {{}}
  SYS {{}}
}}
system_account: SYS
jetstream {{ store_dir: \"{{{{dir}}}}/jetstream\", max_file_store: 256MB, max_memory_store: 64MB }}
authorization {{ timeout: 5, auth_callout {{ issuer: \"{issuer}\", account: AUTH, auth_users: [ auth, admin ] }} }}
"
    )
}

fn gate_text(urls: &str, kv: &str, more: &str) -> String {
    format!(
        "[nats]
servers = \"{urls}\"
user = \"auth\"
password = {{ file = \"auth\" }}
[issuer]
seed = {{ file = \"issuer.nk\" }}
[[authenticators]]
name = \"people\"
timeout = \"5s\"
[authenticators.kv]
{kv}
[admin]
listen = \"127.0.0.1:0\"
[log]
format = \"json\"
{more}
"
    )
}
