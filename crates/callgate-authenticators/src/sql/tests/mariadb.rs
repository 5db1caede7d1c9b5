use callgate_testkit::{
    databases::{MariaDb, ServerTls},
    oidc_provider::Authority,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

fn tables() -> String {
    format!(
        "create table users (name varchar(64), hash text, roles json, enabled boolean default true, until timestamp null, age int unsigned, size decimal(6,2));\n\
         insert into users values ('alice', '{HASH}', '[\"reader\"]', true, '2037-01-01', 7, 1.5);\n\
         create user callgate@'127.0.0.1' identified by 'secret';\n\
         grant select on app.* to callgate@'127.0.0.1';"
    )
}

const QUERY: &str = "query = \"SELECT name AS user, hash AS password, roles, NOT enabled AS disabled, until AS expires, age, size FROM users WHERE name = ?\"";

fn gate(server: &MariaDb, rest: &str) -> Gate {
    let url = server.url("callgate", "secret");
    Gate::new(&format!("url = \"{url}\"\nconnect_timeout = \"10s\"\n{rest}"))
}

#[tokio::test]
async fn sql_typed_name_is_not_the_identity() {
    let server = MariaDb::start(&tables()).await;
    let with_user = gate(&server, QUERY);
    for name in ["alice", "ALICE", "\u{e1}lice", "alice  "] {
        let identity = with_user.admits(name).await;
        assert_eq!(identity.user, "alice", "{name}");
    }
    let alice = with_user.admits("alice").await;
    assert_eq!(alice.proposal.roles.unwrap(), ["reader"]);
    assert_eq!(alice.claims["age"], 7);
    assert_eq!(alice.claims["size"], 1.5);
    assert_eq!(alice.expires_at.unwrap().seconds(), 2_114_380_800);
    assert_rejected(with_user.login("alice", "wrong").await, Reason::BadPassword);
    assert_rejected(with_user.login("' OR 1=1 -- ", "right").await, Reason::UnknownUser);
    let without = gate(&server, "query = \"SELECT hash AS password FROM users WHERE name = ?\"");
    let report = without.probe().await.unwrap();
    assert!(report.warnings[0].contains("collation"), "{report:?}");
}

#[tokio::test]
async fn sessions_of_mariadb_cannot_write_and_end_in_time() {
    let grant = "grant insert on app.* to callgate@'127.0.0.1';";
    let server = MariaDb::start(&format!("{}\n{grant}", tables())).await;
    let insert =
        "query = \"INSERT INTO users (name) VALUES (?) RETURNING name AS user, hash AS password\"";
    let error = unavailable(gate(&server, insert).login("eve", "right").await);
    assert!(error.contains("READ ONLY"), "{error}");
    let report = gate(&server, QUERY).probe().await.unwrap();
    assert!(report.warnings[0].contains("may write"), "{report:?}");
    let url = server.url("callgate", "secret");
    let sleep = "query = \"SELECT hash AS password, SLEEP(60) FROM users WHERE name = ?\"";
    let slow = Gate::with_timeout(
        &format!("url = \"{url}\"\nconnect_timeout = \"10s\"\nconnections = 1\n{sleep}"),
        Duration::from_millis(500),
    );
    for _ in 0..2 {
        unavailable(slow.login("alice", "right").await);
    }
}

#[tokio::test]
async fn mariadb_is_reached_with_verified_tls_only() {
    let authority = Authority::new("test");
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, authority.pem()).unwrap();
    let tls = format!("tls = {{ ca = \"{}\" }}\n{QUERY}", ca.display());
    let plain = MariaDb::start(&tables()).await;
    let error = unavailable(gate(&plain, &tls).login("alice", "right").await);
    assert!(error.contains("does not support TLS"), "{error}");
    let (certificate, key) = authority.server_pem();
    let server = MariaDb::start_with(&tables(), Some(&ServerTls { certificate, key })).await;
    gate(&server, &tls).admits("alice").await;
    let url = server.url("callgate", "secret").replace("127.0.0.1", "localhost");
    let renamed = tls.replace(" }", ", server_name = \"127.0.0.1\" }");
    let renamed = format!("url = \"{url}\"\nconnect_timeout = \"10s\"\n{renamed}");
    Gate::new(&renamed).admits("alice").await;
    unavailable(gate(&server, &format!("tls = {{}}\n{QUERY}")).login("alice", "right").await);
}

#[tokio::test]
async fn mariadb_restarts_cost_no_login() {
    let mut server = MariaDb::start(&tables()).await;
    let gate = gate(&server, QUERY);
    gate.admits("alice").await;
    server.stop().await;
    server.start_again().await;
    gate.admits("alice").await;
}

/// A server that logs Callgate in and answers every statement with a request for a file.
#[tokio::test]
async fn sql_hostile_server_gets_no_file() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "canary").unwrap();
    let path = file.display().to_string();
    let server = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut greeting = b"\x0a8.0.0\0\x01\0\0\0abcdefgh\0".to_vec();
        // All capabilities but TLS, utf8mb4, autocommit.
        greeting.extend(b"\xff\xf7\x21\x02\0\xff\xff\x15\0\0\0\0\0\0\0\0\0\0abcdefghijkl\0");
        greeting.extend(b"mysql_native_password\0");
        send(&mut socket, 0, &greeting).await;
        let mut received = vec![0; 4096];
        let _login = socket.read(&mut received).await.unwrap();
        send(&mut socket, 2, &[0, 0, 0, 2, 0, 0, 0]).await;
        let mut all = Vec::new();
        while let Ok(count @ 1..) = socket.read(&mut received).await {
            all.extend_from_slice(&received[..count]);
            let request = [&[0xfb][..], path.as_bytes()].concat();
            send(&mut socket, 1, &request).await;
        }
        all
    });
    let url = format!("mysql://callgate:secret@127.0.0.1:{port}/app");
    let gate = Gate::with_timeout(
        &format!("url = \"{url}\"\nconnect_timeout = \"1s\"\nconnections = 1\n{QUERY}"),
        Duration::from_secs(2),
    );
    unavailable(gate.login("alice", "right").await);
    drop(gate);
    let received = tokio::time::timeout(PATIENCE, server).await.unwrap().unwrap();
    assert!(!received.is_empty());
    assert!(!String::from_utf8_lossy(&received).contains("canary"));
}

async fn send(socket: &mut tokio::net::TcpStream, sequence: u8, payload: &[u8]) {
    let length = u32::try_from(payload.len()).unwrap().to_le_bytes();
    let header = [length[0], length[1], length[2], sequence];
    let _closed = socket.write_all(&[&header[..], payload].concat()).await;
}
