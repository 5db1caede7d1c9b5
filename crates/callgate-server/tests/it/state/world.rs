//! Servers with JetStream, replicas of Callgate with `[state]`, and an administrator who writes to the bucket.

use std::{ffi::OsString, fs};

use async_nats::{
    HeaderMap,
    jetstream::{self, kv::Store},
};
use callgate_testkit::{
    NatsCluster, Service, Session, eventually, tools,
    wait::{LONG, PATIENCE},
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Credential, Fixed, Mode, Site, serve_with, servers, write_private};

/// What the service user may publish besides what `[state]` needs.
const BASE: [&str; 4] = ["_INBOX.>", "$SYS._INBOX.>", "$SYS.REQ.USER.INFO", "$SRV.INFO"];
/// What `[state]` needs.
pub(super) const NEEDED: [&str; 9] = [
    "$JS.API.INFO",
    "$JS.API.STREAM.INFO.KV_callgate",
    "$JS.API.STREAM.CREATE.KV_callgate",
    "$JS.API.CONSUMER.CREATE.KV_callgate",
    "$JS.API.CONSUMER.CREATE.KV_callgate.>",
    "$JS.API.CONSUMER.DELETE.KV_callgate.>",
    "$JS.FC.KV_callgate.>",
    "$KV.callgate.>",
    "CALLGATE.>",
];

/// `[state]` for one server.
pub(super) const ONE: &str = "replicas = 1\nmax_stale = \"5s\"";
/// `[state]` for a cluster.
pub(super) const THREE: &str = "max_stale = \"5s\"";

/// Servers, a folder with Callgate's configuration, and an administrator's connection.
pub(super) struct World {
    pub(super) servers: NatsCluster,
    pub(super) folder: TempDir,
    pub(super) admin: jetstream::Context,
    site: Site,
}

impl World {
    /// This many servers; `state` is the content of `[state]`.
    pub(super) async fn start(servers: usize, state: &str) -> Self {
        Self::with(servers, state, &NEEDED).await
    }

    /// Servers of a line.
    pub(super) async fn on(mode: Mode, line: &'static str, count: usize, state: &str) -> Self {
        let site = Site::new(mode, line, &fixed_users(&NEEDED));
        Self::of(site, Some(line), count, state).await
    }

    /// The service user may publish `permitted`.
    pub(super) async fn with(count: usize, state: &str, permitted: &[&str]) -> Self {
        let site = Site::new(Mode::Configuration, "2.15", &fixed_users(permitted));
        Self::of(site, None, count, state).await
    }

    async fn of(site: Site, line: Option<&str>, count: usize, state: &str) -> Self {
        let servers = servers(line, count, &format!("{}{JETSTREAM}", site.server)).await;
        let folder = tempfile::tempdir().unwrap();
        site.write_files(folder.path());
        let users = json!({
            "alice": { "pass": "alice", "account": "APP" },
            "bob": { "pass": "bob", "account": "APP" },
            "carol": { "pass": "carol", "account": "OTHER" },
        });
        write_private(&folder.path().join("users.json"), &users.to_string());
        let text = gate_text(&site, &servers.urls(), state);
        fs::write(folder.path().join("callgate.toml"), text).unwrap();
        let admin = site.fixed("admin").connect(servers.servers[0].url()).await.unwrap();
        Self { servers, folder, admin: jetstream::new(admin), site }
    }

    /// Starts a replica, and waits until it is ready.
    pub(super) async fn gate(&self) -> Service {
        let gate = self.gate_waiting().await;
        gate.ready().await;
        gate
    }

    pub(super) async fn gate_waiting(&self) -> Service {
        serve_with(self.folder.path(), &["--config", "callgate.toml"], &[]).await
    }

    /// Starts a replica whose wall clock is wrong by this many seconds; its configuration is another one.
    pub(super) async fn gate_with_clock(&self, offset: &str) -> Service {
        let library = tools::folder().join("faketime/libfaketimeMT.so.1");
        let library: OsString = library.into();
        let variables = [
            ("LD_PRELOAD", library.to_str().unwrap()),
            ("FAKETIME", offset),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ];
        serve_with(self.folder.path(), &["--config", "callgate.toml"], &variables).await
    }

