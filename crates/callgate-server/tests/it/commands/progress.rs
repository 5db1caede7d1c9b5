//! The progress of commands that load a large users file.

use std::{fmt::Write as _, path::Path, process::Command};

use callgate_testkit::service::run_on_terminal;

use super::check::configuration;
use crate::support::{CommandOutput, callgate_in, command, has, write_private};

/// Clears the line.
const CLEAR: &str = "\r\u{1b}[K";
const LINE: &str = "loading entries of users.json  ";
const CHECK: &[&str] = &["check", "callgate.toml"];
const EXPLAIN: &[&str] = &["explain", "--config", "callgate.toml", "--token", "env:TOKEN"];

/// A users file in which each entry has a token.
fn users(count: usize) -> String {
    let mut text = "{".to_owned();
    for number in 0..count {
        let separator = if number == 0 { "" } else { "," };
        let _ = write!(text, r#"{separator}"u{number}":{{"token_sha256":"{number:064x}"}}"#);
    }
    text.push('}');
    text
}

/// Runs a command on a terminal with a users file that grows until loading it takes longer than a second on this
/// machine. Returns what it wrote.
fn run_with_large_file(folder: &Path, arguments: &[&str]) -> CommandOutput {
    for doublings in 0..8 {
        write_private(&folder.join("users.json"), &users(50_000 << doublings));
        let shown = run_on_terminal(on_terminal(folder, arguments, "xterm"));
        if shown.stderr.contains(LINE) {
            return shown;
        }
    }
    panic!("no progress although the users file has millions of entries");
}

fn on_terminal(folder: &Path, arguments: &[&str], terminal: &str) -> Command {
    let mut command = command(folder, arguments);
    command.env("TERM", terminal).env("TOKEN", "unknown");
    command
}

#[test]
fn large_users_file_shows_progress_on_a_terminal_only() {
    let folder = configuration(|text| text);
    for arguments in [EXPLAIN, CHECK] {
        let shown = run_with_large_file(folder.path(), arguments);
        has(&shown.stderr, &[&format!("{CLEAR}{LINE}")]);
        assert!(shown.stderr.ends_with(CLEAR), "{:?}", shown.stderr);
        assert!(!shown.stdout.contains(LINE), "{}", shown.stdout);
    }
    let dumb = run_on_terminal(on_terminal(folder.path(), CHECK, "dumb"));
    let piped = callgate_in(folder.path(), CHECK);
    assert_eq!([dumb.stderr, piped.stderr], ["", ""]);
}

#[test]
fn small_users_file_shows_no_progress() {
    let folder = configuration(|text| text);
    // A machine may stand still for a second now and then.
    let is_silent = |_| {
        let shown = run_on_terminal(command(folder.path(), CHECK));
        assert_eq!(shown.code, 0, "{shown:?}");
        shown.stderr.is_empty()
    };
    assert!((0..20).any(is_silent), "a file of a few users shows progress");
}
