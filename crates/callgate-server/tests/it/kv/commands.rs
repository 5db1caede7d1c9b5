//! `callgate users`.

use std::fs;

use callgate_testkit::service;
use serde_json::{Value, json};

use super::world::{KV, NEEDED, OWNED, World, put};
use crate::support::{Credential, callgate_in, command};

#[tokio::test]
async fn user_is_created_changed_and_deleted() {
    let world = World::start(OWNED).await;
    let created = world.users(&["init"]);
    assert_eq!(
        (created.code, created.stdout.trim()),
        (0, "created the bucket `users`: history 5, replicas 1"),
        "{created:?}"
    );
    let again = world.users(&["init"]);
    assert_eq!(again.code, 0, "{again:?}");
    assert!(again.stdout.contains("exists already"), "{again:?}");
    let gate = world.gate().await;

    // `set` needs an entry or a credential.
    let refused = world.users(&["set", "alice", "--account", "APP"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    let mut password = command(
        world.folder.path(),
        &[
            "users",
            "password",
            "alice",
            "--config",
            "callgate.toml",
            "--nats-user",
            "admin",
            "--nats-password",
            "@admin",
        ],
    );
    let written = service::run(&mut password, b"alice\n");
    assert_eq!(written.code, 0, "{written:?}");
    assert_eq!(world.users(&["set", "alice", "--account", "APP"]).code, 0);
    world.reaches(&gate, "alice", "admitted").await;
    assert_eq!(world.users(&["disable", "alice"]).code, 0);
    world.reaches(&gate, "alice", "user_disabled").await;
    let listed = world.users(&["list"]);
    assert!(listed.stdout.contains("alice") && listed.stdout.contains("disabled"), "{listed:?}");
    assert_eq!(world.users(&["enable", "alice"]).code, 0);
    world.reaches(&gate, "alice", "admitted").await;

    let shown = world.users(&["show", "alice", "--json"]);
    assert_eq!(shown.json()["entry"]["password"], "[redacted]", "{shown:?}");
    let shown = world.users(&["show", "alice", "--json", "--show-secrets"]);
    assert!(
        shown.json()["entry"]["password"].as_str().unwrap().starts_with("$argon2id$"),
        "{shown:?}"
    );
    let history = world.users(&["history", "alice", "--json"]);
    assert_eq!(history.json()["revisions"].as_array().unwrap().len(), 4, "{history:?}");
    assert!(!history.stdout.contains("argon2id"), "{history:?}");

    let token = world.users(&["token", "robot", "--json"]);
    assert_eq!(token.code, 0, "{token:?}");
    let token = token.json()["token"].as_str().unwrap().to_owned();
    let stored = world.users(&["show", "robot", "--json", "--show-secrets"]);
    assert!(!stored.stdout.contains(&token), "{stored:?}");
    assert_eq!(world.users(&["set", "robot", "--account", "APP"]).code, 0);
    world.reaches(&gate, "alice", "admitted").await;
    assert_eq!(world.decision(&gate, &Credential::token(&token)).await["user"], "robot");

    let totp = world.users(&["totp", "alice"]);
    assert_eq!(totp.code, 0, "{totp:?}");
    assert!(totp.stdout.contains('█'), "{totp:?}");
    let uri = totp.stdout.lines().find(|line| line.starts_with("otpauth://totp/alice?")).unwrap();
    let (_, secret) = uri.split_once("secret=").unwrap();
    assert_eq!(secret.len(), 32, "20 bytes in base32");
    for verb in ["show", "history"] {
        let shown = world.users(&[verb, "alice"]);
        assert!(!shown.stdout.contains(secret), "{shown:?}");
    }
    world.reaches(&gate, "alice", "bad_second_factor").await;

    assert_eq!(world.users(&["delete", "alice"]).code, 0);
    world.reaches(&gate, "alice", "unknown_user").await;
    for arguments in [["delete", "alice"], ["show", "alice"], ["disable", "alice"]] {
        let absent = world.users(&arguments);
        assert_eq!(absent.code, 1, "{arguments:?}: {absent:?}");
        assert!(absent.stderr.contains("there is no user `alice`"), "{absent:?}");
    }
}

#[tokio::test]
async fn invalid_entry_is_never_written() {
    let world = World::start(KV).await;
    let bucket = world.create().await;
    let revision = put(&bucket, "alice").await;
    for arguments in [
        ["set", "alice", "--expires", "tomorrow"],
        ["set", "alice", "--source", "nowhere"],
        ["set", "alice", "--publish", "a..b"],
        ["set", "alice", "--publish", "u.{{ user }}.>"],
        ["set", "alice", "--unset", "pass"],
    ] {
        let refused = world.users(&arguments);
        assert_eq!(refused.code, 1, "{arguments:?}: {refused:?}");
        assert!(refused.stderr.contains("nothing was written"), "{refused:?}");
        assert_eq!(bucket.entry("alice").await.unwrap().unwrap().revision, revision);
    }
}

#[tokio::test]
async fn import_writes_a_users_file_or_nothing() {
    let world = World::start(OWNED).await;
    let bucket = world.create().await;
    let file = json!({
        "alice@x.org": { "pass": "alice", "account": "APP" },
        "bob": { "pass": "bob", "account": "APP" },
    });
    fs::write(world.folder.path().join("users.json"), file.to_string()).unwrap();
    let dry = world.users(&["import", "users.json", "--dry-run", "--json"]);
    assert_eq!(dry.json()["created"], json!(["alice@x.org", "bob"]), "{dry:?}");
    assert!(bucket.entry("bob").await.unwrap().is_none());
    let imported = world.users(&["import", "users.json", "--json"]);
    assert_eq!(imported.code, 0, "{imported:?}");
    let again = world.users(&["import", "users.json", "--json"]);
    assert_eq!(again.json()["unchanged"], 2, "{again:?}");
    let exported = world.users(&["export"]);
    assert_eq!(exported.code, 0, "{exported:?}");
    assert_eq!(serde_json::from_str::<Value>(&exported.stdout).unwrap(), file);

    fs::write(world.folder.path().join("bad.json"), r#"{"carol":{"pass":"c"},"dave":{"rolls":1}}"#)
        .unwrap();
    let refused = world.users(&["import", "bad.json"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(bucket.entry("carol").await.unwrap().is_none());
}

#[tokio::test]
async fn login_without_write_permission_and_missing_bucket_are_explained() {
    let world = World::with(1, OWNED, "", &NEEDED).await;
    let missing = world.users(&["list"]);
    assert_eq!(missing.code, 2, "{missing:?}");
    assert!(missing.stderr.contains("callgate users init"), "{missing:?}");
    let nothing = callgate_in(world.folder.path(), &["users", "list"]);
    assert_eq!(nothing.code, 2, "{nothing:?}");
    // Without a configuration.
    let url = world.servers.servers[0].url();
    let flags = [
        "--nats-url",
        &url,
        "--nats-user",
        "admin",
        "--nats-password",
        "@admin",
        "--bucket",
        "other",
    ];
    let created = callgate_in(world.folder.path(), &[&["users", "init"], &flags[..]].concat());
    assert_eq!(created.code, 0, "{created:?}");
    let listed =
        callgate_in(world.folder.path(), &[&["users", "list", "--json"], &flags[..]].concat());
    assert_eq!(listed.json(), json!({ "users": [] }), "{listed:?}");
}
