//! The examples run unchanged against a real nats-server.

use std::path::PathBuf;

use callgate::async_nats::ConnectOptions;
use callgate_testkit::{NatsServer, Nkey, Process, eventually, wait::PATIENCE};

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
