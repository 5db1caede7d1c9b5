//! The real service: the `callgate` binary with an environment's configuration.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use callgate_testkit::{NatsServer, Process, wait::PATIENCE};
use serde_json::Value;
use tempfile::TempDir;

use crate::site::{Site, users};

/// A running service.
#[derive(Debug)]
pub struct Gate {
    process: Process,
    folder: TempDir,
}

/// A decision that the service logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logged {
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

impl Gate {
    /// Starts the service at `server`, with the users of [`users`].
    ///
    /// # Panics
    /// If it does not become ready.
    pub async fn start(site: &Site, servers: &[&NatsServer]) -> Self {
        let folder = tempfile::Builder::new().prefix("callgate-gate-").tempdir().expect("a folder");
        let (users, roles) = users(site.mode);
        let urls: Vec<String> = servers.iter().map(|server| server.url()).collect();
        let config = format!(
            "{}servers = {urls:?}\n{roles}\n[[authenticators]]\nname = \"users\"\n\
             [authenticators.users]\nfile = \"users.json\"\n\
             [admin]\nlisten = \"\"\n[log]\nformat = \"json\"\n",
            site.gate
        );
        write(folder.path(), "callgate.toml", &config);
        write(folder.path(), "users.json", &users);
        for (name, text) in &site.files {
            write(folder.path(), name, text);
        }
        let mut process = Process::builder("callgate", binary())
            .args(["serve", "--config"])
            .arg(folder.path().join("callgate.toml"))
            .start();
        process.wait_for_stderr("ready: answering").await;
        Self { process, folder }
    }

    /// What it logged so far, in order.
    pub fn decisions(&self) -> Vec<Logged> {
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

fn write(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    fs::write(&path, text).expect("a file can be written");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("a mode");
    }
}

/// A line of the log, if it is a decision.
fn logged(line: &str) -> Option<Logged> {
    let record: Value = serde_json::from_str(line).ok()?;
    let fields = record.get("fields").unwrap_or(&record);
    fields.get("outcome")?;
    let text = |name: &str| fields[name].as_str().unwrap_or_default().to_owned();
    Some(Logged {
        reason: text("reason"),
        user: text("user"),
        account: text("account"),
        connection: text("connection"),
        detail: text("detail"),
    })
}

/// The binary of this checkout, built now unless `CALLGATE_BIN` names another.
pub fn binary() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(build).clone()
}

fn build() -> PathBuf {
    if let Some(named) = env::var_os("CALLGATE_BIN") {
        return PathBuf::from(named);
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("a workspace");
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args(["build", "--quiet", "--package", "callgate-server"])
        .current_dir(root)
        .status()
        .expect("cargo starts");
    assert!(built.success(), "callgate does not build");
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    target.join("debug").join("callgate")
}