    /// The bucket, once a replica has created it.
    pub(super) async fn bucket(&self) -> Store {
        eventually("the bucket", LONG, async || self.admin.get_key_value("callgate").await.ok())
            .await
    }

    /// Stores a lock, and waits until these replicas have it.
    pub(super) async fn lock(&self, id: &str, target: Value, gates: &[&Service]) {
        let marks: Vec<_> = gates.iter().map(|gate| gate.mark()).collect();
        self.put(id, json!({ "v": 1, "target": target, "actor": "admin" })).await;
        for (gate, mark) in gates.iter().zip(marks) {
            gate.record(mark, &["lock in force", id]).await;
        }
    }

    pub(super) async fn put(&self, id: &str, value: Value) {
        let bucket = self.bucket().await;
        let key = format!("lock.{id}");
        eventually("a put", LONG, async || {
            bucket.put(key.as_str(), value.to_string().into()).await.ok()
        })
        .await;
    }

    /// Leaves a deletion marker with an actor, as `callgate unlock` does.
    pub(super) async fn unlock(&self, id: &str) {
        let mut headers = HeaderMap::new();
        headers.insert("KV-Operation", "DEL");
        headers.insert("Callgate-Actor", "admin");
        let subject = format!("$KV.callgate.lock.{id}");
        let sent = self.admin.publish_with_headers(subject, headers, "".into()).await.unwrap();
        sent.await.unwrap();
    }

    async fn connect(
        &self,
        user: &str,
        password: &str,
    ) -> Result<Session, async_nats::ConnectError> {
        let options = self.site.options(&Credential::password(user, password));
        Session::connect(&self.servers.servers[0].url(), options).await
    }

    /// The reason of the decision about a login; with several replicas, whichever decides.
    pub(super) async fn reason(&self, gates: &[&Service], user: &str, password: &str) -> String {
        self.decision(gates, user, password).await["reason"].as_str().unwrap().to_owned()
    }

    pub(super) async fn decision(&self, gates: &[&Service], user: &str, password: &str) -> Value {
        let marks: Vec<_> = gates.iter().map(|gate| gate.mark()).collect();
        let outcome = self.connect(user, password).await;
        let wanted = format!("\"user\":\"{user}\"");
        let decision = eventually("a decision", PATIENCE, async || {
            gates.iter().zip(&marks).find_map(|(gate, mark)| {
                let of_user = |decision: &Value| decision.to_string().contains(&wanted);
                gate.decisions(*mark)
                    .into_iter()
                    .find(|decision| of_user(decision) || decision["user"].is_null())
            })
        })
        .await;
        assert_eq!(outcome.is_ok(), decision["outcome"] == "admitted", "{decision}");
        decision
    }

    /// Waits until a login has this reason. Logins without a decision count as nothing.
    pub(super) async fn reaches(&self, gate: &Service, user: &str, reason: &str) {
        eventually(&format!("{user}: {reason}"), LONG, async || {
            let mark = gate.mark();
            let _ = self.connect(user, user).await;
            let decisions = gate.decisions(mark);
            decisions.iter().any(|decision| decision["reason"] == reason).then_some(())
        })
        .await;
    }
}

const JETSTREAM: &str = "jetstream { store_dir: \"{{dir}}/jetstream\", max_file_store: 256MB, \
                         max_memory_store: 64MB }\n";

/// The service user, and an administrator of the bucket.
fn fixed_users(permitted: &[&str]) -> [Fixed; 2] {
    let publish = [&BASE, permitted].concat();
    let mut subscribe = vec!["$SYS.REQ.USER.AUTH", "$SRV.>", "_INBOX.>"];
    subscribe.extend(permitted.iter().filter(|subject| **subject == "CALLGATE.>"));
    [Fixed::limited("auth", "AUTH", &publish, &subscribe), Fixed::new("admin", "AUTH")]
}

fn gate_text(site: &Site, urls: &str, state: &str) -> String {
    let auth = site.login("auth");
    format!(
        "[nats]
servers = \"{urls}\"
{auth}
{}
[[authenticators]]
name = \"staff\"
[authenticators.users]
file = \"users.json\"
[state]
{state}
[admin]
listen = \"127.0.0.1:0\"
[log]
format = \"json\"
",
        site.gate
    )
}
