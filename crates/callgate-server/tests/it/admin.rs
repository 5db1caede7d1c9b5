//! The admin endpoint while clients misuse it.

use std::{fs, time::Instant};

use callgate_testkit::{eventually, wait::PATIENCE};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::{Credential, Pair};

/// In bytes.
const MAX_GROWTH: u64 = 24 * 1024 * 1024;

async fn open(pair: &Pair) -> TcpStream {
    TcpStream::connect(pair.gate.admin_address()).await.expect("a connection")
}

/// Everything that the endpoint answers until it closes the connection.
async fn answer(pair: &Pair, request: &[u8]) -> String {
    let mut stream = open(pair).await;
    // Fails if the endpoint closes the connection before it has read everything.
    let _ = stream.write_all(request).await;
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes));
    let _ = read.await.expect("the connection is closed");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Bytes of physical memory that the service uses.
fn memory(pair: &Pair) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", pair.gate.process.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() * 1024
}

fn users() -> serde_json::Value {
    json!({ "alice": { "pass": "alice", "account": "APP" } })
}

#[tokio::test]
async fn idle_and_partial_requests_do_not_disturb_the_service() {
    // As on a system with a low limit: every descriptor that the endpoint takes is missed elsewhere.
    let mut pair = Pair::of(users()).await;
    pair.gate.process.limit("nofile", 256).unwrap();
    let alice = Credential::password("alice", "alice");
    pair.admits(&alice).await;
    for path in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(pair.gate.get(path).await.0, 200);
    }
    let before = memory(&pair);
    let mut held = Vec::new();
    for _ in 0..1100 {
        held.push(open(&pair).await);
    }
    let partial = format!("GET /livez HTTP/1.1\r\nX-Padding: {}", "x".repeat(380_000));
    for _ in 0..400 {
        let mut stream = open(&pair).await;
        // Fails if the endpoint closes the connection before it has read everything.
        let _ = stream.write_all(partial.as_bytes()).await;
        held.push(stream);
    }
    for path in ["/livez", "/readyz", "/metrics"] {
        let asked = Instant::now();
        assert_eq!(pair.gate.get(path).await.0, 200, "{path} after {:?}", asked.elapsed());
    }
    let growth = memory(&pair).saturating_sub(before);
    assert!(growth < MAX_GROWTH, "{growth} bytes");

    // Logins, reloads and reconnects go on.
    pair.admits(&alice).await;
    let carol = json!({ "carol": { "pass": "carol", "account": "APP" } });
    pair.write("users.json", carol.to_string());
    pair.gate.metric_reaches("callgate_config_reloads_total{result=\"ok\"}", 1.0).await;
    pair.admits(&Credential::password("carol", "carol")).await;
    let mark = pair.gate.mark();
    pair.server.restart().await;
    pair.gate.says(mark, "ready: answering").await;
    pair.admits(&Credential::password("carol", "carol")).await;
    drop(held);
}

#[tokio::test]
async fn half_open_request_is_closed_after_the_header_timeout() {
    let pair = Pair::of(users()).await;
    for request in [&b""[..], b"GET /livez HTTP/1.1\r\nHost: gate\r\n"] {
        let began = Instant::now();
        answer(&pair, request).await;
        let open_for = began.elapsed().as_secs_f64();
        assert!(open_for >= 4.5, "{open_for} s");
    }
}

#[tokio::test]
async fn only_small_http_1_requests_without_a_body_are_served() {
    let pair = Pair::of(users()).await;
    let header =
        |size| format!("GET /livez HTTP/1.1\r\nHost: gate\r\nX-A: {}\r\n\r\n", "x".repeat(size));
    let body = "GET /livez HTTP/1.1\r\nHost: gate\r\nContent-Length: 4\r\n\r\nbody";
    let chunked =
        "GET /livez HTTP/1.1\r\nHost: gate\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    let post = "POST /livez HTTP/1.1\r\nHost: gate\r\nContent-Length: 0\r\n\r\n";
    let head = "HEAD /livez HTTP/1.1\r\nHost: gate\r\n\r\n";
    for (what, request, status) in [
        ("an ordinary request", header(6000), "HTTP/1.1 200 "),
        ("8 KiB of headers", header(8192), "HTTP/1.1 431 "),
        ("a body", body.to_owned(), "HTTP/1.1 413 "),
        ("a chunked body", chunked.to_owned(), "HTTP/1.1 413 "),
        ("another method", post.to_owned(), "HTTP/1.1 405 "),
        ("a request for the headers", head.to_owned(), "HTTP/1.1 200 "),
    ] {
        let found = answer(&pair, request.as_bytes()).await;
        assert!(found.starts_with(status), "{what}: {found}");
    }
    // HTTP/2 with prior knowledge: the preface and an empty SETTINGS frame.
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";
    let found = answer(&pair, preface).await;
    assert!(found.is_empty() || found.starts_with("HTTP/1.1 4"), "{found:?}");
}

#[tokio::test]
async fn endpoint_waits_for_descriptors_without_spinning() {
    let pair = Pair::of(users()).await;
    pair.gate.process.keep_descriptors_exhausted().await.unwrap();
    let pid = pair.gate.process.pid();
    let _waits = open(&pair).await;
    let before = cpu_ticks(pid);
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let used = cpu_ticks(pid) - before;
    // A loop without a pause would use most of 200 ticks.
    assert!(used < 50, "{used} ticks of 10 ms in two seconds");
    pair.gate.process.limit("nofile", 1024).unwrap();
    eventually("an answer", PATIENCE, async || pair.gate.try_get("/livez").await).await;
}

/// User and system time in hundredths of a second (proc_pid_stat(5), fields 14 and 15).
fn cpu_ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let after_name = stat.rsplit_once(") ").unwrap().1;
    let fields: Vec<_> = after_name.split(' ').collect();
    [11, 12].map(|index| fields[index].parse::<u64>().unwrap()).iter().sum()
}
