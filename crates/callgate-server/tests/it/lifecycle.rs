//! The life of the process: it starts without a server, survives the loss of one, and shuts down without
//! losing a request.

use std::{
    net::TcpListener,
    os::unix::net::UnixDatagram,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use async_nats::ConnectError;
use callgate_testkit::{
    eventually,
    wait::{LONG, PATIENCE},
};
use serde_json::json;
use tokio::task::JoinHandle;

use crate::support::{
    Credential, Pair, Service, callgate_in, connect, connect_to, expect_no_admission, has, serve,
    serve_with,
};

fn users() -> serde_json::Value {
    json!({ "alice": { "pass": "alice", "account": "APP" } })
}

fn alice() -> Credential {
    Credential::password("alice", "alice")
}

#[tokio::test]
async fn server_that_is_down_at_start_is_waited_for() {
    let mut pair = Pair::builder(users()).server_down().start().await;
    let warned = pair.gate.record(0, &["cannot connect to NATS"]).await;
    has(&warned.to_string(), &["not ready, retrying"]);
    assert_eq!(pair.gate.get("/livez").await.0, 200);
    let (status, why) = pair.gate.get("/readyz").await;
    assert_eq!(status, 503);
    has(&why, &["no connection to NATS"]);
    assert_eq!(pair.gate.metric("callgate_nats_connected").await, 0.0);
    pair.server.restart().await;
    pair.gate.ready().await;
    assert_eq!(pair.gate.metric("callgate_nats_connected").await, 1.0);
    pair.admits(&alice()).await;
}

#[tokio::test]
async fn restarted_server_with_new_keys_is_served() {
    let mut pair = Pair::of(users()).await;
    pair.admits(&alice()).await;
    let mark = pair.gate.mark();
    pair.server.stop().await;
    pair.gate.says(mark, "lost connection to NATS").await;
    eventually("not ready", PATIENCE, async || {
        (pair.gate.get("/readyz").await.0 == 503).then_some(())
    })
    .await;
    pair.server.restart().await;
    pair.gate.ready().await;
    pair.admits(&alice()).await;
}

#[tokio::test]
async fn unconfirmed_service_is_connected_but_not_ready() {
    let mut pair = Pair::of(users()).await;
    let silent = pair.server_config.replace("\"$SYS.REQ.USER.INFO\", ", "");
    assert_ne!(silent, pair.server_config);
    // Clients get no answer from now on.
    pair.server.reload(&silent).await;
    pair.server.restart().await;
    let why = "the server does not answer `$SYS.REQ.USER.INFO`";
    not_ready(&pair.gate, why).await;
    assert_eq!(pair.gate.metric("callgate_nats_connected").await, 1.0);

    // A service started now does not join the queue group.
    let fresh = serve(pair.folder.path(), &["--config", "callgate.toml"]).await;
    not_ready(&fresh, why).await;
    pair.gate.terminate().await;
    expect_no_admission(&pair.server.url(), "alice", "alice").await;
    assert_eq!(fresh.decisions(0).len(), 0, "{}", fresh.log());

    pair.server.reload(&pair.server_config).await;
    pair.server.restart().await;
    fresh.ready().await;
    assert!(connect_to(&pair.server.url(), &alice()).await.is_ok());
}

/// Waits until `/readyz` reports this reason.
async fn not_ready(gate: &Service, reason: &str) {
    eventually(reason, LONG, async || {
        let (status, why) = gate.get("/readyz").await;
        (status == 503 && why.contains(reason)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn sigterm_exits_cleanly_with_and_without_server() {
    let mut pair = Pair::of(users()).await;
    pair.gate.terminate().await;
    has(&pair.gate.log(), &["shutting down: finishing requests in flight"]);
    assert!(!pair.gate.log().contains("lost connection to NATS"), "{}", pair.gate.log());
    for server_is in ["frozen", "gone"] {
        pair.gate = serve(pair.folder.path(), &["--config", "callgate.toml"]).await;
        pair.gate.ready().await;
        match server_is {
            "frozen" => pair.server.freeze().await,
            _ => pair.server.stop().await,
        }
        pair.gate.terminate().await;
        pair.server.thaw();
    }
}

/// Clients that connect continuously until stopped.
struct Storm {
    stop: Arc<AtomicBool>,
    connected: Arc<AtomicU32>,
    clients: Vec<tokio::task::JoinHandle<Vec<String>>>,
}

impl Storm {
    fn start(url: &str) -> Self {
        let (stop, connected) = (Arc::<AtomicBool>::default(), Arc::<AtomicU32>::default());
        let clients = (0..4)
            .map(|_| {
                let (url, stop, connected) =
                    (url.to_owned(), Arc::clone(&stop), Arc::clone(&connected));
                tokio::spawn(async move {
                    let mut failures = Vec::new();
                    while !stop.load(Ordering::Relaxed) {
                        match connect(&url, "alice", "alice").await {
                            Ok(_) => drop(connected.fetch_add(1, Ordering::Relaxed)),
                            Err(error) => failures.push(error.to_string()),
                        }
                    }
                    failures
                })
            })
            .collect();
        Self { stop, connected, clients }
    }

    async fn lets_in_more(&self) {
        let before = self.connected.load(Ordering::Relaxed);
        eventually("twenty more connections", PATIENCE, async || {
            (self.connected.load(Ordering::Relaxed) > before + 20).then_some(())
        })
        .await;
    }

    async fn failures(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        let mut failures = Vec::new();
        for client in self.clients {
            failures.extend(client.await.unwrap());
        }
        failures
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rolling_replacement_loses_no_login() {
    let mut pair = Pair::of(users()).await;
    let storm = Storm::start(&pair.server.url());
    storm.lets_in_more().await;
    for _ in 0..2 {
        let fresh = serve(pair.folder.path(), &["--config", "callgate.toml"]).await;
        fresh.ready().await;
        storm.lets_in_more().await;
        pair.gate.terminate().await;
        pair.gate = fresh;
        storm.lets_in_more().await;
    }
    assert_eq!(storm.failures().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reload_under_load_refuses_no_client() {
    let mut pair = Pair::of(users()).await;
    let storm = Storm::start(&pair.server.url());
    for _ in 0..3 {
        let mark = pair.gate.mark();
        pair.gate.process.signal("HUP");
        pair.gate.says(mark, "configuration reloaded").await;
        storm.lets_in_more().await;
    }
    assert_eq!(storm.failures().await, Vec::<String>::new());
}

#[tokio::test]
async fn admin_port_in_use_prevents_start() {
    let pair = Pair::of(users()).await;
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let arguments = ["serve", "--config", "callgate.toml", "--admin-listen", &address];
    let ran = callgate_in(pair.folder.path(), &arguments);
    assert_eq!(ran.code, 2, "{ran:?}");
    has(&ran.stderr, &["admin.listen", &address, "free the port or choose another one"]);
}

#[tokio::test]
async fn stopped_process_resumes_when_continued() {
    let mut pair = Pair::of(users()).await;
    pair.gate.process.freeze().await;
    // The server gives up after two seconds, the longest stall that is tolerated.
    expect_no_admission(&pair.server.url(), "alice", "alice").await;
    pair.gate.process.signal("CONT");
    eventually("an admission", PATIENCE, async || {
        connect(&pair.server.url(), "alice", "alice").await.ok()
    })
    .await;
    assert!(pair.gate.process.exit_status().is_none());
    assert_eq!(pair.gate.get("/readyz").await.0, 200);
}

#[tokio::test]
async fn systemd_watchdog_is_notified_until_process_freezes() {
    let mut pair = Pair::of(users()).await;
    let path = pair.path("notify");
    let systemd = UnixDatagram::bind(&path).unwrap();
    systemd.set_read_timeout(Some(PATIENCE)).unwrap();
    let variables = [("NOTIFY_SOCKET", path.to_str().unwrap()), ("WATCHDOG_USEC", "400000")];
    let folder = pair.folder.path();
    pair.gate = serve_with(folder, &["--config", "callgate.toml"], &variables).await;
    let mut heard = [0; 32];
    for _ in 0..3 {
        let length = systemd.recv(&mut heard).unwrap();
        assert_eq!(&heard[..length], b"WATCHDOG=1");
    }
    pair.gate.process.freeze().await;
    systemd.set_nonblocking(true).unwrap();
    while systemd.recv(&mut heard).is_ok() {}
    systemd.set_nonblocking(false).unwrap();
    systemd.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    assert!(systemd.recv(&mut heard).is_err(), "a stopped process says nothing");
}

#[tokio::test]
async fn admin_endpoint_serves_exactly_three_paths() {
    let pair = Pair::of(users()).await;
    assert_eq!(pair.gate.get("/livez").await, (200, "ok\n".to_owned()));
    assert_eq!(pair.gate.get("/readyz").await, (200, "ready\n".to_owned()));
    assert_eq!(pair.gate.get("/metrics").await.0, 200);
    for path in ["/", "/config", "/debug", "/metrics/", "/..%2fetc"] {
        assert_eq!(pair.gate.get(path).await.0, 404, "{path}");
    }
}

/// Names, types and a sample before the first request.
const METRICS: [(&str, &str, &str); 13] = [
    (
        "callgate_decisions_total",
        "counter",
        "{authenticator=\"staff\",outcome=\"admitted\",reason=\"admitted\",cause=\"\"} 0",
    ),
    ("callgate_decision_duration_seconds", "histogram", "_count 0"),
    ("callgate_stage_duration_seconds", "histogram", "_count{stage=\"decide\"} 0"),
    ("callgate_in_flight", "gauge", " 0"),
    ("callgate_dropped_total", "counter", "{reason=\"not_encrypted\"} 0"),
    ("callgate_authenticator_duration_seconds", "histogram", "_count{authenticator=\"staff\"} 0"),
    ("callgate_jwks_refresh_total", "counter", ""),
    ("callgate_kubernetes_service_accounts", "gauge", " 0"),
    ("callgate_ceiling_dropped_total", "counter", "{authenticator=\"staff\"} 0"),
    ("callgate_config_reloads_total", "counter", "{result=\"failed\"} 0"),
    ("callgate_nats_connected", "gauge", " 1"),
    ("callgate_clock_skew_seconds", "gauge", " 0"),
    ("callgate_build_info", "gauge", "{version=\""),
];

#[tokio::test]
async fn metrics_are_declared_at_start_in_the_negotiated_format() {
    let pair = Pair::of(users()).await;
    let (_, text) = pair.gate.get("/metrics").await;
    for (name, kind, sample) in METRICS {
        let help = format!("# HELP {name} ");
        has(&text, &[&help, &format!("# TYPE {name} {kind}\n"), &format!("{name}{sample}")]);
    }
    assert!(!text.contains("# EOF") && !text.contains("# UNIT"), "{text}");
    for (accept, content_type, words) in [
        (
            "*/*",
            "text/plain; version=0.0.4; charset=utf-8",
            "# TYPE callgate_dropped_total counter",
        ),
        (
            "application/openmetrics-text;version=1.0.0,text/plain;q=0.5",
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            "# TYPE callgate_dropped counter",
        ),
    ] {
        let answer = pair.gate.get_accepting("/metrics", accept).await;
        has(&answer, &[&format!("content-type: {content_type}\r\n"), words]);
    }
}

#[tokio::test]
async fn metric_labels_contain_no_client_input() {
    let pair = Pair::of(users()).await;
    pair.admits(&alice()).await;
    pair.refuses(&Credential::password("canary-user", "canary-password")).await;
    pair.refuses(&Credential::token("canary-token")).await;
    let (_, text) = pair.gate.get("/metrics").await;
    assert!(!text.contains("canary") && !text.contains("alice"), "{text}");
    let sample = |outcome: &str, reason: &str| {
        let (authenticator, cause) =
            if reason == "bad_token" { ("none", "malformed") } else { ("staff", "") };
        format!(
            "callgate_decisions_total{{authenticator=\"{authenticator}\",outcome=\"{outcome}\",reason=\"{reason}\",cause=\"{cause}\"}}"
        )
    };
    for (outcome, reason) in
        [("admitted", "admitted"), ("refused", "unknown_user"), ("refused", "bad_token")]
    {
        assert_eq!(pair.gate.metric(&sample(outcome, reason)).await, 1.0, "{text}");
    }
    assert_eq!(pair.gate.metric("callgate_in_flight").await, 0.0);
}

#[tokio::test]
async fn every_decision_is_logged_once_with_its_ids() {
    let pair = Pair::of(users()).await;
    let mark = pair.gate.mark();
    let (session, decision) = pair.attempt(&alice()).await;
    pair.refuses(&Credential::password("alice", "wrong")).await;
    assert_eq!(pair.gate.decisions(mark).len(), 2);
    for field in ["server_id", "server", "user_nkey", "request", "expires", "client_host"] {
        assert!(!decision[field].as_str().unwrap().is_empty(), "{field} of {decision}");
    }
    let info = session.unwrap().client.server_info();
    assert_eq!(decision["server_id"], info.server_id);
    assert_eq!(decision["client_id"], info.client_id);
    assert_eq!(decision["connection"], "nats");
    assert_eq!(decision["client_name"], "tester");
    assert_eq!((&decision["user"], &decision["account"]), (&json!("alice"), &json!("APP")));
    assert_eq!(decision["authenticator"], "staff");
}

/// A pair, its log position, and a login in flight whose hash takes about a second.
async fn with_a_slow_login() -> (Pair, usize, JoinHandle<Result<(), ConnectError>>) {
    let hash = "$2b$13$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";
    let pair = Pair::of(json!({ "slow": { "pass": hash, "account": "APP" } })).await;
    let (mark, url) = (pair.gate.mark(), pair.server.url());
    let login = tokio::spawn(async move { connect(&url, "slow", "wrong").await.map(drop) });
    pair.gate.metric_reaches("callgate_in_flight", 1.0).await;
    (pair, mark, login)
}

/// `callgate_in_flight` is sampled at scrape time.
#[tokio::test]
async fn in_flight_is_current_while_disconnected() {
    let (mut pair, mark, login) = with_a_slow_login().await;
    pair.server.kill();
    pair.gate.says(mark, "lost connection to NATS").await;
    assert!(login.await.unwrap().is_err());
    pair.gate.decision(mark).await;
    eventually("nothing in flight", PATIENCE, async || {
        (pair.gate.metric("callgate_in_flight").await == 0.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn login_in_flight_finishes_before_exit() {
    let (mut pair, mark, login) = with_a_slow_login().await;
    pair.gate.terminate().await;
    assert!(login.await.unwrap().is_err());
    assert_eq!(pair.gate.decisions(mark).len(), 1);
    // The client was refused by an answer, not by the server's timeout.
    pair.server.wait_for_log("Auth callout service returned an error").await;
}

#[tokio::test]
async fn stop_without_a_server_is_quick_and_clean() {
    let mut pair = Pair::of(users()).await;
    pair.server.stop().await;
    pair.gate.not_ready().await;
    let mark = pair.gate.mark();
    let began = std::time::Instant::now();
    pair.gate.terminate().await;
    let took = began.elapsed().as_secs_f64();
    // Before, it waited for two timeouts of two seconds.
    assert!(took < 1.9, "{took} s");
    let log = pair.gate.log()[mark..].to_owned();
    has(&log, &["\"message\":\"stopped\""]);
    assert!(!log.contains("WARN") && !log.contains("in flight did not finish"), "{log}");
}

#[tokio::test]
async fn failed_start_is_json_if_the_log_is() {
    let folder = tempfile::tempdir().unwrap();
    let config =
        "[log]\nformat = \"json\"\n[nats]\nservers = \"nats://127.0.0.1:1\"\nnonsense = 1\n";
    std::fs::write(folder.path().join("callgate.toml"), config).unwrap();
    let ran = crate::support::callgate_in(folder.path(), &["serve", "--config", "callgate.toml"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    let records: Vec<serde_json::Value> = ran
        .stderr
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line}")))
        .collect();
    let faults = records.iter().filter_map(|record| record["fault"].as_str());
    assert!(faults.clone().any(|fault| fault.contains("nonsense")), "{records:?}");
    let last = records.last().unwrap();
    assert_eq!((&last["level"], &last["message"]), (&"ERROR".into(), &"cannot start".into()));
}

#[tokio::test]
async fn text_records_have_no_empty_fields() {
    let pair = Pair::builder(users()).gate_config("[log]\nformat = \"text\"\n").start().await;
    let mark = pair.gate.mark();
    let url = pair.server.url();
    drop(crate::support::connect(&url, "alice", "alice").await);
    drop(crate::support::connect(&url, "alice", "wrong").await);
    pair.gate.says(mark, "login admitted").await;
    let refused = pair.gate.says(mark, "login refused").await;
    has(&refused, &["outcome=\"refused\"", "reason=bad_password"]);
    assert!(!pair.gate.log().contains("=\"\""), "{}", pair.gate.log());
}
