//! The guide to a move without an outage, followed from users in nats-server.conf and from a `users.json`.

use std::{
    fs,
    path::Path,
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_nats::{ConnectOptions, Event, ServerAddr};
use callgate_testkit::{
    CurveKey, NatsServer, Nkey, Service, eventually,
    pages::checkout,
    ports::free_port,
    tools,
    wait::{LONG, PATIENCE},
};
use serde_json::json;
use tokio::{task::JoinHandle, time::timeout};

use super::{page, quotes::blocks};
use crate::support::{callgate_in, connect, has, serve, write_private};

const PAGE: &str = "docs/migration.md";
const ADDRESS: &str = "nats://127.0.0.1:4222";
const TEST_SETTINGS: &str = "[admin]\nlisten = \"127.0.0.1:0\"\n[log]\nformat = \"json\"\n";

/// The commands of the page, one per line, that begin with this text.
fn commands(start: &str) -> Vec<Vec<String>> {
    let text = page(checkout(PAGE)).text;
    let lines = ["sh"].into_iter().flat_map(|language| blocks(&text, language));
    let lines: Vec<_> = lines.flat_map(|(_, body)| body.lines()).map(str::trim).collect();
    let found = lines.into_iter().filter(|line| line.starts_with(start));
    let found: Vec<Vec<String>> =
        found.map(|line| line.split(' ').skip(1).map(str::to_owned).collect()).collect();
    assert!(!found.is_empty(), "no command `{start}`");
    found
}

/// Runs the commands of the page that begin with this text.
#[track_caller]
fn runs(folder: &Path, start: &str, code: i32) -> String {
    let mut output = String::new();
    for command in commands(start) {
        let arguments: Vec<_> = command.iter().map(String::as_str).collect();
        let ran = callgate_in(folder, &arguments);
        assert_eq!(ran.code, code, "{command:?}: {ran:?}");
        output.push_str(&ran.stdout);
    }
    output
}

/// The TOML block of the page that begins with this table, without its indentation.
fn toml(table: &str) -> String {
    let text = page(checkout(PAGE)).text;
    let (_, body) =
        blocks(&text, "toml").into_iter().find(|(_, body)| body.trim().starts_with(table)).unwrap();
    let body = body.split("```").next().unwrap();
    body.lines().map(|line| format!("{}\n", line.trim())).collect()
}

/// What clients may notice of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Notice {
    Nothing,
    /// A login at the moment of the reload: nats-server refuses clients whose CONNECT it has not processed.
    Reload,
    /// A session that moves to another server, and logins that succeed at a second attempt.
    Restart,
}

/// A client that stays connected, and clients that log in all the time.
struct Clients {
    refused: Arc<Mutex<Vec<String>>>,
    logins: Arc<AtomicUsize>,
    disconnected: Arc<AtomicUsize>,
    stays: async_nats::Client,
    task: JoinHandle<()>,
}

