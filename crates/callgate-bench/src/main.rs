//! Load for anything that answers `$SYS.REQ.USER.AUTH`.

mod answers;
mod cpu;
mod flood;
mod floor;
mod outcome;
mod overload;
mod premade;
mod storm;
mod timing;
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
    /// Play many NATS servers: send signed, sealed requests to a responder on a plain nats-server
    Flood(flood::Args),
    /// Connect many clients at once to a real nats-server with an auth callout
    Storm(storm::Args),
    /// Time the bare cryptography that a decision cannot do without, and the decision itself
    Floor(floor::Args),
    /// Offer several times as many password logins as the cores can hash, to a service of its own
    Overload(overload::Args),
    /// Measure whether the time of a refusal tells who exists and what for a password he has
    Timing(timing::Args),
}

/// What can go wrong while measuring.
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
            Command::Floor(args) => floor::run(&args).await,
            Command::Overload(args) => overload::run(args).await,
            Command::Timing(args) => timing::run(args).await,
        }
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(error.as_ref()),
    }
}

#[expect(clippy::print_stderr, reason = "a command-line tool complains there")]
fn failed(error: &dyn std::error::Error) -> ExitCode {
    eprintln!("error: {error}");
    ExitCode::FAILURE
}
