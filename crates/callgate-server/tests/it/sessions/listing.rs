//! `callgate sessions`.

use std::{fs::Permissions, os::unix::fs::PermissionsExt, time::Duration};

use callgate_testkit::{Session, eventually, wait::LONG};
use serde_json::Value;

use super::world::{ODD_NAME, Options, World};
use crate::support::{Credential, callgate_in, has};

#[tokio::test]
async fn sessions_are_listed_with_their_decision() {
    sessions_are_listed(&World::start().await).await;
}

pub(super) async fn sessions_are_listed(world: &World) {
    let _alice = world.login("alice").await;
    let _carol = world.login("carol").await;
    let sessions = world.sessions(2, &[]).await;
    let alice = &sessions[0];
    let expected = [
        ("user", "alice"),
        ("authenticator", "staff"),
        ("account", "APP"),
        ("kind", "nats"),
        ("source", "127.0.0.1"),
        ("client_name", "tester"),
    ];
    for (key, value) in expected {
        assert_eq!(alice[key], value, "{alice}");
    }
    assert_eq!(alice["attributed"], true);
    assert_eq!(alice["mqtt_id"], Value::Null);
    for key in ["server", "server_id", "since", "ends", "decision"] {
        assert!(alice[key].as_str().is_some_and(|text| !text.is_empty()), "{key}: {alice}");
    }
    // Each filter alone, and together.
    let id = format!("{}/{}", alice["server_id"].as_str().unwrap(), alice["client_id"]);
    for (count, filter) in [
        (1, &["--user", "alice"][..]),
        (0, &["--user", "alice", "--account", "OTHER"]),
        (1, &["--account", "OTHER"]),
        (2, &["--authenticator", "staff", "--kind", "nats"]),
        (0, &["--kind", "mqtt"]),
        (2, &["--source", "127.0.0.0/8"]),
        (0, &["--source", "10.0.0.0/8"]),
        (2, &["--client-name", "tester"]),
        (0, &["--client-name", "test*"]),
        (1, &["--id", &id]),
        (0, &["--older-than", "1h"]),
        (0, &["--group", "admins"]),
        (2, &["--server", alice["server"].as_str().unwrap()]),
    ] {
        let listed = world.json(0, &[&["sessions"], filter].concat());
        assert_eq!(listed["sessions"].as_array().unwrap().len(), count, "{filter:?}: {listed}");
        assert_eq!(listed["complete"], true);
        assert_eq!(listed["servers"]["answered"], 1);
    }
    let text = world.run(&["sessions", "--user", "alice"]);
    has(
        &text.stdout,
        &["USER   AUTHENTICATOR  ACCOUNT", "alice  staff", "1 session; 1 of 1 server answered"],
    );
    assert_eq!(
        world.run(&["sessions", "--user", "zoe"]).stdout,
        "0 sessions; 1 of 1 server answered\n"
    );
}

#[tokio::test]
async fn ended_session_leaves_the_list() {
    let world = World::start().await;
    let alice = world.login("alice").await;
    world.sessions(1, &["--user", "alice"]).await;
    alice.client.drain().await.unwrap();
    world.sessions(0, &["--user", "alice"]).await;
}

/// Names with a wildcard, quotes and a space; a client name with a line break.
#[tokio::test]
async fn names_match_only_themselves_in_filters_and_print_on_one_line() {
    names_match_only_themselves(&World::start().await).await;
}

pub(super) async fn names_match_only_themselves(world: &World) {
    let _odd = world.login_named(ODD_NAME, "two\nlines").await;
    let _alice = world.login("alice").await;
    let sessions = world.sessions(1, &["--user", ODD_NAME]).await;
    assert_eq!(
        (&sessions[0]["user"], &sessions[0]["client_name"]),
        (&ODD_NAME.into(), &"two\\u{a}lines".into())
    );
    assert_eq!(world.sessions(1, &["--client-name", "two\nlines"]).await.len(), 1);
    for pattern in ["*", "al*", "ALICE", "alice ", ">", ""] {
        world.sessions(0, &["--user", pattern]).await;
    }
    let text = world.run(&["sessions", "--wide"]);
    // A heading, two sessions, and the summary.
    assert_eq!(text.stdout.lines().count(), 4, "{text:?}");
    assert_eq!(world.kick(&["--user", "*"])["kicked"], 0);
    let kicked = world.kick(&["--user", ODD_NAME]);
    assert_eq!(kicked["kicked"], 1, "{kicked}");
}

/// While Callgate does not answer, servers list what the client typed.
#[tokio::test]
async fn pending_login_typing_alice_is_not_listed_as_her_session() {
    pending_login_is_not_listed(&mut World::start().await).await;
}

