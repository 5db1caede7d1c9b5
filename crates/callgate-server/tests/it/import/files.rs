//! What `import` writes and says.

use std::{fs, os::unix::fs::PermissionsExt};

use serde_json::{Value, json};

use super::import;
use crate::support::{callgate_in, command, has, run};

const CONF: &str = "accounts {
  APP {
    jetstream: enabled
    users: [
      { user: alice, password: alice, permissions: { publish: \"a.>\", subscribe: \"a.>\" } }
    ]
  }
}
jetstream {}
port: 4333
";

#[test]
fn files_are_private_and_nothing_is_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let ran = import(folder.path(), CONF, &[]);
    assert_eq!(ran.code, 0, "{ran:?}");
    for name in
        ["callgate.toml", "users.json", "nats-server.conf", "issuer.nk", "xkey.xk", "auth.nk"]
    {
        let path = folder.path().join("gate").join(name);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600, "{name}");
        has(&ran.stdout, &[&format!("wrote gate/{name}")]);
    }
    has(
        &ran.stdout,
        &[
            "stays     nats-server.conf:3:5: `jetstream` of the account `APP`",
            "1 user and 0 roles imported",
        ],
    );
    let users = fs::read_to_string(folder.path().join("gate/users.json")).unwrap();
    let users: Value = serde_json::from_str(&users).unwrap();
    assert_eq!(users["alice"]["permissions"], json!({ "publish": ["a.>"], "subscribe": ["a.>"] }));
    assert_eq!(users["alice"]["account"], "APP");
    has(users["alice"]["password"].as_str().unwrap(), &["$argon2id$"]);
    let config = fs::read_to_string(folder.path().join("gate/callgate.toml")).unwrap();
    has(&config, &["nats://127.0.0.1:4333", "callout_account = \"CALLGATE\""]);
    let again = import(folder.path(), CONF, &[]);
    assert_eq!(again.code, 2, "{again:?}");
    has(&again.stderr, &["already exists: nothing was written"]);
    let checked = callgate_in(folder.path(), &["check", "gate/callgate.toml"]);
    assert_eq!(checked.code, 0, "{checked:?}");
}

