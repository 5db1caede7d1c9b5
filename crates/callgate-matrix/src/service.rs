//! The real service: the `callgate` binary with an environment's configuration.

use std::path::Path;

use callgate_testkit::{
    NatsServer, Process,
    files::write_private,
    service::{self, Launch},
    wait::PATIENCE,
};
use serde_json::Value;
use tempfile::TempDir;

use crate::site::{Site, users};

/// A running service.
#[derive(Debug)]
pub struct Service {
    process: Process,
    folder: TempDir,
}

/// A decision that the service logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedDecision {
    /// The reason code.
    pub reason: String,
    /// The user, as far as known.
    pub user: String,
    /// The account.
    pub account: String,
    /// The kind of connection.
    pub connection: String,
    /// More, for people.
    pub detail: String,
}

impl Service {
    /// Starts the service at `server`, with the users of [`users`].
    ///
    /// # Panics
    /// If it does not become ready.
    pub async fn start(site: &Site, servers: &[&NatsServer]) -> Self {
        Self::start_and_hear(site, servers, "ready: answering").await
    }

    /// The same, and waits until its log contains this.
    ///
    /// # Panics
    /// If it does not.
    pub async fn start_and_hear(site: &Site, servers: &[&NatsServer], says: &str) -> Self {
        Self::launch(site, servers, "", says).await
    }

    /// The same as [`Service::start`], with more authenticators and bindings in TOML.
    ///
    /// # Panics
    /// If it does not become ready.
    pub async fn start_with(site: &Site, servers: &[&NatsServer], more: &str) -> Self {
        Self::launch(site, servers, more, "ready: answering").await
    }

    async fn launch(site: &Site, servers: &[&NatsServer], more: &str, says: &str) -> Self {
        let folder =
            tempfile::Builder::new().prefix("callgate-service-").tempdir().expect("a folder");
        let (users, roles) = users(site.mode);
        let urls: Vec<String> = servers.iter().map(|server| server.url()).collect();
        let config = format!(
            "{}servers = {urls:?}\n{roles}\n[[authenticators]]\nname = \"users\"\n\
             [authenticators.users]\nfile = \"users.json\"\n{more}\n\
             [admin]\nlisten = \"\"\n[log]\nformat = \"json\"\n",
            site.service
        );
        write_private(&folder.path().join("callgate.toml"), &config);
        write_private(&folder.path().join("users.json"), &users);
        for (name, text) in &site.files {
            write_private(&folder.path().join(name), text);
        }
        let mut process = service::start(folder.path(), &Launch::default());
        process.wait_for_stderr(says).await;
        Self { process, folder }
    }

    /// What it logged so far, in order.
    pub fn decisions(&self) -> Vec<LoggedDecision> {
        self.process.stderr().lines().filter_map(logged).collect()
    }

    /// The whole log.
    pub fn log(&self) -> String {
        self.process.stderr()
    }

    /// Where its configuration is.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Ends the service as an operator would.
    ///
    /// # Panics
    /// If it does not end.
    pub async fn stop(mut self) {
        self.process.signal("TERM");
        self.process.wait_for_exit(PATIENCE + PATIENCE).await;
    }
}

/// A line of the log, if it is a decision.
fn logged(line: &str) -> Option<LoggedDecision> {
    let record: Value = serde_json::from_str(line).ok()?;
    let fields = record.get("fields").unwrap_or(&record);
    fields.get("outcome")?;
    let text = |name: &str| fields[name].as_str().unwrap_or_default().to_owned();
    Some(LoggedDecision {
        reason: text("reason"),
        user: text("user"),
        account: text("account"),
        connection: text("connection"),
        detail: text("detail"),
    })
}
