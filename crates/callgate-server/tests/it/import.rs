//! `callgate import`

mod accepted;
mod files;
mod same_permissions;

use std::{fs, path::Path};

use callgate_testkit::NatsServer;

use crate::support::{CommandOutput, Service, callgate_in, serve};

const ADDRESS: &str = "nats://127.0.0.1:4222";

/// Imports a configuration into `gate`.
fn import(folder: &Path, conf: &str, arguments: &[&str]) -> CommandOutput {
    fs::write(folder.join("nats-server.conf"), conf).unwrap();
    callgate_in(folder, &[&["import", "nats-server.conf", "gate"], arguments].concat())
}

/// The servers before and after the import, and Callgate.
struct Imported {
    before: NatsServer,
    after: NatsServer,
    _gate: Service,
    _folder: tempfile::TempDir,
    output: CommandOutput,
}

impl Imported {
    /// Imports a configuration, and starts everything.
    async fn start(version: &str, conf: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let before = NatsServer::builder().version(version).config(conf).start().await;
        let output = import(folder.path(), conf, &[]);
        assert!(output.code < 2, "{output:?}");
        let written = fs::read_to_string(folder.path().join("gate/nats-server.conf")).unwrap();
        let after = NatsServer::builder().version(version).config(&written).start().await;
        let path = folder.path().join("gate/callgate.toml");
        let config = fs::read_to_string(&path).unwrap().replace(ADDRESS, &after.url());
        let rest = "\n[admin]\nlisten = \"127.0.0.1:0\"\n[log]\nformat = \"json\"\n";
        fs::write(&path, config + rest).unwrap();
        let gate = serve(folder.path(), &["--config", "gate/callgate.toml"]).await;
        gate.ready().await;
        Self { before, after, _gate: gate, _folder: folder, output }
    }
}
