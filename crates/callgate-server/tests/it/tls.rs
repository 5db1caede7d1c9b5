//! The connection to NATS over TLS: if TLS is required, nothing is sent in cleartext.

use std::{
    fs,
    io::{Read, Write},
    net::TcpListener,
    sync::mpsc,
    thread,
};

use callgate_testkit::{oidc_provider::Authority, wait::PATIENCE};
use serde_json::json;
use tempfile::TempDir;

use crate::support::{Pair, callgate_in, command, has, run, serve_with, write_private};

/// A server without TLS, or an attacker on the path: sends its greeting in cleartext, and returns what the
/// client sends.
fn eavesdropper() -> (u16, mpsc::Receiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, heard) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let info = json!({ "server_id": "N", "version": "2.12.8", "proto": 1, "headers": true,
                "max_payload": 1_048_576, "auth_required": true, "host": "127.0.0.1", "port": port });
            let mut answer = vec![0; 4096];
            let greeted = write!(stream, "INFO {info}\r\n").and_then(|()| stream.read(&mut answer));
            answer.truncate(greeted.unwrap_or_default());
            if sender.send(answer).is_err() {
                return;
            }
        }
    });
    (port, heard)
}

/// A folder with a valid configuration that has this in its `[nats]` section, and `ca.pem`.
fn folder(nats: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(callgate_in(folder.path(), &["init", "--demo", "."]).code, 0);
    fs::write(folder.path().join("ca.pem"), Authority::new("ours").pem()).unwrap();
    let text = format!(
        "[nats]\nuser = \"auth\"\npassword = {{ env = \"PASSWORD\" }}\n{nats}\n
[issuer]
seed = {{ file = \"issuer.nk\" }}
xkeys = [{{ file = \"xkey.xk\" }}]
[[authenticators]]
[authenticators.users]
file = \"users.json\"
[admin]
listen = \"127.0.0.1:0\"
[log]
format = \"json\"
"
    );
    fs::write(folder.path().join("callgate.toml"), text).unwrap();
    folder
}

/// Runs `check` on that folder.
fn check(folder: &TempDir) -> crate::support::CommandOutput {
    let arguments = ["check", "--config", "callgate.toml"];
    run(command(folder.path(), &arguments).env("PASSWORD", "x"), b"")
}

#[tokio::test]
async fn required_tls_prevents_cleartext_passwords() {
    for (servers, table) in [
        ("\"nats://127.0.0.1:PORT\"", "tls = { ca = \"ca.pem\" }"),
        ("\"nats://127.0.0.1:PORT\"", "tls = {}"),
        ("\"nats://127.0.0.1:PORT\"", "tls = { first = true }"),
        ("\"tls://127.0.0.1:PORT\"", ""),
        // Like the address of a server discovered from another one.
        ("[\"tls://localhost:1\", \"nats://127.0.0.1:PORT\"]", ""),
    ] {
        let (port, heard) = eavesdropper();
        let servers = servers.replace("PORT", &port.to_string());
        let folder = folder(&format!("servers = {servers}\n{table}"));
        let arguments = ["--config", "callgate.toml"];
        let mut gate = serve_with(folder.path(), &arguments, &[("PASSWORD", "canary")]).await;
        // A connection closed without data proves nothing.
        let mut said = std::iter::from_fn(|| heard.recv_timeout(PATIENCE).ok());
        for _ in 0..2 {
            let said = said.find(|said| !said.is_empty()).unwrap();
            // RFC 8446, section 5.1: a handshake record.
            assert_eq!(said.first(), Some(&22), "{servers} {table}: {said:?}");
        }
        assert_eq!(gate.get("/readyz").await.0, 503);
        gate.terminate().await;
    }
}

#[tokio::test]
async fn tls_server_is_verified_by_its_ca() {
    let (authority, files) = (Authority::new("ours"), tempfile::tempdir().unwrap());
    let (certificate, key) = authority.server_pem();
    let path = |name: &str| files.path().join(name).display().to_string();
    for (name, text) in [("ca.pem", authority.pem()), ("cert.pem", &certificate), ("key.pem", &key)]
    {
        write_private(&files.path().join(name), text);
    }
    let server =
        format!("tls {{ cert_file: \"{}\", key_file: \"{}\" }}", path("cert.pem"), path("key.pem"));
    let gate = format!("[nats.tls]\nca = \"{}\"", path("ca.pem"));
    let users = json!({ "alice": { "pass": "alice", "account": "APP" } });
    let pair = Pair::builder(users).server_config(&server).gate_config(&gate).start().await;
    assert_eq!(pair.gate.metric("callgate_nats_connected").await, 1.0);
}

#[tokio::test]
async fn tls_failures_are_logged_with_advice() {
    let (ours, theirs, files) =
        (Authority::new("ours"), Authority::new("theirs"), tempfile::tempdir().unwrap());
    let (certificate, key) = theirs.server_pem();
    let path = |name: &str| files.path().join(name).display().to_string();
    for (name, text) in [
        ("ours.pem", ours.pem()),
        ("theirs.pem", theirs.pem()),
        ("cert.pem", &certificate),
        ("key.pem", &key),
    ] {
        write_private(&files.path().join(name), text);
    }
    let tls = format!("cert_file: \"{}\", key_file: \"{}\"", path("cert.pem"), path("key.pem"));
    let verified = format!("tls {{ {tls}, ca_file: \"{}\", verify: true }}", path("ours.pem"));
    let ca = |name: &str| format!("[nats.tls]\nca = \"{}\"", path(name));
    for (server, gate, words) in [
        (format!("tls {{ {tls} }}"), ca("ours.pem"), ["UnknownIssuer", "nats.tls.ca"]),
        (String::new(), ca("ours.pem"), ["InvalidContentType", "the server does not use TLS"]),
        (verified, ca("theirs.pem"), ["CertificateRequired", "set nats.tls.cert"]),
    ] {
        let users = json!({ "alice": { "pass": "alice", "account": "APP" } });
        let pair = Pair::builder(users).server_config(&server).gate_config(&gate).never_ready();
        let pair = pair.start().await;
        let reported = pair.gate.record(0, &["cannot connect to NATS"]).await.to_string();
        has(&reported, &words);
        has(&reported, &[&format!("127.0.0.1:{}", pair.server.port())]);
    }
}

/// Reported before connecting to a server.
#[test]
fn unusable_tls_files_are_errors() {
    let (authority, other) = (Authority::new("ours"), Authority::new("theirs"));
    let ((certificate, key), (_, other_key)) = (authority.server_pem(), other.server_pem());
    let cases = [
        ("ca = \"absent.pem\"", "nats.tls.ca: cannot read"),
        ("ca = \"garbage\"", "nats.tls.ca: "),
        ("ca = \"key.pem\"", "nats.tls.ca: "),
        ("ca = \"broken.pem\"", "nats.tls.ca: "),
        ("cert = \"cert.pem\"", "nats.tls: `cert` and `key` belong together"),
        ("cert = \"cert.pem\"\nkey = \"absent.pem\"", "nats.tls.key: cannot read"),
        ("cert = \"cert.pem\"\nkey = \"garbage\"", "nats.tls.key: "),
        ("cert = \"cert.pem\"\nkey = \"cert.pem\"", "nats.tls.key: "),
        ("cert = \"cert.pem\"\nkey = \"other.pem\"", "does not match the certificate"),
        ("cert = \"garbage\"\nkey = \"key.pem\"", "nats.tls.cert: "),
    ];
    for (table, words) in cases {
        let folder = folder(&format!("servers = \"nats://127.0.0.1:1\"\n[nats.tls]\n{table}"));
        for (name, text) in [
            ("garbage", "hello\n"),
            ("broken.pem", "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n"),
            ("cert.pem", &certificate),
            ("key.pem", &key),
            ("other.pem", &other_key),
        ] {
            write_private(&folder.path().join(name), text);
        }
        let ran = check(&folder);
        assert_eq!(ran.code, 2, "{table}: {ran:?}");
        has(&ran.stdout, &[words, "1 error"]);
        let good = "ca = \"ca.pem\"\ncert = \"cert.pem\"\nkey = \"key.pem\"";
        let path = folder.path().join("callgate.toml");
        fs::write(&path, fs::read_to_string(&path).unwrap().replace(table, good)).unwrap();
        assert_eq!(check(&folder).code, 0);
    }
}

#[test]
fn cleartext_websocket_with_required_tls_is_an_error() {
    let folder = folder("servers = [\"wss://127.0.0.1:1\", \"ws://127.0.0.1:2\"]\ntls = {}");
    let ran = check(&folder);
    assert_eq!(ran.code, 2, "{ran:?}");
    has(&ran.stdout, &["nats.servers: a `ws://` server has no TLS", "write `wss://`"]);
}
