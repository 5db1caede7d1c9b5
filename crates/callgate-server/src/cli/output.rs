//! Results go to standard output, errors to standard error; input is bounded.

use std::{
    fmt,
    io::{self, Read, Write},
};

use callgate::sanitize::{terminal, visible};
use callgate_config::{Fault, Report};
use serde_json::{Value, json};

use crate::telemetry::is_coloured;

/// Prints lines to standard output; a closed pipe is ignored. Hidden characters are escaped, because
/// the text may contain outside data.
pub(super) fn say(line: impl std::fmt::Display) {
    let _ = writeln!(io::stdout(), "{}", terminal(&line.to_string()));
}

/// As in `2 sessions`.
pub(super) fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// Prints text with its own line ends and colours to standard output, otherwise like [`say`]. Data in
/// it must be sanitized, or it could contain colours of its own.
pub(super) fn print(text: impl fmt::Display, style: Style) {
    let keep: &[char] = if style.coloured { &['\n', '\t', '\u{1b}'] } else { &['\n', '\t'] };
    let _ = write!(io::stdout(), "{}", visible(&text.to_string(), keep));
}

/// Prints a file that contains no outside data, such as a script; a closed pipe is ignored.
pub(super) fn print_own(file: &[u8]) {
    let _ = io::stdout().write_all(file);
}

/// Whether output is coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Style {
    coloured: bool,
}

/// A colour of the terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Colour {
    Dim,
    Green,
    Red,
    Yellow,
}

impl Style {
    pub(super) fn of_stdout() -> Self {
        Self { coloured: is_coloured(&io::stdout()) }
    }

    /// Without colours.
    pub(super) fn plain() -> Self {
        Self { coloured: false }
    }

    pub(super) fn paint(self, colour: Colour, text: impl fmt::Display) -> String {
        let code = match colour {
            Colour::Dim => 2,
            Colour::Green => 32,
            Colour::Red => 31,
            Colour::Yellow => 33,
        };
        match self.coloured {
            true => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
            false => text.to_string(),
        }
    }
}

/// The warning about a secret that is an argument.
pub(super) fn literal_secret_warning(flag: &str) -> String {
    format!(
        "warning: {flag} is visible to other users of this machine on the command line: use @FILE or \
         env:NAME"
    )
}

/// Prints lines to standard error, like [`say`].
pub(super) fn complain(line: impl std::fmt::Display) {
    let _ = writeln!(io::stderr(), "{}", terminal(&line.to_string()));
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
