//! The stock service, for the tests beside it.

use std::process::ExitCode;

use callgate_authenticators::kind::Registry;

fn main() -> ExitCode {
    callgate_server::run(Registry::builtin())
}
