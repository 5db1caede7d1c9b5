//! Shared by the tests: the binary, a nats-server with Callgate, and clients.

mod client;
mod pair;

use std::{path::Path, process::Command};

use callgate_testkit::service::{self, Launch};

pub(crate) use callgate_testkit::{
    Service, Session,
    files::write_private,
    service::{CommandOutput, run},
};
pub(crate) use client::{Credential, connect, connect_to, expect_no_admission, refusal};
pub(crate) use pair::Pair;

/// The binary under test.
pub(crate) const CALLGATE: &str = env!("CARGO_BIN_EXE_callgate");

/// Starts the service in a folder with these arguments.
pub(crate) async fn serve(folder: &Path, arguments: &[&str]) -> Service {
    serve_with(folder, arguments, &[]).await
}

/// The same, with variables.
pub(crate) async fn serve_with(
    folder: &Path,
    arguments: &[&str],
    variables: &[(&str, &str)],
) -> Service {
    let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
    let variables = variables.iter().map(|&(name, value)| (name.to_owned(), value.into()));
    let variables = variables.collect();
    Service::start(folder, &Launch { arguments, variables, ..Launch::of(CALLGATE) }).await
}

/// Asserts that `text` contains all `words`.
#[track_caller]
pub(crate) fn has(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "`{word}` is not in:\n{text}");
    }
}

/// Runs `callgate` to its end in `folder`, without `CALLGATE_…` variables.
pub(crate) fn callgate_in(folder: &Path, arguments: &[&str]) -> CommandOutput {
    run(&mut command(folder, arguments), b"")
}

/// The same in the current directory.
pub(crate) fn callgate(arguments: &[&str]) -> CommandOutput {
    callgate_in(Path::new("."), arguments)
}

/// The command, for adding variables.
pub(crate) fn command(folder: &Path, arguments: &[&str]) -> Command {
    service::command(CALLGATE, folder, arguments)
}
