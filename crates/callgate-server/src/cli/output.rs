//! Results go to standard output, complaints to standard error; what comes in is bounded.

use std::io::{self, Read, Write};

use callgate_config::{Fault, Report};
use serde_json::{Value, json};

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

/// Longest input, in bytes: more than any request or token.
const LONGEST_INPUT: u64 = 4 * 1024 * 1024;

/// Standard input to its end.
pub(super) fn read_stdin() -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    io::stdin().take(LONGEST_INPUT).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// What was found in a configuration, as JSON.
pub(super) fn findings(report: &Report) -> Value {
    let entry = |found: &Fault| json!({ "path": found.path, "message": found.message });
    let list = |found: Vec<Fault>| -> Vec<Value> { found.iter().map(entry).collect() };
    json!({
        "ok": report.is_faultless(),
        "faults": list(report.faults()),
        "warnings": list(report.warnings()),
    })
}
