//! `callgate serve` with flags and variables, with and without a configuration file.

use callgate_testkit::{NatsServer, Nkey};
use serde_json::{Value, json};

use crate::support::{
    Pair, callgate_in, command, connect, has, run, serve, serve_with, write_private,
};

/// A pair whose Callgate has exited, so that another one can be started.
async fn pair() -> Pair {
    let users = json!({ "alice": { "pass": "alice", "account": "APP" } });
    let mut pair = Pair::builder(users).start().await;
    pair.gate.terminate().await;
    pair
}

async fn lets_alice_in(server: &NatsServer) {
    connect(&server.url(), "alice", "alice").await.unwrap();
}

/// All required flags.
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
async fn flags_override_variables_and_both_override_the_file() {
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
        let reported = gate.record(0, &[&format!("\"key\":\"{key}\"")]).await;
        has(&reported.to_string(), &["overrides a key in the file"]);
    }
}

/// Login flags and variables, and the keys of the file that they override.
#[tokio::test]
async fn login_flags_replace_other_login_kinds_in_the_file() {
    let pair = pair().await;
    let (url, seed) = (pair.server.url(), Nkey::user().seed());
    let creds = format!(
        "-----BEGIN NATS USER JWT-----\nx.y.z\n------END NATS USER JWT------\n\n\
         -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    );
    write_private(&pair.path("nats.creds"), &creds);
    let nkey = "nkey = { file = \"auth.nk\" }";
    let with_user = url.replace("nats://", "nats://watcher:watcher@");
    let both = ["--nats-user", "watcher", "--nats-password", "env:PASSWORD"];
    let variables = [("CALLGATE_NATS_USER", "watcher"), ("CALLGATE_NATS_PASSWORD", "watcher")];
    // The file's login, flags, variables, and the overridden keys.
    type Case<'a> = (&'a str, &'a [&'a str], &'a [(&'a str, &'a str)], &'a [&'a str]);
    let cases: [Case<'_>; 6] = [
        (nkey, &both, &[], &["nats.nkey"]),
        ("creds = \"absent.creds\"", &both, &[], &["nats.creds"]),
        ("token = { env = \"UNSET\" }", &[], &variables, &["nats.token"]),
        ("user = \"watcher\"\npassword = \"other\"", &both[2..], &[], &["nats.password"]),
        (nkey, &["--nats-url", &with_user], &[], &["nats.nkey", "nats.servers"]),
        // A flag takes precedence over a variable, also for another kind of login.
        (nkey, &both, &[("CALLGATE_NATS_CREDS", "nats.creds")], &["nats.nkey"]),
    ];
    let before = std::fs::read_to_string(pair.path("callgate.toml")).unwrap();
    for (login, flags, variables, replaced) in cases {
        pair.write("callgate.toml", before.replace(nkey, login));
        let flags = [&["--config", "callgate.toml"], flags].concat();
        let variables = [&[("PASSWORD", "watcher")], variables].concat();
        let mut gate = serve_with(pair.folder.path(), &flags, &variables).await;
        gate.ready().await;
        let reported = gate.records(0).iter().filter(|it| has_override(it)).count();
        assert_eq!(reported, replaced.len(), "{login}: {}", gate.log());
        for key in replaced {
            gate.record(0, &[&format!("\"key\":\"{key}\""), "overrides a key"]).await;
        }
        gate.terminate().await;
    }
    let password = "user = \"watcher\"\npassword = \"watcher\"";
    pair.write("callgate.toml", before.replace(nkey, password));
    let check = |flags: &[&str], variables: &[(&str, &str)]| {
        let arguments = [&["check", "--config", "callgate.toml"], flags].concat();
        let mut check = command(pair.folder.path(), &arguments);
        run(check.env("PASSWORD", "x").envs(variables.iter().copied()), b"")
    };
    let creds = ["--nats-creds", "nats.creds"];
    for (flags, variables) in [(&creds[..], &[][..]), (&creds, &variables)] {
        let ran = check(flags, variables);
        assert_eq!(ran.code, 0, "{ran:?}");
    }
    // Two logins of the same precedence conflict, and both are checked.
    let ran = check(&[&both[..], &["--nats-creds", "absent.creds"]].concat(), &[]);
    assert_eq!(ran.code, 2, "{ran:?}");
    has(&ran.stdout, &["nats: has several logins", "nats.creds: cannot read"]);
    let ran = check(&["--nats-user", "watcher"], &[]);
    assert_eq!(ran.code, 0, "{ran:?}");
    pair.write("callgate.toml", &before);
    let ran = check(&["--nats-user", "watcher"], &[]);
    assert_eq!(ran.code, 2, "{ran:?}");
    has(&ran.stdout, &["nats.password: is missing: `user` requires it (or --nats-password)"]);
}

fn has_override(record: &Value) -> bool {
    record["message"].as_str().is_some_and(|message| message.contains("overrides a key"))
}

#[tokio::test]
async fn literal_secret_on_command_line_works_with_warning() {
    let pair = pair().await;
    let (url, issuer) = (pair.server.url(), pair.issuer.seed());
    let flags = flags(&url, "watcher", &issuer);
    let gate = serve(pair.folder.path(), &flags).await;
    gate.ready().await;
    lets_alice_in(&pair.server).await;
    has(&gate.log(), &["nats.password", "issuer.seed", "use @FILE or env:NAME"]);
}

#[test]
fn users_flag_with_configuration_is_wrong_usage() {
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

/// Treated as unset, it would give way to a source of lower precedence.
#[test]
fn non_utf8_variable_is_not_treated_as_unset() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(callgate_in(folder.path(), &["init", "--demo", "."]).code, 0);
    let names =
        ["NATS_URL", "NATS_USER", "NATS_PASSWORD", "ISSUER_SEED", "XKEY_SEED", "ADMIN_LISTEN"];
    for name in names.map(|name| format!("CALLGATE_{name}")) {
        for command_name in ["check", "serve"] {
            let mut check = command(folder.path(), &[command_name, "--config", "callgate.toml"]);
            let ran = run(check.env(&name, OsStr::from_bytes(b"canary\xff")), b"");
            assert_eq!(ran.code, 2, "{name}: {ran:?}");
            has(&ran.stderr, &[&format!("`{name}` is not UTF-8 text")]);
            assert!(!ran.text().contains("canary"), "{ran:?}");
        }
    }
    let arguments = ["check", "--config", "callgate.toml", "--issuer-seed", "env:SEED"];
    let ran = run(command(folder.path(), &arguments).env("SEED", OsStr::from_bytes(b"\xff")), b"");
    assert_eq!(ran.code, 2, "{ran:?}");
    has(&ran.stdout, &["issuer.seed: the environment variable `SEED` is not UTF-8 text"]);
}

#[test]
fn stdin_is_not_a_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let ran = run(&mut command(folder.path(), &["serve", "--config", "-"]), b"[nats]\n");
    assert_eq!(ran.code, 2, "{ran:?}");
}

#[test]
fn secret_flag_with_missing_source_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(callgate_in(folder.path(), &["init", "--demo", "."]).code, 0);
    let cases = [
        ("@nowhere.nk", ["issuer.seed", "cannot read", "nowhere.nk"]),
        ("env:CALLGATE_NOT_SET", ["issuer.seed", "`CALLGATE_NOT_SET`", "is not set"]),
        ("nonsense", ["issuer.seed", "contains no seed", "the value"]),
        ("", ["issuer.seed", "empty", "secret"]),
    ];
    for (value, words) in cases {
        let arguments = ["serve", "--config", "callgate.toml", "--issuer-seed", value];
        let ran = callgate_in(folder.path(), &arguments);
        assert_eq!(ran.code, 2, "{ran:?}");
        has(&ran.stderr, &words);
    }
}
