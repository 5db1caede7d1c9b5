//! Commands of the service that run to their end.

use std::{
    env,
    ffi::OsStr,
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use serde_json::Value;

/// What a command printed, and how it ended.
#[derive(Debug)]
pub struct Ran {
    /// The exit code; −1 if a signal ended it.
    pub code: i32,
    /// Results.
    pub stdout: String,
    /// What else it said.
    pub stderr: String,
}

impl Ran {
    /// Both streams: where it does not matter which.
    pub fn text(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }

    /// Stdout as JSON.
    ///
    /// # Panics
    /// If it is not.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// A command in `folder`, without the caller's `CALLGATE_…` variables; to be given others.
pub fn command(binary: impl AsRef<OsStr>, folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(binary);
    command.current_dir(folder).args(arguments);
    for name in own_variables() {
        command.env_remove(name);
    }
    command
}

/// Runs a command to its end, with this on its stdin.
///
/// # Panics
/// If it cannot be started, or prints something else than UTF-8.
pub fn run(command: &mut Command, input: &[u8]) -> Ran {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    // A command that does not read its stdin may be gone already.
    let _ = child.stdin.take().expect("it is piped").write_all(input);
    let output = child.wait_with_output().expect("it ends");
    Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).expect("it prints UTF-8"),
        stderr: String::from_utf8(output.stderr).expect("it prints UTF-8"),
    }
}

/// Variables of the developer's that would configure the service.
pub(super) fn own_variables() -> impl Iterator<Item = String> {
    let names = env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned());
    names.filter(|name| name.starts_with("CALLGATE_"))
}
