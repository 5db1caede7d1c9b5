//! Files that disappear, disks that are full, and sinks that hang.

use std::{fs, process::Command};

use callgate_testkit::{eventually, service::Launch, wait::LONG};
use serde_json::{Value, json};

use super::support::{alice, assert_chained, audited, lines, record, records};
use crate::support::{CALLGATE, Pair, Service, connect_to, serve, write_private};

#[tokio::test]
async fn removed_audit_file_is_noticed_and_a_gap_recorded() {
    let pair = audited("").await;
    let path = pair.path("audit.jsonl");
    pair.admits(&alice()).await;
    record(&path, json!({ "type": "decision" })).await;
    fs::remove_file(&path).unwrap();
    pair.admits(&alice()).await;
    let gap = record(&path, json!({ "type": "gap", "why": "file_removed" })).await;
    assert_eq!(gap["records"], 3);
    record(&path, json!({ "type": "decision" })).await;
    fs::rename(&path, pair.path("moved")).unwrap();
    fs::write(&path, "").unwrap();
    pair.admits(&alice()).await;
    record(&path, json!({ "type": "gap", "why": "file_replaced" })).await;
    let moved = lines(&pair.path("moved"));
    assert_chained(&moved);
    let all = [moved, lines(&path)].concat();
    assert_chained(&all);
}

/// A file system of this many KiB at a folder, as long as it lives.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    fn mount(folder: std::path::PathBuf, kib: u32) -> Self {
        fs::create_dir(&folder).unwrap();
        let options = format!("size={kib}k");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(&folder);
        let mounted = mount.status().expect("there is a mount command");
        assert!(mounted.success(), "cannot mount a tmpfs");
        Self(folder)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[tokio::test]
async fn full_disk_refuses_admissions_and_the_other_replica_serves() {
    let outside = tempfile::tempdir().unwrap();
    let disk = SmallDisk::mount(outside.path().join("disk"), 64);
    let path = disk.0.join("audit.jsonl");
    let config =
        |file: &str| format!("[audit]\nrequired = true\n[[audit.sinks]]\nfile = \"{file}\"\n");
    let users = json!({ "alice": { "pass": "alice", "account": "APP" } });
    let small = config(path.to_str().unwrap());
    let mut pair = Pair::builder(users).gate_config(&small).start().await;
    pair.admits(&alice()).await;
    record(&path, json!({ "outcome": "admitted" })).await;

    let filler = disk.0.join("filler");
    let _full = fs::write(&filler, vec![0; 128 * 1024]).unwrap_err();
    // The last page of the file may still have room for a few records.
    let refused = eventually("a refusal", LONG, async || {
        let (outcome, decision) = pair.attempt(&alice()).await;
        outcome.is_err().then_some(decision)
    })
    .await;
    assert_eq!(refused["reason"], "audit_unavailable");
    pair.gate.says(0, "cannot write the audit").await;
    let why = pair.gate.not_ready().await;
    assert!(why.contains("audit.required"), "{why}");

    let text = fs::read_to_string(pair.path("callgate.toml")).unwrap();
    let second = text.replace(path.to_str().unwrap(), "second.jsonl");
    write_private(&pair.path("second.toml"), &second);
    let other = serve(pair.folder.path(), &["--config", "second.toml"]).await;
    other.ready().await;
    for _ in 0..3 {
        drop(connect_to(&pair.server.url(), &alice()).await.expect("the other replica admits"));
    }
    let served = lines(&pair.path("second.jsonl"));
    assert_eq!(served.iter().filter(|line| line.contains("\"admitted\"")).count(), 3);

    fs::remove_file(&filler).unwrap();
    pair.gate.ready().await;
    let refused = record(&path, json!({ "reason": "audit_unavailable", "type": "decision" })).await;
    let dropped = record(&path, json!({ "type": "answer_dropped" })).await;
    assert_eq!(dropped["request"], refused["request"]);
    pair.gate.terminate().await;
    assert_chained(&lines(&path));
}