pub(super) async fn pending_login_is_not_listed(world: &mut World) {
    world.gates[0].process.freeze().await;
    let url = world.servers.servers[0].url();
    let options = world.site.options(&Credential::password("alice", "alice"));
    let pending = tokio::spawn(async move {
        let _ = Session::connect(&url, options).await;
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    let listed = world.json(0, &["sessions", "--direct"]);
    assert_eq!(listed["sessions"].as_array().unwrap().len(), 0, "{listed}");
    let kicked = world.kick(&["--user", "alice", "--direct"]);
    assert_eq!(kicked["kicked"], 0, "{kicked}");
    world.gates[0].process.signal("CONT");
    pending.abort();
}

#[tokio::test]
async fn command_works_without_a_running_service() {
    let mut world = World::start().await;
    let _alice = world.login("alice").await;
    world.sessions(1, &["--user", "alice"]).await;
    // A running replica is asked for its sessions.
    let listed = world.json(0, &["sessions", "--direct"]);
    assert_eq!(listed["sessions"][0]["authenticator"], "staff", "{listed}");
    world.gates[0].terminate().await;
    let listed = world.json(0, &["sessions", "--direct"]);
    assert_eq!(listed["sessions"][0]["user"], "alice", "{listed}");
    assert_eq!(listed["sessions"][0]["attributed"], false, "{listed}");
    let without = world.run(&["sessions"]);
    assert_eq!(without.code, 2, "{without:?}");
    has(&without.stderr, &["cannot reach the service", "--direct"]);
}

#[tokio::test]
async fn wrong_usage_and_missing_sections_exit_with_2() {
    let world = World::with(Options { state: false, ..Options::default() }).await;
    for (arguments, word) in [
        (&["kick"][..], "no filter"),
        (&["kick", "--everything", "--user", "alice"], "cannot be combined"),
        (&["sessions", "--source", "nowhere"], "not an address"),
        (&["sessions", "--id", "7"], "SERVER_ID/CID"),
        (&["lock"], "no target"),
        (&["lock", "--user", "alice"], "[state]"),
        (&["locks"], "[state]"),
        (&["unlock", "01KB6T3H3E"], "[state]"),
        (&["unlock"], "required"),
        (&["lock", "--user", "alice", "--until", "2020-01-01T00:00:00Z"], "past"),
    ] {
        let ran = world.run(arguments);
        assert_eq!(ran.code, 2, "{arguments:?}: {ran:?}");
        has(&ran.stderr, &[word]);
    }
    // Without `[state]`, the commands say what they do not know.
    has(&world.run(&["sessions"]).stderr, &["note: without `[state]`, this replica knows only"]);
}

#[tokio::test]
async fn control_socket_is_open_to_its_owner_only() {
    let world = World::start().await;
    let file = world.path(0, "control.sock");
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let folder = file.parent().unwrap();
    std::fs::set_permissions(folder, Permissions::from_mode(0o777)).unwrap();
    let checked = world.run(&["check"]);
    assert_eq!(checked.code, 2, "{checked:?}");
    has(&checked.stdout, &["control.socket"]);
    std::fs::set_permissions(folder, Permissions::from_mode(0o700)).unwrap();
}

#[tokio::test]
async fn replicas_know_the_sessions_of_each_other() {
    let world = World::cluster().await;
    let mut clients = Vec::new();
    for number in 0..12 {
        clients.push(world.login_at(number % 3, &format!("user{number}")).await);
    }
    for replica in 0..3 {
        eventually("all sessions are attributed", LONG, async || {
            let ran = world.run_at(replica, &["sessions", "--json"]);
            let listed: Value = serde_json::from_str(&ran.stdout).unwrap();
            let sessions = listed["sessions"].as_array().unwrap();
            let known = sessions.iter().filter(|it| it["authenticator"] == "staff").count();
            (known == 12 && sessions.len() == 12).then_some(())
        })
        .await;
    }
}

/// Nothing listens on these ports.
#[test]
fn unreachable_server_is_named_with_a_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let issuer = callgate_testkit::Nkey::account().seed();
    callgate_testkit::files::write_private(&folder.path().join("issuer.nk"), &issuer);
    std::fs::write(folder.path().join("users.json"), "{}").unwrap();
    let text = r#"
[nats]
servers = "nats://127.0.0.1:1,nats://127.0.0.1:2"
user = "auth"
password = "auth"
[issuer]
seed = { file = "issuer.nk" }
[[authenticators]]
name = "staff"
[authenticators.users]
file = "users.json"
"#;
    std::fs::write(folder.path().join("callgate.toml"), text).unwrap();
    let expected = "nats: cannot connect to 127.0.0.1:1, 127.0.0.1:2: IO error: Connection refused (os error 111); no \
                    server is listening: start the server or correct nats.servers";
    let listed = callgate_in(folder.path(), &["sessions", "--direct", "--config", "callgate.toml"]);
    assert_eq!(listed.code, 2, "{listed:?}");
    has(&listed.stderr, &[expected]);
    let checked = callgate_in(folder.path(), &["check", "--connect", "--config", "callgate.toml"]);
    assert_eq!(checked.code, 2, "{checked:?}");
    has(&checked.stdout, &[&format!("error: {expected}")]);
}

#[test]
fn unreadable_configuration_is_named() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("broken.toml"), "[control]\nsocket = 5\n").unwrap();
    std::fs::write(folder.path().join("without.toml"), "").unwrap();
    for (config, expected) in [
        ("missing.toml", "cannot read `missing.toml`"),
        ("broken.toml", "broken.toml:2:1: control.socket: must be text"),
        ("without.toml", "the configuration has no `[control] socket`"),
    ] {
        let ran = callgate_in(folder.path(), &["sessions", "--config", config]);
        assert_eq!(ran.code, 2, "{ran:?}");
        has(&ran.stderr, &[expected]);
    }
}
