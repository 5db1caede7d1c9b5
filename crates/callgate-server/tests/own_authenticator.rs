//! The stock service with custom authenticators: runs the examples unchanged on a real nats-server.

#![allow(clippy::panic, clippy::unwrap_used, reason = "test code: a panic is how a test fails")]

use std::{fs, path::PathBuf};

use async_nats::ConnectOptions;
use callgate_testkit::{NatsServer, Nkey, Process, eventually, wait::PATIENCE};
use futures_util::StreamExt;

/// The binary of an example, built by Cargo together with the tests.
fn example(name: &str) -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let folder = tests.parent().and_then(|deps| deps.parent()).unwrap().join("examples");
    let binary = folder.join(name);
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
        [authenticators.{table}
        [roles.guest]
        subscribe = ["news.>"]
        [[bindings]]
        account = "APP"
        roles = ["guest"]
        "#,
        server.url()
    )
}

/// A secret that must not appear anywhere.
const SECRET: &str = "canary-password";

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

fn run(
    name: &str,
    arguments: &[&str],
    configuration: &str,
    issuer: &Nkey,
) -> (Process, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("callgate.toml"), configuration).unwrap();
    fs::write(folder.path().join("password"), SECRET).unwrap();
    let process = Process::builder(name, example(name))
        .current_dir(folder.path())
        .args(arguments)
        .args(["--config", "callgate.toml"])
        .env("NATS_PASSWORD", "auth")
        .env("ISSUER_SEED", issuer.seed())
        .env("INVITATION", "open sesame")
        .start();
    (process, folder)
}

#[tokio::test]
async fn custom_authenticator_kind_can_be_registered() {
    let issuer = Nkey::account();
    let server = server(&issuer).await;
    let table = "invitation]\ncode = { env = \"INVITATION\" }";
    let (_service, _folder) =
        run("own_authenticator", &["serve"], &configuration(&server, table), &issuer);
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
async fn custom_kind_errors_are_reported_like_builtin_ones() {
    let issuer = Nkey::account();
    let server = server(&issuer).await;
    for (table, error) in [
        (
            "invitation]\ncode = { env = \"INVITATION\" }\nkode = 1",
            "authenticators[0].invitation.kode",
        ),
        ("invitation]", "authenticators[0].invitation.code: is missing"),
    ] {
        let (mut check, _folder) =
            run("own_authenticator", &["check"], &configuration(&server, table), &issuer);
        let status = check.wait_for_exit(PATIENCE).await;
        let said = check.stdout() + &check.stderr();
        assert_eq!(status.code(), Some(2), "{said}");
        assert!(said.contains(error), "{said}");
    }
}

/// The panic message contains the password, which must appear neither in the log nor in `explain`.
#[tokio::test]
async fn panic_refuses_one_client_and_reveals_no_secret() {
    let issuer = Nkey::account();
    let server = server(&issuer).await;
    let configuration = configuration(&server, "panicking]");
    let (service, _folder) = run("panicking_authenticator", &["serve"], &configuration, &issuer);
    let login = |user: &str| {
        let login = ConnectOptions::with_user_and_password(user.to_owned(), SECRET.to_owned());
        login.connect(server.url())
    };
    let guest = eventually("a guest", PATIENCE, async || login("guest").await.ok()).await;
    assert!(login("boom").await.is_err());
    assert!(login("another").await.is_ok(), "the panic hurt another client");
    drop(guest);
    let log = eventually("the record of the refusal", PATIENCE, async || {
        let log = service.stderr();
        (log.contains("it panicked") && log.contains("panicking_authenticator.rs")).then_some(log)
    })
    .await;
    assert!(!log.contains(SECRET), "{log}");
    assert!(log.contains("backend_unavailable"), "{log}");

    let boom = ["explain", "--user", "boom", "--password", "@password"];
    let (mut explain, _folder) = run("panicking_authenticator", &boom, &configuration, &issuer);
    let status = explain.wait_for_exit(PATIENCE).await;
    let said = explain.stdout() + &explain.stderr();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("panicking_authenticator.rs"), "where it was: {said}");
    assert!(said.contains("it panicked") && !said.contains(SECRET), "{said}");
}
