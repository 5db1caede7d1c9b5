//! The examples run unchanged against a real nats-server.

use std::{fs, path::PathBuf};

use callgate::async_nats::ConnectOptions;
use callgate_testkit::{
    CurveKey, NatsServer, Nkey, Process, eventually, pages::checkout, wait::PATIENCE,
};
use sha2::{Digest, Sha256};
use sqlx::{Connection, SqliteConnection, sqlite::SqliteConnectOptions};
use tempfile::TempDir;

use crate::server::{Callout, VERSIONS, login};

/// The binary of an example, which Cargo builds next to the tests.
fn example(name: &str) -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let folder = tests.parent().and_then(|deps| deps.parent()).unwrap().join("examples");
    let binary = folder.join(name);
    assert!(
        binary.is_file(),
        "{binary:?} does not exist: run `cargo test` without `--test` to build it"
    );
    binary
}

async fn admits(server: &NatsServer, user: &str, password: &str) -> bool {
    login(server, user, password).await.is_ok()
}

async fn admits_token(server: &NatsServer, token: &str) -> bool {
    let login = ConnectOptions::with_token(token.to_owned()).connection_timeout(PATIENCE);
    login.connect(server.url()).await.is_ok()
}

async fn wait_for_admission(admits: impl AsyncFn() -> bool) {
    let first = "the example's first admission";
    eventually(first, PATIENCE, async || admits().await.then_some(())).await;
}

#[tokio::test]
async fn closure_example_admits_the_right_token_only() {
    for version in VERSIONS {
        let callout = Callout::start(version, true).await;
        let _example = Process::builder("closure", example("closure"))
            .env("NATS_URL", callout.server.url())
            .env("NATS_PASSWORD", "auth")
            .env("ISSUER_SEED", callout.issuer.seed())
            .env("XKEY_SEED", callout.xkey.as_ref().unwrap().seed())
            .start();
        wait_for_admission(async || admits_token(&callout.server, "let me in").await).await;
        assert!(!admits_token(&callout.server, "let me out").await);
        assert!(!admits(&callout.server, "alice", "let me in").await);
    }
}

#[tokio::test]
async fn handle_example_works_without_a_nats_client() {
    for version in VERSIONS {
        for sealed in [false, true] {
            let callout = Callout::start(version, sealed).await;
            let mut example = Process::builder("handle", example("handle"))
                .env("NATS_ADDRESS", format!("127.0.0.1:{}", callout.server.port()))
                .env("NATS_USER", "auth")
                .env("NATS_PASSWORD", "auth")
                .env("ISSUER_SEED", callout.issuer.seed());
            if let Some(key) = &callout.xkey {
                example = example.env("XKEY_SEED", key.seed());
            }
            let _example = example.start();
            wait_for_admission(async || admits(&callout.server, "alice", "wonderland").await).await;
            assert!(!admits(&callout.server, "alice", "underland").await);
        }
    }
}

#[tokio::test]
async fn closure_example_reports_an_invalid_seed() {
    let mut example = Process::builder("closure", example("closure"))
        .env("NATS_URL", "nats://127.0.0.1:1")
        .env("ISSUER_SEED", Nkey::user().seed())
        .env("XKEY_SEED", "")
        .start();
    let status = example.wait_for_exit(PATIENCE).await;
    assert!(!status.success());
    assert!(example.stderr().contains("account seed"), "{}", example.stderr());
}

/// A server and the seed files of its callout, named as `callgate init` names them.
struct Folder {
    folder: TempDir,
    server: NatsServer,
}

impl Folder {
    async fn new() -> Self {
        let issuer = Nkey::account();
        let xkey = CurveKey::generate();
        let auth = Nkey::user();
        let config = format!(
            "accounts {{ AUTH {{ users: [ {{ nkey: {auth} }} ] }}, APP {{}} }}
             authorization {{
               auth_callout {{ issuer: {}, xkey: {}, account: AUTH, auth_users: [ {auth} ] }}
             }}",
            issuer.public(),
            xkey.public(),
            auth = auth.public()
        );
        let folder = tempfile::tempdir().unwrap();
        for (name, seed) in
            [("issuer.nk", issuer.seed()), ("xkey.xk", xkey.seed()), ("auth.nk", auth.seed())]
        {
            fs::write(folder.path().join(name), format!("{seed}\n")).unwrap();
        }
        Self { folder, server: NatsServer::start(&config).await }
    }

    fn start(&self, name: &str) -> Process {
        Process::builder(name, example(name))
            .env("NATS_URL", self.server.url())
            .current_dir(self.folder.path())
            .start()
    }
}

#[tokio::test]
async fn visitors_example_admits_the_right_token_only() {
    let folder = Folder::new().await;
    let _example = folder.start("visitors");
    wait_for_admission(async || admits_token(&folder.server, "let me in").await).await;
    assert!(!admits_token(&folder.server, "let me out").await);
}

#[tokio::test]
async fn database_example_looks_tokens_up() {
    let folder = Folder::new().await;
    let file = folder.folder.path().join("tokens.db");
    let options = SqliteConnectOptions::new().filename(file).create_if_missing(true);
    let mut database = SqliteConnection::connect_with(&options).await.unwrap();
    let table = "CREATE TABLE tokens (sha256 BLOB PRIMARY KEY, name TEXT NOT NULL)";
    sqlx::query(table).execute(&mut database).await.unwrap();
    let example = folder.start("database");
    let prints = async |text: &str| {
        eventually(text, PATIENCE, async || example.stdout().contains(text).then_some(())).await;
    };
    let insert = sqlx::query("INSERT INTO tokens VALUES (?, 'anna')");
    let insert = insert.bind(Sha256::digest("annas-token").to_vec());
    insert.execute(&mut database).await.unwrap();
    wait_for_admission(async || admits_token(&folder.server, "annas-token").await).await;
    assert!(!admits_token(&folder.server, "other-token").await);
    prints("unknown token").await;
    sqlx::query("DROP TABLE tokens").execute(&mut database).await.unwrap();
    assert!(!admits_token(&folder.server, "annas-token").await);
    prints("unavailable the database failed").await;
}

/// From their imports on.
#[test]
fn library_page_shows_the_examples() {
    let page = fs::read_to_string(checkout("docs/library.md")).unwrap();
    for name in ["visitors", "database"] {
        let path = checkout(&format!("crates/callgate/examples/{name}.rs"));
        let text = fs::read_to_string(path).unwrap();
        let start = text.find("\nuse ").unwrap() + 1;
        let block = format!("```rust\n{}```\n", &text[start..]);
        assert!(page.contains(&block), "docs/library.md does not show {name}.rs");
    }
}