#[tokio::test]
async fn admission_recorded_but_too_late_yields_answer_dropped() {
    let outside = tempfile::tempdir().unwrap();
    let disk = SmallDisk::mount(outside.path().join("disk"), 64);
    let path = disk.0.join("audit.jsonl");
    // An admission waits longer than the server does.
    let config =
        format!("[audit]\nrequired = true\ntimeout = \"1m\"\n[[audit.sinks]]\nfile = {path:?}\n");
    let users = json!({ "alice": { "pass": "alice", "account": "APP" } });
    let mut pair = Pair::builder(users).gate_config(&config).start().await;
    record(&path, json!({ "type": "config" })).await;
    let filler = disk.0.join("filler");
    let _full = fs::write(&filler, vec![0; 128 * 1024]).unwrap_err();
    // The last page of the file may still have room for a few records.
    eventually("a refusal", LONG, async || pair.attempt(&alice()).await.0.is_err().then_some(()))
        .await;
    fs::remove_file(&filler).unwrap();
    let dropped = record(&path, json!({ "type": "answer_dropped" })).await;
    pair.gate.terminate().await;
    let all = records(&path);
    let of_request = |record: &&Value| record["request"] == dropped["request"];
    let of_request: Vec<&Value> = all.iter().filter(of_request).collect();
    let admitted = of_request[0];
    assert_eq!((&admitted["type"], &admitted["outcome"]), (&json!("decision"), &json!("admitted")));
    assert!(of_request.iter().skip(1).any(|record| record["type"] == "answer_dropped"));
    for member in ["server_id", "client_id", "reason"] {
        assert!(!dropped[member].is_null(), "{member}: {dropped}");
    }
    assert_chained(&lines(&path));
}

#[tokio::test]
async fn required_record_is_in_the_file_before_the_client_is_in() {
    let pair = audited("required = true").await;
    for _ in 0..20 {
        let session = pair.admits(&alice()).await;
        let admitted = lines(&pair.path("audit.jsonl"));
        let admitted = admitted.iter().filter(|line| line.contains("\"outcome\":\"admitted\""));
        drop(session);
        assert!(admitted.count() > 0);
    }
    let all = lines(&pair.path("audit.jsonl"));
    let count = all.iter().filter(|line| line.contains("\"outcome\":\"admitted\"")).count();
    assert_eq!(count, 20, "each admission is recorded once");
}

#[tokio::test]
async fn one_hanging_sink_does_not_hold_up_the_other() {
    let config =
        "[audit]\n[[audit.sinks]]\nstdout = true\n[[audit.sinks]]\nfile = \"audit.jsonl\"\n";
    let users = json!({ "alice": { "pass": "alice", "account": "APP" } });
    let mut pair = Pair::builder(users).gate_config(config).start().await;
    pair.gate.terminate().await;
    // Standard output is a pipe that is never read, and is already full.
    let script =
        "exec 3<>pipe; dd if=/dev/zero of=pipe bs=65536 count=1 2>/dev/null; exec \"$@\" >pipe";
    let made = Command::new("mkfifo").arg(pair.path("pipe")).status().unwrap();
    assert!(made.success());
    let before = ["sh", "-c", script, "sh"].map(Into::into).to_vec();
    let launch = Launch { before, ..Launch::of(CALLGATE) };
    pair.gate = Service::start(pair.folder.path(), &launch).await;
    pair.gate.ready().await;
    for _ in 0..5 {
        pair.admits(&alice()).await;
    }
    eventually("five admissions in the file", LONG, async || {
        let all = lines(&pair.path("audit.jsonl"));
        (all.iter().filter(|line| line.contains("\"admitted\"")).count() == 5).then_some(())
    })
    .await;
    let waiting = "callgate_audit_queue_bytes{sink=\"stdout\"}";
    assert!(pair.gate.metric(waiting).await > 0.0);
}
