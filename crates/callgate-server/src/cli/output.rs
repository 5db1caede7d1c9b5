//! Results go to standard output, errors to standard error; input is bounded.

use std::io::{self, Read, Write};

use callgate_config::{Fault, Report};
use serde_json::{Value, json};

/// Prints a line to standard output; a closed pipe is ignored.
pub(super) fn say(line: impl std::fmt::Display) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Prints a line to standard error.
pub(super) fn complain(line: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Prints an error and returns the exit code for wrong usage.
pub(super) fn unusable(error: impl std::fmt::Display) -> u8 {
    complain(format_args!("error: {error}"));
    super::UNUSABLE
}

/// In bytes; larger than any request or token.
const MAX_INPUT: u64 = 4 * 1024 * 1024;

/// Reads standard input to its end, up to the limit.
pub(super) fn read_stdin() -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    io::stdin().take(MAX_INPUT).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The errors and warnings of a configuration, as JSON.
pub(super) fn findings(report: &Report) -> Value {
    let entry = |found: &Fault| {
        let Fault { file, position, path, message } = found;
        let line = position.map(|at| at.line);
        let column = position.map(|at| at.column);
        json!({ "file": file, "line": line, "column": column, "path": path, "message": message })
    };
    let list = |found: Vec<Fault>| -> Vec<Value> { found.iter().map(entry).collect() };
    json!({
        "ok": report.is_faultless(),
        "faults": list(report.faults()),
        "warnings": list(report.warnings()),
    })
}
