//! Violations that `callgate watch-log` reads are joined to the sessions that the service knows.

use std::{fs, path::Path};

use callgate_testkit::{Process, eventually, wait::LONG};
use serde_json::{Value, json};

use super::world::{Options, World};
use crate::{
    audit::support::{record, records},
    support::CALLGATE,
};

/// Follows a log file that the test writes.
async fn watcher(world: &World, log: &Path) -> Process {
    let arguments = ["watch-log", log.to_str().unwrap(), "--server", &name(world)];
    let config = ["--config", "callgate.toml", "--listen", "127.0.0.1:0"];
    let folder = world.path(0, "");
    let watcher = Process::builder("watch-log", CALLGATE)
        .args(arguments.into_iter().chain(config))
        .current_dir(folder)
        .start();
    eventually("the address", LONG, async || {
        watcher.stdout().contains("/metrics on").then_some(())
    })
    .await;
    watcher
}

/// The name of the server.
fn name(world: &World) -> String {
    let listed = world.json(0, &["sessions"]);
    listed["sessions"][0]["server"].as_str().unwrap().to_owned()
}

/// The violations in the server's log, once there are so many.
async fn logged(world: &World, count: usize) -> String {
    eventually(&format!("{count} violations in the log"), LONG, async || {
        let log = world.servers.servers[0].log();
        let lines: Vec<&str> = log.lines().filter(|line| line.contains(" Violation")).collect();
        (lines.len() == count).then(|| lines.join("\n") + "\n")
    })
    .await
}

#[tokio::test]
async fn new_violation_is_joined_to_its_session() {
    for version in ["2.10", "2.15"] {
        let options = Options { line: Some(version), ..Options::default() };
        let world = World::with(options).await;
        let limited = world.login("limited").await;
        let session = world.sessions(1, &["--user", "limited"]).await.remove(0);
        limited.client.publish("secret.old", "x".into()).await.unwrap();
        let log = world.path(0, "nats.log");
        fs::write(&log, logged(&world, 1).await).unwrap();
        let _watcher = watcher(&world, &log).await;
        let audit = world.path(0, "audit-violations.jsonl");
        let old = record(&audit, json!({ "type": "violation", "subject": "secret.old" })).await;
        // It may be about another process of the server.
        assert_eq!(old["server_id"], Value::Null, "{old}");

        limited.client.publish("secret.new", "x".into()).await.unwrap();
        let all = logged(&world, 2).await;
        fs::write(&log, all).unwrap();
        let new = record(&audit, json!({ "type": "violation", "subject": "secret.new" })).await;
        for member in ["user", "account", "authenticator", "client_id", "server", "server_id"] {
            assert_eq!(new[member], session[member], "{version}: {member}: {new}");
        }
        for (member, value) in [("client_host", "127.0.0.1"), ("connection", "nats")] {
            assert_eq!(new[member], value, "{version}: {new}");
        }
        let audit = world.path(0, "audit.jsonl");
        let decision = json!({ "type": "decision", "request": new["request"] });
        assert_eq!(record(&audit, decision).await["user"], "limited", "{version}");
    }
}

#[tokio::test]
async fn violation_is_recorded_when_the_service_is_down() {
    let mut world = World::start().await;
    let limited = world.login("limited").await;
    world.sessions(1, &["--user", "limited"]).await;
    let log = world.path(0, "nats.log");
    fs::write(&log, "").unwrap();
    let watcher = watcher(&world, &log).await;
    world.gates[0].terminate().await;
    limited.client.publish("secret", "x".into()).await.unwrap();
    fs::write(&log, logged(&world, 1).await).unwrap();
    let audit = world.path(0, "audit-violations.jsonl");
    let found = record(&audit, json!({ "type": "violation" })).await;
    assert_eq!((&found["user"], &found["server_id"]), (&json!("limited"), &Value::Null));
    assert_eq!(records(&audit).len(), 2);
    assert!(watcher.stderr().contains("violations are not joined to sessions"));
}
