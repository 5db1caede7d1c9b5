//! Results go to standard output, complaints to standard error.

use std::io::Write;

/// Prints a line to standard output. A reader that went away is no failure of ours.
pub(super) fn say(line: impl std::fmt::Display) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Prints a line to standard error.
pub(super) fn complain(line: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Complains and returns the exit code for wrong usage.
pub(super) fn unusable(error: impl std::fmt::Display) -> u8 {
    complain(format_args!("error: {error}"));
    super::UNUSABLE
}
