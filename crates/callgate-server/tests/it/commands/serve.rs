//! `callgate serve` from flags and variables, over a file and without one.

use callgate_testkit::NatsServer;
use serde_json::json;

use crate::support::{Pair, callgate_in, command, connect, has, run, serve, serve_with};

/// A pair whose gate has gone, so that another can be started by other means.
async fn pair() -> Pair {
    let users = json!({ "alice": { "pass": "alice", "account": "APP" } });
    let mut pair = Pair::builder(users).start().await;
    pair.gate.terminate().await;
    pair
}

async fn lets_alice_in(server: &NatsServer) {
    connect(&server.url(), "alice", "alice").await.unwrap();
}

/// All that the service needs.
fn flags<'a>(url: &'a str, password: &'a str, issuer: &'a str) -> [&'a str; 14] {
    [
        "--nats-url",
        url,
        "--nats-user",
        "watcher",
        "--nats-password",
        password,
        "--issuer-seed",
        issuer,
        "--xkey-seed",
        "@xkey.xk",
        "--users",
        "users.json",
        "--admin-listen",
        "127.0.0.1:0",
    ]
}

#[tokio::test]
async fn flags_alone_are_enough() {
    let pair = pair().await;
    let url = pair.server.url();
    let flags = flags(&url, "env:PASSWORD", "@issuer.nk");
    let gate = serve_with(pair.folder.path(), &flags, &[("PASSWORD", "watcher")]).await;
    gate.ready().await;
    lets_alice_in(&pair.server).await;
    assert!(!gate.log().contains("command line"), "{}", gate.log());
}

#[tokio::test]
async fn variables_alone_are_enough_and_others_are_ignored() {
    let pair = pair().await;
    let url = pair.server.url();
    let (issuer, xkey) = (pair.issuer.seed(), pair.xkey.seed());
    let variables = [
        ("CALLGATE_NATS_URL", url.as_str()),
        ("CALLGATE_NATS_USER", "watcher"),
        ("CALLGATE_NATS_PASSWORD", "watcher"),
        ("CALLGATE_ISSUER_SEED", &issuer),
        ("CALLGATE_XKEY_SEED", &xkey),
        ("CALLGATE_USERS", "users.json"),
        ("CALLGATE_ADMIN_LISTEN", "127.0.0.1:0"),
        ("CALLGATE_SERVICE_PORT", "tcp://10.0.0.1:8280"),
    ];
    let gate = serve_with(pair.folder.path(), &[], &variables).await;
    gate.ready().await;
    lets_alice_in(&pair.server).await;
    assert!(!gate.log().contains(&issuer) && !gate.log().contains("SERVICE_PORT"));
}

#[tokio::test]
async fn a_flag_goes_before_a_variable_and_both_before_the_file() {
    let pair = pair().await;
    pair.rewrite_config(|text| {
        text.replace(&pair.server.url(), "nats://127.0.0.1:1").replace("xkey.xk", "other.xk")
    });
    crate::support::write_private(
        &pair.path("other.xk"),
        &callgate_testkit::CurveKey::generate().seed(),
    );
    let flags = ["--config", "callgate.toml", "--nats-url", &pair.server.url()];
    let variables =
        [("CALLGATE_NATS_URL", "nats://127.0.0.1:2"), ("CALLGATE_XKEY_SEED", "@xkey.xk")];
    let gate = serve_with(pair.folder.path(), &flags, &variables).await;
    gate.ready().await;
    lets_alice_in(&pair.server).await;
    for key in ["nats.servers", "issuer.xkeys"] {
        let told = gate.record(0, &[&format!("\"key\":\"{key}\"")]).await;
        has(&told.to_string(), &["takes the place of a key in the file"]);
    }
}

#[tokio::test]
async fn a_literal_secret_on_the_command_line_works_and_is_warned_about() {
    let pair = pair().await;
    let (url, issuer) = (pair.server.url(), pair.issuer.seed());
    let flags = flags(&url, "watcher", &issuer);
    let gate = serve(pair.folder.path(), &flags).await;
    gate.ready().await;
    lets_alice_in(&pair.server).await;
    has(&gate.log(), &["nats.password", "issuer.seed", "use @FILE or env:NAME"]);
}

#[test]
fn a_users_flag_or_variable_beside_a_configuration_is_wrong_usage() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(callgate_in(folder.path(), &["init", "--demo", "."]).code, 0);
    for command_name in ["serve", "check", "explain"] {
        let arguments = [command_name, "--config", "callgate.toml"];
        let flag =
            callgate_in(folder.path(), &[&arguments[..], &["--users", "users.json"]].concat());
        let variable = run(command(folder.path(), &arguments).env("CALLGATE_USERS", "u.json"), b"");
        for ran in [flag, variable] {
            assert_eq!(ran.code, 2, "{ran:?}");
            has(&ran.stderr, &["--users", "--config", "[authenticators.users]"]);
        }
    }
}

#[test]
fn stdin_is_not_a_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let ran = run(&mut command(folder.path(), &["serve", "--config", "-"]), b"[nats]\n");
    assert_eq!(ran.code, 2, "{ran:?}");
}

#[test]
fn a_secret_flag_whose_file_or_variable_is_not_there_is_a_fault() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(callgate_in(folder.path(), &["init", "--demo", "."]).code, 0);
    let cases = [
        ("@nowhere.nk", ["issuer.seed", "cannot read", "nowhere.nk"]),
        ("env:CALLGATE_NOT_SET", ["issuer.seed", "`CALLGATE_NOT_SET`", "is not set"]),
        ("nonsense", ["issuer.seed", "holds no seed", "the value"]),
        ("", ["issuer.seed", "empty", "secret"]),
    ];
    for (value, words) in cases {
        let arguments = ["serve", "--config", "callgate.toml", "--issuer-seed", value];
        let ran = callgate_in(folder.path(), &arguments);
        assert_eq!(ran.code, 2, "{ran:?}");
        has(&ran.stderr, &words);
    }
}
