//! `callgate users`: the users in a bucket.

mod change;
mod edit;
mod show;
mod target;
mod transfer;

use callgate_authenticators::kind::Registry;
use clap::Subcommand;

use super::Outcome;
use target::{Target, Users};

/// Manage the users in a JetStream bucket (authenticators of the kind `kv`)
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  callgate users init --config callgate.toml --nats-user admin --nats-password @admin.pw
  callgate users password alice --config callgate.toml --nats-user admin --nats-password @admin.pw
  callgate users set alice --account APP --role reader --config callgate.toml …
  callgate users list --nats-url nats://127.0.0.1:4222 --nats-creds admin.creds --bucket users

The login needs permission to write to the bucket, which Callgate's own user does not need. Every write
fails if the entry has changed since it was read, and an invalid entry is never written.

Exits with 0 if it is done, 1 if the user or the change is refused, 2 for wrong usage or an unreachable
bucket.")]
pub(super) struct Args {
    #[command(flatten)]
    target: Target,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Create the bucket
    Init(InitArgs),
    /// List the users
    List,
    /// Show the entry of a user
    Show(show::ShowArgs),
    /// Change the entry of a user
    Set(Box<edit::SetArgs>),
    /// Set the password of a user, read from standard input or a prompt
    Password(UserArg),
    /// Generate a new token for a user, and print it once
    Token(UserArg),
    /// Generate the secret of one-time codes for a user, and print it once
    Totp(UserArg),
    /// Refuse a user from now on
    Disable(UserArg),
    /// Admit a disabled user again
    Enable(UserArg),
    /// Delete a user
    Delete(UserArg),
    /// List the stored revisions of the entry of a user
    History(UserArg),
    /// Write all entries of a users file
    Import(transfer::ImportArgs),
    /// Print all entries, including hashes and tokens, as a users file
    Export,
}

#[derive(Debug, clap::Args)]
struct UserArg {
    /// Name of the user
    user: String,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  callgate users init --config callgate.toml --nats-user admin --nats-password @admin.pw")]
struct InitArgs {
    /// Replicas of the bucket; by default 3, or 1 if there are fewer than three servers
    #[arg(long, value_name = "NUMBER")]
    replicas: Option<usize>,
}

pub(super) fn run(args: Args, registry: Registry) -> Outcome {
    let Args { target, verb } = args;
    let runtime = tokio::runtime::Runtime::new()
        .map_err(|error| format!("cannot start the async runtime: {error}"))?;
    let outcome = runtime.block_on(async {
        if let Verb::Init(InitArgs { replicas }) = verb {
            return target.init(replicas, registry).await;
        }
        let users = Users::open(target, registry).await?;
        match verb {
            Verb::Init(_) | Verb::List => show::list(&users).await,
            Verb::Show(args) => show::show(&users, &args).await,
            Verb::Set(args) => edit::set(&users, &args).await,
            Verb::Password(UserArg { user }) => edit::password(&users, &user).await,
            Verb::Token(UserArg { user }) => edit::token(&users, &user).await,
            Verb::Totp(UserArg { user }) => edit::totp(&users, &user).await,
            Verb::Disable(UserArg { user }) => edit::set_disabled(&users, &user, true).await,
            Verb::Enable(UserArg { user }) => edit::set_disabled(&users, &user, false).await,
            Verb::Delete(UserArg { user }) => edit::delete(&users, &user).await,
            Verb::History(UserArg { user }) => show::history(&users, &user).await,
            Verb::Import(args) => transfer::import(&users, &args).await,
            Verb::Export => transfer::export(&users).await,
        }
    });
    runtime.shutdown_background();
    outcome
}
