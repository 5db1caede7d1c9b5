//! Commands whose standard error is a terminal.

use std::{
    ffi::OsStr,
    fs::File,
    io::{self, Read},
    os::unix::ffi::OsStrExt,
    path::Path,
    process::{Command, Stdio},
};

use rustix::{
    io::Errno,
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
};

use super::CommandOutput;

/// Runs a command to completion, with a pseudo terminal as its standard error. The result contains all that
/// it wrote there, including control sequences.
///
/// # Panics
/// If it cannot be started, or its output is not UTF-8.
pub fn run_on_terminal(mut command: Command) -> CommandOutput {
    let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a pseudo terminal");
    grantpt(&controller).expect("it can be used");
    unlockpt(&controller).expect("it can be opened");
    let name = ptsname(&controller, Vec::new()).expect("it has a name");
    let path = Path::new(OsStr::from_bytes(name.as_bytes()));
    let terminal = File::options().read(true).write(true).open(path).expect("it opens");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(terminal);
    let child = command.spawn().expect("the binary starts");
    // Reading ends when no process has the terminal open.
    drop(command);
    let mut written = Vec::new();
    let end = File::from(controller).read_to_end(&mut written);
    // What Linux answers then.
    let is_end = |error: io::Error| error.raw_os_error() == Some(Errno::IO.raw_os_error());
    assert!(end.map_or_else(is_end, |_| true), "the pseudo terminal can be read");
    let output = child.wait_with_output().expect("it ends");
    CommandOutput {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).expect("it prints UTF-8"),
        stderr: String::from_utf8(written).expect("it prints UTF-8"),
    }
}
