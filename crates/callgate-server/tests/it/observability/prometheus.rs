//! A real Prometheus scrapes a running service: the rules are tested, and every panel has data.
//!
//! With `CALLGATE_DASHBOARD_DATA=FILE`, the test runs for four minutes and writes what every panel shows to
//! that file: `scripts/dashboard_picture.py` draws it.

use std::{
    fs,
    io::Write,
    path::Path,
    process::Command,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use callgate_testkit::{Process, eventually, ports::free_port, tools, wait::LONG};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{
    dashboard::{self, Panel},
    promql,
};
use crate::{
    sessions::world::{Options, World},
    support::{CALLGATE, Credential, WebService, connect_to},
};

const DATA: &str = "CALLGATE_DASHBOARD_DATA";
/// How long the run for the picture takes.
const PICTURE_TIME: Duration = Duration::from_secs(240);

#[test]
fn promtool_accepts_the_rules_and_every_case_passes() {
    let folder = callgate_testkit::pages::checkout("deploy/observability/prometheus");
    for arguments in
        [["check", "rules", "callgate.rules.yaml"], ["test", "rules", "callgate.test.yaml"]]
    {
        let mut promtool = Command::new(tools::installed("prometheus/bin/promtool"));
        let ran = promtool.args(arguments).current_dir(&folder).output().unwrap();
        let output = String::from_utf8_lossy(&ran.stdout) + String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.success() && output.contains("SUCCESS"), "{arguments:?}: {output}");
    }
}

/// Prometheus, until it is dropped.
struct Prometheus {
    address: String,
    _process: Process,
    _folder: tempfile::TempDir,
}

impl Prometheus {
    async fn start(targets: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let rules = callgate_testkit::pages::checkout(
            "deploy/observability/prometheus/callgate.rules.yaml",
        );
        let config = json!({
            "global": { "scrape_interval": "2s", "scrape_timeout": "2s", "evaluation_interval": "2s" },
            "rule_files": [rules.canonicalize().unwrap()],
            "scrape_configs": [{ "job_name": "callgate", "static_configs": [{ "targets": targets }] }],
        });
        fs::write(folder.path().join("prometheus.yml"), config.to_string()).unwrap();
        let address = format!("127.0.0.1:{}", free_port());
        let process = Process::builder("prometheus", tools::installed("prometheus/bin/prometheus"))
            .args(["--config.file=prometheus.yml", "--storage.tsdb.path=data"])
            .arg(format!("--web.listen-address={address}"))
            .current_dir(folder.path())
            .start();
        let prometheus = Self { address, _process: process, _folder: folder };
        eventually("prometheus to be ready", LONG, async || {
            prometheus.get("/-/ready").await.filter(|text| text.contains("Ready")).map(drop)
        })
        .await;
        prometheus
    }

