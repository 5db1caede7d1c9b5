//! The binary: reads the command line and runs one command.

use std::process::ExitCode;

use callgate_authenticators::kind::Registry;

fn main() -> ExitCode {
    callgate_server::run(Registry::builtin())
}
