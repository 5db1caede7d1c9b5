//! Load for anything that answers `$SYS.REQ.USER.AUTH`.

mod answers;
mod backend;
mod callouts;
mod cpu;
mod decisions;
mod flood;
mod floor;
mod growth;
mod logins;
mod outcome;
mod overload;
mod page;
mod premade;
mod rates;
mod storm;
mod timing;
mod tokens;
mod wire;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Load for anything that answers NATS auth callouts.
#[derive(Debug, Parser)]
#[command(name = "callgate-bench", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Simulate many NATS servers: send signed, sealed requests to a responder on a plain nats-server
    Flood(flood::Args),
    /// Connect many clients concurrently to a real nats-server with an auth callout
    Storm(storm::Args),
    /// Time the cryptography that every decision needs, and decisions of each kind
    Floor(decisions::Args),
    /// Time decisions with more users, roles and bindings, groups, and threads
    Growth(growth::Args),
    /// Write bearer tokens for `flood --tokens`, and the key set that verifies them
    Tokens(tokens::Args),
    /// Send several times as many password logins as the cores can hash to a separate service
    Overload(overload::Args),
    /// Start a real database or directory with users, until standard input ends
    Backend(backend::Args),
    /// Compare an authenticator with a bare loop on the same client library
    Rates(rates::Args),
    /// Measure whether the duration of a refusal reveals which users exist and how their passwords are hashed
    Timing(timing::Args),
    /// Render docs/performance.md, its chart and the table of the README
    Render(page::Args),
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    let done = runtime.block_on(async {
        match Cli::parse().command {
            Command::Flood(args) => flood::run(args).await,
            Command::Storm(args) => storm::run(args).await,
            Command::Floor(args) => decisions::run(&args).await,
            Command::Growth(args) => growth::run(&args).await,
            Command::Tokens(args) => tokens::run(&args),
            Command::Overload(args) => overload::run(args).await,
            Command::Backend(args) => backend::run(&args).await,
            Command::Rates(args) => rates::run(&args).await,
            Command::Timing(args) => timing::run(args).await,
            Command::Render(args) => page::run(&args),
        }
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(error.as_ref()),
    }
}

#[expect(clippy::print_stderr, reason = "a command-line tool prints its errors")]
fn failed(error: &dyn std::error::Error) -> ExitCode {
    eprintln!("error: {error}");
    ExitCode::FAILURE
}