    async fn get(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect(&self.address).await.ok()?;
        // Answers to HTTP/1.0 are not sent in chunks.
        let request = format!("GET {path} HTTP/1.0\r\nHost: prometheus\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned())
    }

    /// The series of a query between two times in seconds.
    async fn range(&self, expression: &str, times: (u64, u64), step: u64) -> Vec<Value> {
        let (start, end) = times;
        let query =
            percent_encoding::utf8_percent_encode(expression, percent_encoding::NON_ALPHANUMERIC);
        let path = format!("/api/v1/query_range?query={query}&start={start}&end={end}&step={step}");
        let answer = self.get(&path).await.expect("an answer of prometheus");
        let answer: Value = serde_json::from_str(&answer).unwrap_or_else(|_| panic!("{answer}"));
        assert_eq!(answer["status"], "success", "{expression}: {answer}");
        answer["data"]["result"].as_array().unwrap().clone()
    }
}

/// An expression of the dashboard as Grafana sends it.
fn expanded(expression: &str, interval: &str) -> String {
    let expression = expression.replace("$__rate_interval", interval);
    expression.replace("$job", ".+").replace("$instance", ".+")
}

fn seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// The values that are numbers.
fn values(series: &Value) -> impl Iterator<Item = f64> {
    let values = series["values"].as_array().into_iter().flatten();
    let numbers = values.filter_map(|value| value[1].as_str()?.parse::<f64>().ok());
    numbers.filter(|number| number.is_finite())
}

/// What the service is configured with beside the usual parts.
fn more(web: &str) -> String {
    format!(
        "[[authenticators]]
name = \"service\"
timeout = \"10s\"
account = \"APP\"
[authenticators.http]
url = \"{web}\"
takes = [\"token\"]
[authenticators.ceiling]
publish = [\"robots.>\"]
[[expected]]
account = \"OTHER\"
sources = [\"10.0.0.0/8\"]
"
    )
}

/// Everything that a panel shows happens: one round of logins, orders and changes.
async fn round(world: &World, number: usize) {
    let url = world.servers.servers[0].url();
    let login = async |credential: Credential| drop(connect_to(&url, &credential).await);
    for user in ["alice", "carol", "user3", "user4"] {
        login(Credential::password(user, user)).await;
    }
    login(Credential::token("guest-alice")).await;
    login(Credential::password("alice", "wrong")).await;
    login(Credential::password("mallory", "x")).await;
    login(Credential::token("token-of-a-robot")).await;
    login(Credential::token("eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJ4In0.c2ln")).await;
    let limited = world.login("limited").await;
    limited.client.publish("secret", "x".into()).await.unwrap();
    limited.client.flush().await.unwrap();
    let kicked = world.login("user1").await;
    world.run_aside(&["kick", "--user", "user1", "--yes"]).await;
    drop(kicked);
    let locked = world.run_aside(&["lock", "--user", "user2", "--ttl", "1h", "--json"]).await;
    login(Credential::password("user2", "user2")).await;
    let locked: Value = serde_json::from_str(&locked.stdout).unwrap_or_default();
    if let (Some(id), 2) = (locked["id"].as_str(), number % 3) {
        world.run_aside(&["unlock", id]).await;
    }
    remove_and_restore(world, "user5").await;
    touch(&world.path(0, "callgate.toml"), number);
    drop(limited);
}

/// Removes a connected user, which ends the session.
async fn remove_and_restore(world: &World, user: &str) {
    let mut session = world.login(user).await;
    let path = world.path(0, "staff.json");
    let before = fs::read_to_string(&path).unwrap();
    let mut users: Value = serde_json::from_str(&before).unwrap();
    users.as_object_mut().unwrap().remove(user);
    replace(&path, &users.to_string());
    session.hears("disconnected").await;
    drop(session);
    let mark = world.gates[0].mark();
    replace(&path, &before);
    world.gates[0].says(mark, "the changed file is in force").await;
}

/// A change that makes the service reload.
fn touch(path: &Path, number: usize) {
    let text = fs::read_to_string(path).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with("# round "));
    let text: String = lines.map(|line| format!("{line}\n")).collect();
    replace(path, &format!("{text}# round {number}\n"));
}

fn replace(path: &Path, text: &str) {
    let fresh = path.with_extension("fresh");
    fs::write(&fresh, text).unwrap();
    fs::rename(&fresh, path).unwrap();
}

/// Panels that show only zeros while nothing is wrong.
const QUIET: [&str; 7] = [
    "In flight",
    "In flight by replica",
    "Bad tokens by cause",
    "Dropped requests by reason",
    "Queues",
    "Losses",
    "Clock",
];

/// Panels that have no data yet.
async fn empty(prometheus: &Prometheus, panels: &[Panel], since: u64) -> Vec<String> {
    let mut empty = Vec::new();
    for panel in panels {
        let mut moves = QUIET.contains(&&*panel.title);
        for target in &panel.targets {
            let expression = expanded(&target.expression, "15s");
            let found = prometheus.range(&expression, (since, seconds()), 1).await;
            if found.iter().flat_map(values).next().is_none() {
                empty.push(format!("{}: {expression}", panel.title));
            }
            moves |= found.iter().flat_map(values).any(|value| value != 0.0);
        }
        if !moves {
            empty.push(format!("{}: only zeros", panel.title));
        }
    }
    empty
}

#[tokio::test(flavor = "multi_thread")]
async fn every_panel_and_alert_is_evaluated_over_a_real_run() {
    let web = WebService::start().await;
    // A token has no user name.
    let robot =
        json!({ "result": "allow", "user": "robot", "permissions": { "pub": ["robots.a"] } });
    web.answer("", robot);
    let world = World::with(Options { more: more(web.url()).leak(), ..Options::default() }).await;
    let log = world.servers.servers[0].folder().join("watched.log");
    let watcher = watch(&world, &log).await;
    let targets = [world.gates[0].admin_address(), watcher.1.as_str()];
    let prometheus = Prometheus::start(&targets).await;
    let panels = dashboard::panels(&dashboard::read());
    let _connected = world.login("alice").await;
    let since = seconds();
    let begun = Instant::now();
    let file = std::env::var_os(DATA);
    let mut number = 0;
    let mut copied = 0;
    loop {
        round(&world, number).await;
        number += 1;
        copied += append(&log, &world.servers.servers[0].log(), copied);
        let missing = empty(&prometheus, &panels, since).await;
        let is_long_enough = file.is_none() || begun.elapsed() >= PICTURE_TIME;
        if missing.is_empty() && is_long_enough {
            break;
        }
        assert!(begun.elapsed() < 4 * LONG, "no data after {number} rounds: {missing:#?}");
    }
    if let Some(file) = file {
        fs::write(file, shown(&prometheus, &panels, since).await.to_string()).unwrap();
    }
    // The rules were loaded by the same Prometheus, and the run has refused logins.
    eventually("the alert about refusals", LONG, async || {
        round(&world, number).await;
        let alerts = prometheus.get("/api/v1/alerts").await?;
        alerts.contains("CallgateRefusals").then_some(())
    })
    .await;
    let rules = prometheus.get("/api/v1/rules").await.unwrap();
    assert!(!rules.contains("\"health\":\"err\""), "{rules}");
    assert!(rules.matches("\"health\":\"ok\"").count() > 10, "{rules}");
    assert_eq!(promql::errors("callgate_ready"), Vec::<String>::new());
}

/// Appends what follows the first bytes of the server's log; returns its length.
fn append(path: &Path, log: &str, copied: usize) -> usize {
    let end = log.rfind('\n').map_or(0, |end| end + 1);
    let fresh = log.get(copied..end).unwrap_or_default();
    let mut file = fs::OpenOptions::new().append(true).open(path).unwrap();
    file.write_all(fresh.as_bytes()).unwrap();
    fresh.len()
}

/// `callgate watch-log`, and the address of its metrics.
async fn watch(world: &World, log: &Path) -> (Process, String) {
    fs::write(log, "").unwrap();
    let arguments =
        ["watch-log", log.to_str().unwrap(), "--server", "n0", "--listen", "127.0.0.1:0"];
    let watcher = Process::builder("watch-log", CALLGATE)
        .args(arguments)
        .current_dir(world.path(0, ""))
        .start();
    let address = eventually("the address", LONG, async || {
        watcher.stdout().split_whitespace().last().map(str::to_owned)
    })
    .await;
    (watcher, address)
}

/// What each panel shows, for the picture.
async fn shown(prometheus: &Prometheus, panels: &[Panel], since: u64) -> Value {
    let mut all = Vec::new();
    let times = (since + 15, seconds());
    for Panel { section, title, kind, unit, targets } in panels {
        let mut series = Vec::new();
        for target in targets {
            let expression = expanded(&target.expression, "20s");
            for found in prometheus.range(&expression, times, 4).await {
                let mut name = target.legend.clone();
                for (label, value) in found["metric"].as_object().unwrap() {
                    name = name.replace(&format!("{{{{{label}}}}}"), value.as_str().unwrap());
                }
                series.push(json!({ "name": name, "values": found["values"] }));
            }
        }
        all.push(json!({ "section": section, "title": title, "type": kind, "unit": unit, "series": series }));
    }
    Value::Array(all)
}
