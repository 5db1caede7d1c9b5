//! The real service: `callgate serve`, its log and its admin endpoint.

mod binary;
mod command;
mod terminal;
mod view;

use std::{
    ffi::{OsStr, OsString},
    ops::Deref,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::Process;

pub use binary::binary;
pub use command::{CommandOutput, command, run};
pub use terminal::run_on_terminal;
pub use view::{View, http_get};

/// The minimal permissions of the service's user in the callout account, in nats-server's syntax.
pub const PERMISSIONS: &str = r#"permissions: {
    subscribe: ["$SYS.REQ.USER.AUTH", "$SRV.>", "_INBOX.>"]
    publish: ["_INBOX.>", "$SYS._INBOX.>", "$SYS.REQ.USER.INFO", "$SRV.INFO"] }"#;

/// How long it may take to stop.
const STOP_DEADLINE: Duration = Duration::from_secs(10);

/// How to start the service.
#[derive(Debug, Clone)]
pub struct Launch {
    /// The binary; [`binary`] by default.
    pub binary: Option<PathBuf>,
    /// The arguments of `serve`; by default the `callgate.toml` of the folder.
    pub arguments: Vec<String>,
    /// A command that runs the service, such as `prlimit …`; empty to run it directly.
    pub before: Vec<OsString>,
    /// Environment variables. The caller's own `CALLGATE_…` variables are not passed on.
    pub variables: Vec<(String, OsString)>,
    /// The address of its admin endpoint; by default any loopback port.
    pub admin: Option<String>,
    /// Writes the log here instead of to a file of the test.
    pub stderr: Option<PathBuf>,
}

/// A running service; dereferences to its [`View`]. Its log must be JSON.
#[derive(Debug)]
pub struct Service {
    /// The process.
    pub process: Process,
    view: View,
}

impl Default for Launch {
    fn default() -> Self {
        Self {
            binary: None,
            arguments: ["--config", "callgate.toml"].map(str::to_owned).to_vec(),
            before: Vec::new(),
            variables: Vec::new(),
            admin: None,
            stderr: None,
        }
    }
}

impl Launch {
    /// Starts this binary with the `callgate.toml` of the folder.
    pub fn of(binary: impl Into<PathBuf>) -> Self {
        Self { binary: Some(binary.into()), ..Self::default() }
    }
}

impl Service {
    /// Starts it in a folder, and does not wait until it is ready.
    ///
    /// # Panics
    /// If it exits, or has no admin endpoint after ten seconds.
    pub async fn start(folder: &Path, launch: &Launch) -> Self {
        let mut process = start(folder, launch);
        let admin = match &launch.admin {
            Some(admin) => admin.clone(),
            None => {
                let line = process.wait_for_stderr("serving /livez").await;
                let port = line.split("127.0.0.1:").nth(1).expect("an address of the loopback");
                let port: String = port.chars().take_while(char::is_ascii_digit).collect();
                format!("127.0.0.1:{port}")
            }
        };
        let view = View::new(admin, process.stderr_path());
        Self { process, view }
    }

    /// A view that stays usable while the process is borrowed.
    pub fn view(&self) -> View {
        self.view.clone()
    }

    /// Stops it with SIGTERM.
    ///
    /// # Panics
    /// If it does not exit successfully within ten seconds.
    pub async fn terminate(&mut self) {
        self.process.signal("TERM");
        let status = self.process.wait_for_exit(STOP_DEADLINE).await;
        assert_eq!(status.code(), Some(0), "{}", self.log());
    }
}

impl Deref for Service {
    type Target = View;

    fn deref(&self) -> &View {
        &self.view
    }
}

/// Starts the service in a folder without waiting: for services without an admin endpoint, and for those
/// that must fail.
pub fn start(folder: &Path, launch: &Launch) -> Process {
    let mut words = launch.before.clone();
    words.push(launch.binary.clone().unwrap_or_else(binary).into());
    words.push("serve".into());
    words.extend(launch.arguments.iter().map(OsString::from));
    if let Some(stderr) = &launch.stderr {
        // A shell opens the file, as a supervisor would, and then executes the service.
        let script = "exec \"$@\" 2>\"$0\"";
        let shell = [OsStr::new("sh"), "-c".as_ref(), script.as_ref(), stderr.as_ref()];
        words.splice(0..0, shell.map(OsStr::to_owned));
    }
    let mut builder = Process::builder("callgate", &words[0]).args(&words[1..]);
    for name in command::own_variables() {
        builder = builder.env_remove(&name);
    }
    for (name, value) in &launch.variables {
        builder = builder.env(name, value);
    }
    builder.current_dir(folder).start()
}
