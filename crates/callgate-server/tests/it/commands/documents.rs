//! Help, completions and manual pages, and where commands read their configuration.

use std::{fs, os::unix::fs::PermissionsExt};

use crate::support::{CommandOutput, callgate, callgate_in, command, has, run};

use super::COMMANDS;

#[test]
fn help_command_prints_the_help_of_each_command() {
    let overview = callgate(&["help"]);
    assert_eq!((overview.code, overview.stdout), (0, callgate(&["--help"]).stdout));
    for command in COMMANDS {
        let help = callgate(&["help", command]);
        assert_eq!((help.code, help.stdout), (0, callgate(&[command, "--help"]).stdout));
    }
}

#[test]
fn completions_name_every_command() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ran = callgate(&["completions", shell]);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:?}");
        has(&ran.stdout, &COMMANDS);
        has(&ran.stdout, &["client-type"]);
    }
    let unknown = callgate(&["completions", "nonsense"]);
    has(&unknown.stderr, &["bash", "zsh", "fish"]);
}

/// The script must be one that bash accepts, and complete a command.
#[test]
fn bash_completes_a_command() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("script"), callgate(&["completions", "bash"]).stdout).unwrap();
    let complete = "source ./script; COMP_WORDS=(callgate expl) COMP_CWORD=1; \
                    _callgate callgate expl callgate; echo \"${COMPREPLY[*]}\"";
    let mut bash = std::process::Command::new("bash");
    bash.args(["--norc", "-c", complete]).current_dir(folder.path());
    let ran = bash.output().unwrap();
    assert_eq!(String::from_utf8_lossy(&ran.stdout).trim(), "explain", "{ran:?}");
}

#[test]
fn manual_pages_have_titles_and_examples() {
    let overview = callgate(&["man"]);
    assert_eq!(overview.code, 0, "{overview:?}");
    has(&overview.stdout, &[".TH callgate 1", ".SH SUBCOMMANDS"]);
    for command in COMMANDS {
        let page = callgate(&["man", command]);
        assert_eq!(page.code, 0, "{page:?}");
        has(&page.stdout, &[&format!(".TH callgate-{command} 1"), ".SH OPTIONS", "Example"]);
    }
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(callgate_in(folder.path(), &["init", "--demo", "."]).code, 0);
    folder
}

#[test]
fn configuration_is_read_from_standard_input() {
    let folder = folder();
    let text = fs::read(folder.path().join("callgate.toml")).unwrap();
    let piped = |arguments: &[&str], input: &[u8]| -> CommandOutput {
        run(command(folder.path(), arguments).env("BOB", "bob"), input)
    };
    for arguments in
        [["check", "-", "--format", "toml"].as_slice(), &["check", "-c", "-", "--format", "toml"]]
    {
        let ran = piped(arguments, &text);
        assert_eq!(ran.code, 0, "{ran:?}");
        has(&ran.stdout, &["the configuration is valid"]);
    }
    let explain =
        ["explain", "-c", "-", "--format", "toml", "--user", "bob", "--password", "env:BOB"];
    let ran = piped(&explain, &text);
    assert_eq!(ran.code, 0, "{ran:?}");
    has(&ran.stdout, &["identity        bob (of users)"]);
    // Errors have a position, and syntax errors too.
    let text = [b"unknown = 1\n", text.as_slice()].concat();
    let ran = piped(&["check", "-", "--format", "toml"], &text);
    assert_eq!(ran.code, 2, "{ran:?}");
    has(&ran.stdout, &["error: <stdin>:1:1: unknown: unknown key"]);
    let ran = piped(&["check", "-", "--format", "json"], b"{ nats");
    assert_eq!(ran.code, 2, "{ran:?}");
    has(&ran.stdout, &["error: <stdin>:1:"]);
    for (arguments, error) in [
        (["check", "-"].as_slice(), "--format toml, yaml or json"),
        (&["check", "-", "--format", "ini"], "the formats are toml, yaml and json"),
        (&["serve", "--config", "-", "--format", "toml"], "serve does not read"),
        (&["check", "-", "--format", "toml", "--users", "users.json"], "cannot be combined"),
    ] {
        let ran = piped(arguments, &text);
        assert_eq!(ran.code, 2, "{ran:?}");
        has(&ran.stderr, &[error]);
    }
}

#[test]
fn variable_names_the_configuration() {
    let folder = folder();
    fs::write(folder.path().join("other.toml"), "unknown = 1\n").unwrap();
    let with = |value: &str, arguments: &[&str]| -> CommandOutput {
        run(command(folder.path(), arguments).env("CALLGATE_CONFIG", value), b"")
    };
    assert_eq!(with("callgate.toml", &["check"]).code, 0);
    assert_eq!(with("callgate.toml", &["explain", "--as", "users/bob"]).code, 0);
    has(&with("other.toml", &["check"]).stdout, &["error: other.toml:1:1: unknown: unknown key"]);
    // A flag and an argument take precedence.
    assert_eq!(with("other.toml", &["check", "-c", "callgate.toml"]).code, 0);
    assert_eq!(with("other.toml", &["check", "callgate.toml"]).code, 0);
    has(&with("-", &["serve"]).stderr, &["serve does not read"]);
    let both = with("callgate.toml", &["check", "callgate.toml", "--users", "users.json"]);
    assert_eq!(both.code, 2, "{both:?}");
}

#[test]
fn strict_check_fails_on_warnings() {
    let folder = folder();
    // A users file that others can read is a warning.
    let readable = fs::Permissions::from_mode(0o644);
    fs::set_permissions(folder.path().join("users.json"), readable).unwrap();
    assert_eq!(callgate_in(folder.path(), &["check", "callgate.toml"]).code, 0);
    let ran = callgate_in(folder.path(), &["check", "callgate.toml", "--strict"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    has(&ran.stdout, &["warning: ", "the configuration is valid"]);
    let json = callgate_in(folder.path(), &["check", "callgate.toml", "--strict", "--json"]);
    assert_eq!((json.code, json.json()["ok"].clone()), (1, true.into()));
}

#[test]
fn schema_lists_what_it_can_print() {
    let ran = callgate(&["schema"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    has(&ran.stderr, &["config", "users"]);
}
