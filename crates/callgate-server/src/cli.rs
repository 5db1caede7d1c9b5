//! The command line.

mod audit;
mod check;
mod completions;
mod decode;
mod diff;
mod explain;
mod follow;
mod hash_password;
mod hidden_names;
mod import;
mod init;
mod key;
mod kick;
mod lock;
mod man;
mod orders;
mod output;
mod plain_file;
mod progress;
mod replay;
mod revocations;
mod schema;
mod serve;
mod sessions;
mod source;
mod test;
mod token;
#[cfg(feature = "kv")]
mod users;
mod watch_log;

use std::{borrow::Cow, process::ExitCode};

use callgate::sanitize::terminal;
use callgate_authenticators::kind::Registry;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

/// Success.
const GOOD: u8 = 0;
/// A refusal or a failed check.
const REFUSED: u8 = 1;
/// Wrong usage or an invalid configuration.
const UNUSABLE: u8 = 2;

/// Auth callout service for NATS
#[derive(Debug, Parser)]
#[command(name = "callgate", version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// The exit code of a command, or an error to print with exit code [`UNUSABLE`].
type Outcome = Result<u8, Box<dyn std::error::Error>>;

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the service
    Serve(serve::Args),
    /// Check a configuration without connecting, and print all errors and warnings
    Check(check::Args),
    /// Explain what a client would be granted, and why, without a server
    Explain(Box<explain::Args>),
    /// Run policy tests
    Test(Box<test::Args>),
    /// Show which identities gain or lose what by a change of the configuration
    Diff(diff::Args),
    /// Decide recorded logins again with another configuration, and show the differences
    Replay(replay::Args),
    /// Write matching configurations for Callgate and nats-server
    Init(init::Args),
    /// Take users and roles over from the configuration of nats-server
    Import(import::Args),
    /// Generate an nkey
    Key(key::Args),
    /// Hash a password for a users file
    HashPassword(hash_password::Args),
    /// Mint a service token
    Token(token::Args),
    /// Print the JSON Schema of a file, for editors and scripts
    Schema(schema::Args),
    /// Manage the users in a JetStream bucket
    #[cfg(feature = "kv")]
    Users(Box<users::Args>),
    /// Verify and search the audit
    Audit(audit::Args),
    /// List the live sessions
    Sessions(Box<sessions::Args>),
    /// Close sessions; their clients may log in again
    Kick(Box<kick::Args>),
    /// Refuse everything that matches, and kick its sessions
    Lock(Box<lock::Args>),
    /// End locks
    Unlock(lock::UnlockArgs),
    /// List the locks
    Locks(lock::ListArgs),
    /// List the changes that are held because they would end many sessions, and decide about them
    Revocations(revocations::Args),
    /// Count and record permission violations in the log of nats-server
    WatchLog(watch_log::Args),
    /// Decode a request, response, user JWT or bearer token
    Decode(decode::Args),
    /// Print a script that completes commands and flags in a shell
    Completions(completions::Args),
    /// Print a manual page
    Man(man::Args),
}

/// Runs the command line of this process with the registered kinds of authenticators.
///
/// Returns 0 for success, 1 for a refusal or a failed check, 2 for wrong usage or an invalid
/// configuration.
pub fn run(registry: Registry) -> ExitCode {
    crate::panics::install_hook();
    // Fails only if a provider is installed already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let outcome = match parse(&registry).command {
        Command::Serve(args) => serve::run(args, registry),
        Command::Check(args) => check::run(&args, registry),
        Command::Explain(args) => Ok(explain::run(*args, registry)),
        Command::Test(args) => test::run(&args, registry),
        Command::Diff(args) => diff::run(&args, &registry),
        Command::Replay(args) => replay::run(&args, &registry),
        Command::Init(args) => init::run(&args, &registry),
        Command::Import(args) => import::run(&args, &registry),
        Command::Key(args) => key::run(&args),
        Command::HashPassword(args) => hash_password::run(&args),
        Command::Token(args) => token::run(&args),
        Command::Schema(args) => Ok(schema::run(args, &registry)),
        #[cfg(feature = "kv")]
        Command::Users(args) => users::run(*args, registry),
        Command::Audit(args) => audit::run(args, registry),
        Command::Sessions(args) => sessions::run(*args, registry),
        Command::Kick(args) => kick::run(*args, registry),
        Command::Lock(args) => lock::run(*args, registry),
        Command::Unlock(args) => lock::unlock(args, registry),
        Command::Locks(args) => lock::list(args, registry),
        Command::Revocations(args) => revocations::run(args, registry),
        Command::WatchLog(args) => watch_log::run(&args, registry),
        Command::Decode(args) => decode::run(&args),
        Command::Completions(args) => Ok(completions::run(&args, &mut Cli::command())),
        Command::Man(args) => man::run(&args, Cli::command()),
    };
    ExitCode::from(outcome.unwrap_or_else(output::unusable))
}

/// Parses the command line; `--version` lists the kinds of authenticators of this build.
fn parse(registry: &Registry) -> Cli {
    let kinds = registry.names().collect::<Vec<_>>().join(", ");
    let version = format!("{}\nauthenticators: {kinds}", env!("CARGO_PKG_VERSION"));
    let matches = Cli::command().long_version(version).try_get_matches();
    matches.and_then(|matches| Cli::from_arg_matches(&matches)).unwrap_or_else(|error| exit(&error))
}

/// Prints help, the version, or an error. An error quotes arguments, which may have been pasted.
fn exit(error: &clap::Error) -> ! {
    let text = error.render().to_string();
    match terminal(&text) {
        Cow::Borrowed(_) => error.exit(),
        Cow::Owned(escaped) => {
            output::complain(escaped.trim_end());
            std::process::exit(i32::from(UNUSABLE));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_and_flag_names_are_frozen() {
        let mut cli = Cli::command();
        cli.build();
        let mut current = String::new();
        let is_own = |command: &&clap::Command| command.get_name() != "help";
        for command in cli.get_subcommands().filter(is_own) {
            current.push_str(&rows(command.get_name(), command));
            for verb in command.get_subcommands().filter(is_own) {
                let name = format!("{} {}", command.get_name(), verb.get_name());
                current.push_str(&rows(&name, verb));
            }
        }
        let frozen = include_str!("../tests/it/frozen/commands.txt");
        assert!(current == frozen, "frozen:\n{frozen}\ncurrent:\n{current}");
    }

    fn rows(name: &str, command: &clap::Command) -> String {
        // Those of a command with verbs are repeated in each verb.
        let is_own = |argument: &&clap::Arg| !name.contains(' ') || !argument.is_global_set();
        let rows = command.get_arguments().filter(is_own).map(|argument| {
            let flag = argument.get_long().map(|long| format!("--{long}"));
            let flag = flag.unwrap_or_else(|| argument.get_id().to_string());
            let short = argument.get_short().map(|short| format!(" -{short}"));
            let default = argument.get_default_values().first();
            let default = default.map(|value| format!(" default={}", value.display()));
            let takes = argument.get_action().takes_values();
            format!(
                "{name} {flag}{}{}{}\n",
                short.unwrap_or_default(),
                if takes { " value" } else { "" },
                default.filter(|_| takes).unwrap_or_default(),
            )
        });
        rows.collect()
    }
}
