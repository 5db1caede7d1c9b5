//! Each command: exit code, output and files.

mod check;
mod decode;
mod documents;
mod explain;
mod keys;
mod progress;
mod serve;
mod shadowed;
mod source;

use crate::support::{callgate, has};

const COMMANDS: [&str; 14] = [
    "serve",
    "check",
    "explain",
    "test",
    "diff",
    "replay",
    "init",
    "key",
    "hash-password",
    "token",
    "schema",
    "decode",
    "completions",
    "man",
];

#[test]
fn help_of_every_command_has_an_example() {
    let overview = callgate(&["--help"]);
    assert_eq!(overview.code, 0);
    has(&overview.stdout, &COMMANDS);
    for command in COMMANDS {
        let help = callgate(&[command, "--help"]);
        assert_eq!(help.code, 0, "{help:?}");
        let (_, examples) = help.stdout.split_once("Example").expect("examples");
        has(examples, &[&format!("callgate {command}")]);
    }
}

#[test]
fn wrong_usage_is_exit_code_two() {
    let cases: [&[&str]; 10] = [
        &[],
        &["nonsense"],
        &["serve", "--nonsense"],
        &["serve"],
        &["check"],
        &["explain"],
        &["test"],
        &["key", "nonsense"],
        &["init"],
        &["serve", "--config", "a.toml", "--users", "b.json"],
    ];
    for arguments in cases {
        let ran = callgate(arguments);
        assert_eq!(ran.code, 2, "{arguments:?}: {ran:?}");
        assert!(!ran.stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn missing_configuration_error_names_the_options() {
    for arguments in [&["serve"][..], &["check"], &["explain"], &["test", "tests.toml"]] {
        let ran = callgate(arguments);
        has(&ran.stderr, &["--config FILE", "--nats-url", "--users", "`callgate init DIR`"]);
    }
}
