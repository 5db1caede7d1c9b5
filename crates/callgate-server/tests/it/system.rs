//! `[system]` with what `init` writes.

use crate::{
    scenario::Written,
    support::{callgate_in, connect, has},
};

const CONNECTED: &str = "callgate_system_connected";

/// Switches the table on.
fn switched_on(text: &str) -> String {
    let mut lines = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        inside |= line == "# [system]";
        inside &= !line.is_empty();
        lines.push(line.strip_prefix("# ").filter(|_| inside).unwrap_or(line));
    }
    lines.join("\n") + "\n"
}

#[tokio::test]
async fn user_that_init_writes_suffices_and_has_no_more() {
    for version in ["2.10", "2.12", "2.15"] {
        for flags in [&[][..], &["--operator"]] {
            let written = Written::start(version, flags, switched_on).await;
            written.gate.metric_reaches(CONNECTED, 1.0).await;
            let servers = "callgate_system_servers{answer=\"answered\"}";
            written.gate.metric_reaches(servers, 1.0).await;
            let arguments = ["check", "pair/callgate.toml", "--connect", "--json"];
            let check = callgate_in(written.folder(), &arguments);
            let report: serde_json::Value = serde_json::from_str(&check.stdout).unwrap();
            let system = report["connections"].as_array().unwrap();
            let system = system.iter().find(|it| it["name"] == "system").unwrap();
            assert_eq!(system["ok"], true, "{version} {flags:?}: {report}");
            assert_eq!(system["warnings"], serde_json::json!([]), "{version} {flags:?}");
            let log = written.gate.log();
            assert!(!log.contains("sessions cannot be listed"), "{log}");
        }
    }
}

#[tokio::test]
async fn missing_permission_of_the_system_user_is_named_at_start() {
    let less = |text: &str| switched_on(text).replace("\"$SYS.REQ.SERVER.*.KICK\", ", "");
    let written = Written::start("2.15", &[], less).await;
    let why = "the system user has no permission to publish `$SYS.REQ.SERVER.*.KICK`";
    written.gate.record(0, &["sessions cannot be listed or ended completely", why]).await;
    let check = callgate_in(written.folder(), &["check", "pair/callgate.toml", "--connect"]);
    assert_eq!(check.code, 2, "{check:?}");
    has(&check.stdout, &[&format!("error: system: {why}")]);
}

#[tokio::test]
async fn wide_permissions_of_the_system_user_are_a_warning() {
    let wide = |text: &str| {
        switched_on(text).replace("publish: [\"$SYS.REQ.SERVER.PING\"", "publish: [\"$SYS.>\"")
    };
    let written = Written::start("2.15", &[], wide).await;
    written.gate.record(0, &["the system user has more permissions than it needs"]).await;
    let arguments = ["check", "pair/callgate.toml", "--connect", "--strict"];
    let check = callgate_in(written.folder(), &arguments);
    assert_eq!(check.code, 1, "{check:?}");
    has(&check.stdout, &["system: ok", "warning: system: the system user may use `$SYS.>`"]);
}

#[tokio::test]
async fn logins_are_decided_without_the_system_account() {
    let other_login = |text: &str| {
        let login = "nkey = { file = \"system.nk\" }";
        switched_on(text).replace(login, "user = \"unknown\"\npassword = \"x\"")
    };
    let written = Written::start("2.15", &["--demo"], other_login).await;
    written.gate.record(0, &["cannot connect to the system account", "`unknown`"]).await;
    connect(&written.server.url(), "alice", "alice").await.unwrap();
    assert!(written.gate.metric(CONNECTED).await.abs() < f64::EPSILON);
}
