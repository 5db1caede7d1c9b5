//! Configurations that nats-server does not take.

use std::process::Command;

use callgate_testkit::{nats_server::Version, tools};

use super::plain;
use crate::{
    mode::Mode,
    report::Outcome,
    site::{Site, Variation},
};

/// The server's error for a configuration that it refuses.
///
/// # Panics
/// If it takes it.
fn refusal(version: Version, config: &str) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("nats-server.conf");
    std::fs::write(&file, config).expect("a file can be written");
    let server = tools::installed(&format!("nats-server/{version}/nats-server"));
    let output = Command::new("timeout")
        .arg("5")
        .arg(server)
        .args(["--addr", "127.0.0.1", "--port", "-1", "--config"])
        .arg(&file)
        .output()
        .expect("a program");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "nats-server {version} takes it: {said}");
    said
}

pub(super) async fn no_block_in_operator_mode(mode: Mode, version: Version) -> Outcome {
    let site = Site::new(mode, version, &Variation::default());
    let issuer = &site.signers.issuer.public;
    let block = format!("auth_callout {{ issuer: {issuer}, auth_users: [ auth ] }}");
    let config = plain(&site).replace("{ timeout: 5 }", &format!("{{ timeout: 5, {block} }}"));
    let said = refusal(version, &config);
    assert!(said.contains("operators do not allow authorization callouts"), "{said}");
    Outcome::passed(["the server does not start"])
}

pub(super) async fn no_jwt_cookie(mode: Mode, version: Version) -> Outcome {
    let site = Site::new(mode, version, &Variation::default());
    let websocket = "websocket { port: -1, no_tls: true, jwt_cookie: jwt }";
    let said = refusal(version, &format!("{}\n{websocket}", plain(&site)));
    assert!(said.contains("JWT authentication via cookie"), "{said}");
    Outcome::passed(["the server does not start"])
}
