//! Tests of the test kit's nats-server.

use std::time::Duration;

use callgate_testkit::nats_server::installed_versions;
use callgate_testkit::wait::PATIENCE;
use callgate_testkit::{NatsServer, Process, eventually, process};
use futures_util::StreamExt;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

#[tokio::test]
async fn every_version_starts_serves_and_stops() {
    for version in installed_versions() {
        let mut server = NatsServer::builder().version(&version.to_string()).start().await;
        let client = async_nats::connect(server.url()).await.unwrap();
        assert_eq!(client.server_info().version, version.to_string());
        let mut inbox = client.subscribe("greetings").await.unwrap();
        client.publish("greetings", "hello".into()).await.unwrap();
        assert_eq!(inbox.next().await.unwrap().payload, "hello");
        server.stop().await;
        assert!(server.log().contains("Server Exiting"), "{}", server.log());
    }
}

#[tokio::test]
async fn frozen_server_answers_after_it_resumes() {
    let mut server = NatsServer::start("").await;
    let client = async_nats::connect(server.url()).await.unwrap();
    server.freeze().await;
    let flush = client.flush();
    tokio::pin!(flush);
    client.publish("anything", "".into()).await.unwrap();
    let mut stream = TcpStream::connect(("127.0.0.1", server.port())).await.unwrap();
    let greeting = timeout(Duration::from_millis(200), stream.read_u8()).await;
    assert!(greeting.is_err(), "a frozen server says nothing");
    server.thaw();
    flush.await.unwrap();
    async_nats::connect(server.url()).await.unwrap();
}

#[tokio::test]
async fn restarted_server_keeps_its_ports() {
    let mut server = NatsServer::start("http: \"127.0.0.1:{{monitor_port}}\"").await;
    let (url, monitor, pid) = (server.url(), server.monitor_url(), server.pid());
    server.kill();
    assert!(async_nats::connect(&url).await.is_err());
    server.restart().await;
    assert_eq!((server.url(), server.monitor_url()), (url.clone(), monitor));
    assert_ne!(server.pid(), pid);
    async_nats::connect(&url).await.unwrap();
}

#[tokio::test]
async fn reload_applies_the_new_configuration() {
    let mut server = NatsServer::start("authorization { user: a, password: old }").await;
    assert!(logs_in(&server, "old").await && !logs_in(&server, "new").await);
    server.reload("authorization { user: a, password: new }").await;
    assert!(logs_in(&server, "new").await && !logs_in(&server, "old").await);
}

async fn logs_in(server: &NatsServer, password: &str) -> bool {
    let options = async_nats::ConnectOptions::with_user_and_password("a".into(), password.into());
    options.connect(server.url()).await.is_ok()
}

#[tokio::test]
async fn log_shows_a_refused_login() {
    let mut server = NatsServer::start("authorization { user: a, password: b }").await;
    assert!(async_nats::connect(server.url()).await.is_err());
    let line = server.wait_for_log("authentication error").await;
    assert!(line.contains("[ERR]"), "{line}");
}

#[tokio::test]
#[should_panic(expected = "nats-server does not start")]
async fn invalid_configuration_fails_with_the_server_message() {
    NatsServer::start("authorization { users: 7 }").await;
}

#[tokio::test]
async fn builder_files_are_found_by_the_configuration() {
    let config =
        "authorization { include \"users.conf\" }\njetstream { store_dir: \"{{dir}}/js\" }";
    let server = NatsServer::builder()
        .file("users.conf", "user: a, password: b")
        .config(config)
        .start()
        .await;
    assert!(logs_in(&server, "b").await && !logs_in(&server, "c").await);
    assert!(server.folder().join("js").is_dir());
}

#[tokio::test]
async fn dropped_server_exits() {
    let server = NatsServer::start("").await;
    let url = server.url();
    drop(server);
    assert!(async_nats::connect(&url).await.is_err());
}

/// The grandchild stands for a server, its parent for a test runner that is killed.
#[tokio::test]
async fn process_dies_with_its_test() {
    let test = std::env::current_exe().unwrap();
    let mut runner = Process::builder("a test runner", test)
        .args(["--exact", "starts_a_server_and_waits", "--nocapture"])
        .env("CALLGATE_TESTKIT_WAIT", "1")
        .start();
    let line = runner.wait_for_stderr("server port ").await;
    let port: u16 = line.rsplit(' ').next().unwrap().parse().unwrap();
    let refused = async || TcpStream::connect(("127.0.0.1", port)).await.is_err();
    assert!(!refused().await);
    process::send_signal("KILL", runner.pid());
    eventually("the server to die", PATIENCE, async || refused().await.then_some(())).await;
}

/// The child process of the test above; run alone, it only checks that a server starts.
#[tokio::test]
async fn starts_a_server_and_waits() {
    let server = NatsServer::start("").await;
    assert!(server.log().contains("Server is ready"));
    if std::env::var_os("CALLGATE_TESTKIT_WAIT").is_some() {
        eprintln!("server port {}", server.port());
        std::future::pending::<()>().await;
    }
}

#[tokio::test]
async fn output_and_exit_can_be_awaited() {
    let script = "echo out; echo \"$GREETING\" >&2; read line || exit 3";
    let mut program =
        Process::builder("a script", "sh").args(["-c", script]).env("GREETING", "hi there").start();
    assert_eq!(program.wait_for_stderr("hi").await, "hi there");
    assert_eq!(program.wait_for_exit(PATIENCE).await.code(), Some(3));
    assert_eq!(program.stdout(), "out\n");
}