#[test]
fn dry_run_writes_nothing_and_the_folder_has_a_default() {
    let folder = tempfile::tempdir().unwrap();
    let ran = import(folder.path(), CONF, &["--dry-run", "--json"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(report["users"], json!(["alice"]));
    assert_eq!(report["findings"][0]["kind"], "stays");
    assert_eq!(report["findings"][0]["line"], 3);
    assert!(!folder.path().join("gate").exists());
    assert_eq!(callgate_in(folder.path(), &["import", "nats-server.conf"]).code, 0);
    assert!(folder.path().join("callgate/users.json").exists());
}

#[test]
fn unusable_configurations_are_refused_with_their_position() {
    let folder = tempfile::tempdir().unwrap();
    for (conf, message) in [
        (
            "accounts {\n  A { users: [ { user: a, pasword: b } ] }\n}",
            "conf:2:27: nats-server does not know the key `pasword`",
        ),
        (
            "authorization { users: [ { user: a, password: b }, { user: a, password: c } ] }",
            "duplicate user `a`",
        ),
        (
            "authorization { users: [ { user: a, password: 1 } ] }",
            "expected a string, found an integer",
        ),
        ("operator: x.jwt", "conf:1:1: a server in operator mode"),
        (
            "authorization { auth_callout { issuer: A } }",
            "conf:1:17: an auth callout decides already",
        ),
        ("port: 4222\n", "has no user to import"),
        (
            "authorization { users: [ { user: a, password: b, permissions: { publish: a, pub: b } } ] }",
            "two spellings",
        ),
        ("authorization {\n  users: [ { user: a\n  ]\n}", "conf:3:3: "),
        (
            "authorization { user: a, password: $ABSENT }",
            "the variable `ABSENT` is neither defined above nor in",
        ),
        ("include other.conf", "conf:1:9: `other.conf`: cannot read it"),
    ] {
        let ran = import(folder.path(), conf, &[]);
        assert_eq!(ran.code, 2, "{conf}: {ran:?}");
        has(&format!("{}{}", ran.stdout, ran.stderr), &[message]);
        assert!(!folder.path().join("gate").exists());
    }
    assert_eq!(callgate_in(folder.path(), &["import", "absent.conf"]).code, 2);
    assert_eq!(callgate_in(folder.path(), &["import"]).code, 2);
}

#[test]
fn everything_that_differs_is_listed_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let conf = "accounts {
  A {
    exports: [ { service: s } ]
    mappings { x: y }
    limits { max_connections: 5 }
    users: [
      { user: p, password: p, proxy_required: true }
      { user: c, password: c, allowed_connection_types: [MQTT] }
      { user: x, password: \"$2x$04$broken\" }
      { user: d, password: d, permissions: { deny: x } }
    ]
  }
}
";
    let ran = import(folder.path(), conf, &[]);
    assert_eq!(ran.code, 2);
    has(
        &ran.stderr,
        &["nats-server.conf:10:46: nats-server does not know the key `deny` in `permissions`"],
    );
    let conf = conf.replace(
        "permissions: { deny: x }",
        "permissions: { publish: { deny: x }, allow_responses: on }",
    ) + "websocket { port: 8080, no_tls: true, token: t }
leafnodes { port: 7422 }
mqtt { port: 1883, no_auth_user: p }
";
    let ran = import(folder.path(), &conf, &[]);
    assert_eq!(ran.code, 1, "{ran:?}");
    has(
        &ran.stdout,
        &[
            "stays     nats-server.conf:3:5: `exports` of the account `A`",
            "stays     nats-server.conf:4:5: `mappings` of the account `A`",
            "stays     nats-server.conf:5:5: `limits` of the account `A`",
            "left out  nats-server.conf:7:31: user `p` stays in nats-server.conf: `proxy_required`",
            "left out  nats-server.conf:8:31: user `c` stays in nats-server.conf: Callgate cannot permit `MQTT` and refuse it over WebSocket",
            "left out  nats-server.conf:9:7: user `x` stays in nats-server.conf: Callgate cannot verify this bcrypt hash",
            "differs   nats-server.conf:10:55: with `allow_responses` and no `allow`",
            "left out  nats-server.conf:14:39: `token` of `websocket`",
            "differs   nats-server.conf:15:13: leaf nodes log in as users",
            "left out  nats-server.conf:16:20: `no_auth_user`: clients without a credential stay user `p`",
            "1 user and 0 roles imported; 3 users stay with nats-server",
        ],
    );
}

#[test]
fn includes_and_variables_of_the_environment_are_read() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("users")).unwrap();
    fs::write(
        folder.path().join("users/app.conf"),
        "users: [ { user: alice, password: $ALICE_PASSWORD } ]\n",
    )
    .unwrap();
    let conf = "accounts { APP { include \"users/app.conf\" } }\n";
    fs::write(folder.path().join("nats-server.conf"), conf).unwrap();
    let mut import = command(folder.path(), &["import", "nats-server.conf", "gate"]);
    let ran = run(import.env("ALICE_PASSWORD", "s3cret"), b"");
    assert_eq!(ran.code, 0, "{ran:?}");
    let copied = fs::read_to_string(folder.path().join("gate/users/app.conf")).unwrap();
    has(&copied, &["$ALICE_PASSWORD"]);
    fs::write(folder.path().join("alice"), "s3cret").unwrap();
    let explain =
        ["explain", "--config", "gate/callgate.toml", "--user", "alice", "--password", "@alice"];
    assert_eq!(callgate_in(folder.path(), &explain).code, 0);
}

#[test]
fn server_configurations_that_cannot_be_extended_are_left_to_the_operator() {
    let folder = tempfile::tempdir().unwrap();
    for (number, (conf, why)) in [
        (
            "{ authorization: { users: [ { user: a, password: b } ] } }",
            "the whole file is in braces",
        ),
        (
            "A: { users: [ { user: a, password: b } ] }\nauthorization: $A",
            "a list, a variable or in another file",
        ),
        (
            "jetstream: enabled\nauthorization: { users: [ { user: a, password: b } ] }",
            "JetStream of `$G` would end",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        fs::write(folder.path().join("nats-server.conf"), conf).unwrap();
        let dir = format!("gate{number}");
        let ran = callgate_in(folder.path(), &["import", "nats-server.conf", &dir]);
        assert_eq!(ran.code, 1, "{conf}: {ran:?}");
        has(&ran.stdout, &[why, "by hand"]);
        let additions = folder.path().join(&dir).join("nats-server.additions.conf");
        has(&fs::read_to_string(additions).unwrap(), &["auth_callout {", "CALLGATE {"]);
        assert!(!folder.path().join(&dir).join("nats-server.conf").exists());
        assert!(folder.path().join(&dir).join("users.json").exists());
    }
}
