//! `callgate watch-log` on the logs of real servers.

use std::fs;

use callgate_testkit::{NatsServer, Process, wait::LONG};
use callgate_testkit::{eventually, service::http_get};
use serde_json::{Value, json};

use crate::support::{CALLGATE, command, connect, run, write_private};

const ACCOUNTS: &str = "accounts { APP { users: [ { user: bob, password: bob, permissions: {
    publish: { allow: [\"ok\"] }, subscribe: { allow: [\"_INBOX.>\"] } } } ] } }";

/// Makes a violation of each kind on a server, and returns its log.
async fn violations(version: &str) -> String {
    let server = NatsServer::builder().config(ACCOUNTS).version(version).start().await;
    let bob = connect(&server.url(), "bob", "bob").await.unwrap();
    bob.client.publish("secret.one", "x".into()).await.unwrap();
    let _refused = bob.client.subscribe("secret.>").await.unwrap();
    bob.client.flush().await.unwrap();
    eventually("both violations in the log", LONG, async || {
        let log = server.log();
        (log.contains("Publish Violation") && log.contains("Subscription Violation")).then_some(log)
    })
    .await
}

fn settings(folder: &std::path::Path) -> String {
    let init = run(&mut command(folder, &["init", "--demo", "."]), b"");
    assert_eq!(init.code, 0, "{init:?}");
    let text = fs::read_to_string(folder.join("callgate.toml")).unwrap();
    format!(
        "{text}\n[[accounts]]\nname = \"APP\"\n[audit]\n[[audit.sinks]]\nfile = \"audit.jsonl\"\n"
    )
}

#[tokio::test]
async fn violations_of_every_server_line_are_recorded() {
    for version in ["2.10.26", "2.11.11", "2.12.8", "2.14.6", "2.15.1"] {
        let log = violations(version).await;
        let folder = tempfile::tempdir().unwrap();
        write_private(&folder.path().join("watch.toml"), &settings(folder.path()));
        let arguments = ["watch-log", "-", "--server", "n0", "--config", "watch.toml"];
        let ran = run(&mut command(folder.path(), &arguments), log.as_bytes());
        assert_eq!(ran.code, 0, "{version}: {ran:?}");
        let text = fs::read_to_string(folder.path().join("audit-violations.jsonl")).unwrap();
        let records = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let found: Vec<Value> = records.filter(|record| record["type"] == "violation").collect();
        assert_eq!(found.len(), 2, "{version}: {text}\n{log}");
        for (record, operation, subject) in
            [(&found[0], "publish", "secret.one"), (&found[1], "subscribe", "secret.>")]
        {
            assert_eq!(record["operation"], operation, "{version}: {record}");
            assert_eq!(record["subject"], subject, "{version}: {record}");
            assert_eq!(record["user"], "bob", "{version}: {record}");
            assert_eq!(record["server"], "n0");
            assert!(record["client_id"].is_u64());
            let account = if version < "2.12" { Value::Null } else { json!("APP") };
            assert_eq!(record["account"], account, "{version}");
        }
    }
}

#[tokio::test]
async fn rotated_logs_are_followed_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("nats.log");
    let head = "[1] 2026/11/29 15:57:44.267601 [ERR] 127.0.0.1:5 - cid:7 - \"v0:raw\" -";
    let line = format!("{head} \"APP/user:bob\" - Publish Violation - Subject \"x\"\n");
    fs::write(&path, &line).unwrap();
    let arguments = ["watch-log", "nats.log", "--server", "n0", "--listen", "127.0.0.1:0"];
    let watcher =
        Process::builder("watch-log", CALLGATE).args(arguments).current_dir(folder.path()).start();
    let address = eventually("the address", LONG, async || {
        let printed = watcher.stdout();
        printed.split_whitespace().last().map(str::to_owned)
    })
    .await;
    let counted = async |operation: &str, count: usize| {
        let account = if operation == "unparsed" { operation } else { "other" };
        let sample = format!(
            "callgate_permission_violations_total{{account=\"{account}\",operation=\"{operation}\"}} {count}"
        );
        eventually(&sample, LONG, async || {
            let (_, text) = http_get(&address, "/metrics").await?;
            text.contains(&sample).then_some(())
        })
        .await;
    };
    counted("publish", 1).await;
    fs::rename(&path, folder.path().join("nats.log.1")).unwrap();
    fs::write(&path, format!("{line}something Violation else\n")).unwrap();
    counted("publish", 2).await;
    counted("unparsed", 1).await;
    // As logrotate does with `copytruncate`: the same file, from its beginning.
    fs::write(&path, &line).unwrap();
    counted("publish", 3).await;
    let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
    std::io::Write::write_all(&mut file, line.as_bytes()).unwrap();
    counted("publish", 4).await;
}
