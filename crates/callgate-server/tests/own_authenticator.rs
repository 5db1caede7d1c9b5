//! The example of the same name runs as it stands, against a real nats-server.

#![allow(clippy::panic, clippy::unwrap_used, reason = "test code: a panic is how a test fails")]

use std::{fs, path::PathBuf};

use async_nats::ConnectOptions;
use callgate_testkit::{NatsServer, Nkey, Process, eventually, wait::PATIENCE};
use futures_util::StreamExt;

/// An example's binary, which Cargo builds beside the tests.
fn example() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let folder = tests.parent().and_then(|deps| deps.parent()).unwrap().join("examples");
    let binary = folder.join("own_authenticator");
    assert!(binary.is_file(), "{binary:?} is not there: `cargo test` without `--test` builds it");
    binary
}

fn configuration(server: &NatsServer, table: &str) -> String {
    format!(
        r#"
        [nats]
        servers = "{}"
        user = "auth"
        password = {{ env = "NATS_PASSWORD" }}
        [issuer]
        seed = {{ env = "ISSUER_SEED" }}
        [admin]
        listen = ""
        [[authenticators]]
        name = "party"
        [authenticators.invitation]
        {table}
        [roles.guest]
        subscribe = ["news.>"]
        [[bindings]]
        account = "APP"
        roles = ["guest"]
        "#,
        server.url()
    )
}

async fn server(issuer: &Nkey) -> NatsServer {
    NatsServer::start(&format!(
        "accounts {{ AUTH {{ users: [ {{ user: auth, password: auth }} ] }},
                     APP {{ users: [ {{ user: editor, password: editor }} ] }} }}
         authorization {{
           auth_callout {{ issuer: {}, account: AUTH, auth_users: [ auth, editor ] }}
         }}",
        issuer.public()
    ))
    .await
}

fn run(command: &str, configuration: &str, issuer: &Nkey) -> (Process, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("callgate.toml");
    fs::write(&file, configuration).unwrap();
    let process = Process::builder("own_authenticator", example())
        .args([command, "--config"])
        .arg(file)
        .env("NATS_PASSWORD", "auth")
        .env("ISSUER_SEED", issuer.seed())
        .env("INVITATION", "open sesame")
        .start();
    (process, folder)
}

#[tokio::test]
async fn the_stock_service_takes_one_more_kind_of_authenticator() {
    let issuer = Nkey::account();
    let server = server(&issuer).await;
    let table = "code = { env = \"INVITATION\" }";
    let (_service, _folder) = run("serve", &configuration(&server, table), &issuer);
    let with = |token: &str| ConnectOptions::with_token(token.to_owned()).connect(server.url());
    let guest = eventually("a guest", PATIENCE, async || with("open sesame").await.ok()).await;
    assert!(with("open barley").await.is_err());

    let mut news = guest.subscribe("news.>").await.unwrap();
    guest.flush().await.unwrap();
    let editor = ConnectOptions::with_user_and_password("editor".into(), "editor".into());
    let editor = editor.connect(server.url()).await.unwrap();
    eventually("the news", PATIENCE, async || {
        editor.publish("news.today", "a party".into()).await.unwrap();
        news.next().await.map(|message| assert_eq!(message.payload, "a party"))
    })
    .await;
}

#[tokio::test]
async fn faults_in_its_table_are_told_like_those_of_any_other() {
    let issuer = Nkey::account();
    let server = server(&issuer).await;
    for (table, fault) in [
        ("code = { env = \"INVITATION\" }\nkode = 1", "authenticators[0].invitation.kode"),
        ("", "authenticators[0].invitation.code: is missing"),
    ] {
        let (mut check, _folder) = run("check", &configuration(&server, table), &issuer);
        let status = check.wait_for_exit(PATIENCE).await;
        let said = check.stdout() + &check.stderr();
        assert_eq!(status.code(), Some(2), "{said}");
        assert!(said.contains(fault), "{said}");
    }
}
