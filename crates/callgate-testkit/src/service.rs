//! The real service: `callgate serve`, its log and its admin endpoint.

mod binary;
mod command;
mod view;

use std::{
    ffi::{OsStr, OsString},
    ops::Deref,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::Process;

pub use binary::binary;
pub use command::{Ran, command, run};
pub use view::{View, http_get};

/// What the service's user on the callout account needs, and no more, for nats-server's configuration.
pub const PERMISSIONS: &str = r#"permissions: {
    subscribe: ["$SYS.REQ.USER.AUTH", "$SRV.>", "_INBOX.>"]
    publish: ["_INBOX.>", "$SYS._INBOX.>", "$SYS.REQ.USER.INFO", "$SRV.INFO"] }"#;

/// In this time it must end when it is asked to.
const END: Duration = Duration::from_secs(10);

/// How a gate is started.
#[derive(Debug, Clone)]
pub struct Launch {
    /// The service, or another binary with the same commands; [`binary`] if none is named.
    pub binary: Option<PathBuf>,
    /// What follows `serve`: as it is given here, the `callgate.toml` of the folder.
    pub arguments: Vec<String>,
    /// A command that runs the service, such as `prlimit …`; nothing to run it as it is.
    pub before: Vec<OsString>,
    /// Variables; of the caller's own no `CALLGATE_…` is passed on, since it would configure the gate.
    pub variables: Vec<(String, OsString)>,
    /// Where its admin endpoint is, if not on a port of its own choice on loopback.
    pub admin: Option<String>,
    /// The log goes here instead of to a file of the test.
    pub stderr: Option<PathBuf>,
}

/// A running service; what is asked of its [`View`] can be asked of it. Its log must be JSON.
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
    /// This binary, with the `callgate.toml` of the folder.
    pub fn of(binary: impl Into<PathBuf>) -> Self {
        Self { binary: Some(binary.into()), ..Self::default() }
    }
}

impl Service {
    /// Starts it in a folder; it need not become ready.
    ///
    /// # Panics
    /// If it ends, or ten seconds pass, before it has an admin endpoint.
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

    /// What can be asked while the process is played with.
    pub fn view(&self) -> View {
        self.view.clone()
    }

    /// Ends it as an operator would.
    ///
    /// # Panics
    /// If it does not end well, and within ten seconds.
    pub async fn terminate(&mut self) {
        self.process.signal("TERM");
        let status = self.process.wait_for_exit(END).await;
        assert_eq!(status.code(), Some(0), "{}", self.log());
    }
}

impl Deref for Service {
    type Target = View;

    fn deref(&self) -> &View {
        &self.view
    }
}

/// Starts the service in a folder and waits for nothing: for those without an admin endpoint, and for
/// those that must fail.
pub fn start(folder: &Path, launch: &Launch) -> Process {
    let mut words = launch.before.clone();
    words.push(launch.binary.clone().unwrap_or_else(binary).into());
    words.push("serve".into());
    words.extend(launch.arguments.iter().map(OsString::from));
    if let Some(stderr) = &launch.stderr {
        // A shell opens the file, as a supervisor would, and becomes the service.
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
