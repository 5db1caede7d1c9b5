//! What the tests share: the binary, a pair of a server and a gate, and clients.

mod client;
mod gate;
mod pair;

use std::{
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

pub(crate) use client::{Credential, Session, connect, connect_to, refusal, stays_out};
pub(crate) use gate::Gate;
pub(crate) use pair::{Pair, write_private};

/// The binary under test.
pub(crate) const CALLGATE: &str = env!("CARGO_BIN_EXE_callgate");

/// What a command printed, and how it ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    /// Both streams: where it does not matter which.
    pub(crate) fn text(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }

    /// Stdout as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Asserts that `text` has every one of `words`.
#[track_caller]
pub(crate) fn has(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "`{word}` is not in:\n{text}");
    }
}

/// Runs `callgate` to its end in `folder`, without any variable of ours.
pub(crate) fn callgate_in(folder: &Path, arguments: &[&str]) -> Ran {
    run(&mut command(folder, arguments), b"")
}

/// The same, anywhere.
pub(crate) fn callgate(arguments: &[&str]) -> Ran {
    callgate_in(Path::new("."), arguments)
}

/// The command, to be given variables.
pub(crate) fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(CALLGATE);
    command.current_dir(folder).args(arguments);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CALLGATE_") {
            command.env_remove(name);
        }
    }
    command
}

/// Runs a command with this on its stdin.
pub(crate) fn run(command: &mut Command, input: &[u8]) -> Ran {
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