impl Clients {
    async fn start(url: &str, user: &'static str) -> Self {
        let counter = Arc::<AtomicUsize>::default;
        let refused = Arc::<Mutex<Vec<String>>>::default();
        let logins = counter();
        let disconnected = counter();
        let lost = Arc::clone(&disconnected);
        let options = ConnectOptions::with_user_and_password(user.to_owned(), user.to_owned());
        let options = options.event_callback(move |event| {
            if matches!(event, Event::Disconnected) {
                lost.fetch_add(1, Ordering::SeqCst);
            }
            std::future::ready(())
        });
        let servers: Vec<ServerAddr> = url.split(',').map(|url| url.parse().unwrap()).collect();
        let stays = options.connect(&servers).await.unwrap();
        let (bad, all) = (Arc::clone(&refused), Arc::clone(&logins));
        let task = tokio::spawn(async move {
            loop {
                let login =
                    ConnectOptions::with_user_and_password(user.to_owned(), user.to_owned());
                match login.connect(&servers).await {
                    Ok(_) => drop(all.fetch_add(1, Ordering::SeqCst)),
                    Err(error) => bad.lock().unwrap().push(format!("{error:?}")),
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        Self { refused, logins, disconnected, stays, task }
    }

    /// Waits for some further logins, and asserts that clients noticed no more than this.
    async fn notice(&self, notice: Notice, step: &str) {
        let before = self.logins.load(Ordering::SeqCst);
        eventually("five logins", LONG, async || {
            (self.logins.load(Ordering::SeqCst) >= before + 5).then_some(())
        })
        .await;
        eventually("the session", LONG, async || {
            matches!(timeout(PATIENCE, self.stays.flush()).await, Ok(Ok(()))).then_some(())
        })
        .await;
        let refused = std::mem::take(&mut *self.refused.lock().unwrap());
        let disconnected = self.disconnected.swap(0, Ordering::SeqCst);
        // The clients log in one after another, and each step reloads two servers.
        let refused_at_most = match notice {
            Notice::Nothing => 0,
            Notice::Reload => 2,
            Notice::Restart => return,
        };
        assert_eq!(disconnected, 0, "sessions ended: {step}");
        assert!(refused.len() <= refused_at_most, "refused logins: {step}: {refused:?}");
    }

    async fn notice_nothing(&self, step: &str) {
        self.notice(Notice::Nothing, step).await;
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A change of the policy, and what it means for alice.
struct Change {
    from: &'static str,
    to: &'static str,
    /// The result of `[shadow]`.
    result: &'static str,
    /// In the output of `diff` and `replay`.
    line: &'static str,
    /// The exit code of `diff --fail-on gain`.
    code: i32,
}

/// The last chapter: a candidate is compared, rehearsed and put in force.
async fn change_policy(folder: &Path, gate: &Service, clients: &Clients, change: Change) {
    let Change { from, to, result, line, code } = change;
    let path = folder.join("callgate.toml");
    let live = fs::read_to_string(&path).unwrap();
    assert!(live.contains(from), "{live}");
    fs::write(folder.join("next.toml"), live.replacen(from, to, 1)).unwrap();
    has(&runs(folder, "callgate diff", code), &[line]);

    let mark = gate.mark();
    fs::write(&path, live + &toml("[shadow]")).unwrap();
    gate.line(mark, &["comparing with the candidate configuration"]).await;
    clients.notice_nothing("[shadow]").await;
    let counted = format!("callgate_shadow_decisions_total{{result=\"{result}\"}}");
    gate.metric_reaches(&counted, 1.0).await;
    eventually("`shadow` in the audit", LONG, async || {
        let audit = fs::read_to_string(folder.join("audit.jsonl")).unwrap();
        audit.contains(&format!("\"shadow\":\"{result}\"")).then_some(())
    })
    .await;
    has(&runs(folder, "callgate replay", 1), &[line]);

    let mark = gate.mark();
    fs::rename(folder.join("next.toml"), &path).unwrap();
    gate.line(mark, &["configuration reloaded"]).await;
    clients.notice_nothing("the new policy").await;
}

const CONF: &str = "accounts {
  APP {
    default_permissions { publish: [\"app.>\", \"old.>\"], subscribe: \">\" }
    users: [
      { user: alice, password: alice }
      { user: bob, password: bob, permissions: { publish: \"bob.>\", subscribe: \"bob.>\" } }
    ]
  }
  SYS { users: [ { user: sys, password: sys } ] }
}
system_account: SYS
";

/// Two servers with this configuration.
struct Servers {
    headers: Vec<String>,
    servers: Vec<NatsServer>,
}

impl Servers {
    async fn start(conf: &str) -> Self {
        let ports = [free_port(), free_port()];
        let routes = ports.map(|port| format!("\"nats://127.0.0.1:{port}\"")).join(", ");
        let header = |(number, port)| {
            format!(
                "server_name: s{number}\ncluster {{ name: c, listen: \"127.0.0.1:{port}\", routes: [ {routes} ] }}\n"
            )
        };
        let headers: Vec<String> = ports.iter().enumerate().map(header).collect();
        let mut servers = Vec::new();
        for header in &headers {
            servers.push(NatsServer::start(&format!("{header}{conf}")).await);
        }
        Self { headers, servers }
    }

    fn urls(&self) -> String {
        self.servers.iter().map(NatsServer::url).collect::<Vec<_>>().join(",")
    }

    async fn reload(&mut self, conf: &str) {
        for (header, server) in self.headers.iter().zip(&mut self.servers) {
            server.reload(&format!("{header}{conf}")).await;
        }
    }

    /// Restarts one after the other.
    async fn restart(&mut self, conf: &str, clients: &Clients, step: &str) {
        for (header, server) in self.headers.iter().zip(&mut self.servers) {
            server.restart_with(&format!("{header}{conf}")).await;
            clients.notice(Notice::Restart, step).await;
        }
    }
}

#[tokio::test]
async fn users_of_nats_server_move_without_an_outage() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("nats-server.conf"), CONF).unwrap();
    let mut servers = Servers::start(CONF).await;
    let urls = servers.urls();
    let clients = Clients::start(&urls, "alice").await;
    clients.notice_nothing("before").await;

    has(&runs(folder.path(), "callgate import", 0), &["2 users and 1 role imported; 1 user stays"]);
    let gate_folder = folder.path().join("gate");
    let config = fs::read_to_string(gate_folder.join("callgate.toml")).unwrap();
    let addresses = urls.replace(',', "\", \"");
    let config = config.replace(ADDRESS, &addresses) + TEST_SETTINGS + &toml("[audit]");
    fs::write(gate_folder.join("callgate.toml"), config).unwrap();
    runs(folder.path(), "callgate check --config gate/", 0);
    has(&runs(folder.path(), "callgate explain --config gate/", 0), &["old.>"]);
    let [check] = &commands("nats-server -t")[..] else { panic!("one command") };
    let mut check_server = Command::new(tools::installed("nats-server/default"));
    assert!(check_server.args(check).current_dir(folder.path()).output().unwrap().status.success());

    let prepared = fs::read_to_string(gate_folder.join("nats-server.prepared.conf")).unwrap();
    servers.reload(&prepared).await;
    clients.notice(Notice::Reload, "the prepared servers").await;
    clients.notice_nothing("after the reload").await;
    let mut gate = serve(folder.path(), &["--config", "gate/callgate.toml"]).await;
    gate.ready().await;
    clients.notice_nothing("Callgate has started").await;
    assert!(gate.decisions(0).is_empty());

    let complete = fs::read_to_string(gate_folder.join("nats-server.conf")).unwrap();
    servers.restart(&complete, &clients, "the switch").await;
    let admitted = "callgate_decisions_total{authenticator=\"users\",outcome=\"admitted\",reason=\"admitted\",cause=\"\"}";
    gate.metric_reaches(admitted, 5.0).await;
    let mut bob = connect(&servers.servers[0].url(), "bob", "bob").await.unwrap();
    bob.talks_to_itself_on("bob.a").await;
    bob.is_refused_to_publish("app.a").await;
    let change = Change {
        from: "\"app.>\", \"old.>\"",
        to: "\"app.>\"",
        result: "lost",
        line: "loses   users/alice    publish   old.>",
        code: 0,
    };
    change_policy(&gate_folder, &gate, &clients, change).await;
    let mut alice = connect(&servers.servers[0].url(), "alice", "alice").await.unwrap();
    alice.talks_to_itself_on("app.a").await;
    alice.is_refused_to_publish("old.a").await;

    // Back, and Callgate is not needed any more.
    servers.restart(&prepared, &clients, "back").await;
    gate.terminate().await;
    clients.notice_nothing("without Callgate").await;
    assert!(connect(&servers.servers[0].url(), "sys", "sys").await.is_ok());
}

#[tokio::test]
async fn users_of_another_callout_move_without_an_outage() {
    let (issuer, xkey, folder) =
        (Nkey::account(), CurveKey::generate(), tempfile::tempdir().unwrap());
    let server = NatsServer::start(&format!(
        "accounts {{\n  AUTH {{ users: [ {{ user: auth, password: auth }} ] }}\n  APP {{}}\n}}\n\
         authorization {{ auth_callout {{ issuer: {}, users: [ auth ], account: AUTH, xkey: {} }} }}\n",
        issuer.public(),
        xkey.public(),
    ))
    .await;
    let url = server.url();
    let users = json!({
        "alice": { "pass": "alice", "account": "APP",
                   "permissions": { "pub": { "allow": ["app.>", "old.>"] }, "sub": { "allow": [">"] } } },
        "bob": { "pass": "bob", "account": "APP",
                 "permissions": { "pub": { "allow": ["bob.>"] }, "sub": { "allow": ["bob.>"] }, "resp": { "max": 1 } } },
    });
    write_private(&folder.path().join("users.json"), &users.to_string());
    write_private(&folder.path().join("issuer.nk"), &issuer.seed());
    write_private(&folder.path().join("xkey.xk"), &xkey.seed());
    let config = format!(
        "[nats]\nservers = [\"{url}\"]\nuser = \"auth\"\npassword = \"auth\"\nqueue = \"q\"\n\
         [issuer]\nseed = {{ file = \"issuer.nk\" }}\nxkeys = [{{ file = \"xkey.xk\" }}]\ncallout_account = \"AUTH\"\n\
         [[authenticators]]\nname = \"users\"\n[authenticators.users]\nfile = \"users.json\"\n{TEST_SETTINGS}"
    );
    // A callout with the same keys, users and queue group takes the place of the old one.
    fs::write(folder.path().join("old.toml"), &config).unwrap();
    let mut old = serve(folder.path(), &["--config", "old.toml"]).await;
    old.ready().await;
    let clients = Clients::start(&url, "alice").await;
    clients.notice_nothing("before").await;

    fs::write(folder.path().join("callgate.toml"), &config).unwrap();
    runs(folder.path(), "callgate check --config callgate.toml", 0);
    has(&runs(folder.path(), "callgate explain --config callgate.toml", 0), &["bob"]);
    let mut gate = serve(folder.path(), &["--config", "callgate.toml"]).await;
    gate.ready().await;
    clients.notice_nothing("both").await;
    old.terminate().await;
    clients.notice_nothing("Callgate alone").await;

    // The next replica has its own queue group and an audit, and replaces the first.
    let alone = config.replace("queue = \"q\"\n", "") + &toml("[audit]");
    fs::write(folder.path().join("callgate.toml"), alone).unwrap();
    let next = serve(folder.path(), &["--config", "callgate.toml"]).await;
    next.ready().await;
    gate.terminate().await;
    clients.notice_nothing("without the queue group of micro services").await;
    let change = Change {
        from: "[audit]",
        to: "[roles.reports]\npublish = [\"reports.>\"]\n\
             [[bindings]]\nauthenticator = \"users\"\nwhen = 'user == \"alice\"'\nroles = [\"reports\"]\n[audit]",
        result: "gained",
        line: "gains   users/alice    publish   reports.>",
        code: 1,
    };
    change_policy(folder.path(), &next, &clients, change).await;
    let alice = connect(&url, "alice", "alice").await.unwrap();
    alice.talks_to_itself_on("reports.a").await;
}
