//! What the commands that act on the running service share: how they reach it, filters, and questions.

mod direct;
mod table;

use std::{
    io::{self, IsTerminal, Write},
    path::PathBuf,
    time::Duration,
};

use callgate::{clock::UnixTime, connection::ConnectionKind};
use callgate_authenticators::kind::Registry;
use callgate_config::{Sources, parse_duration};
use ipnet::IpNet;

use super::output::{complain, count};
use crate::{
    config::{self, Overrides},
    control::{self, Done, Failure, Message, Order, Reply, Servers, Viewer},
    sessions::Filter,
    state::{Target, parse_network, parse_time},
    system::SessionKey,
};
pub(super) use table::{Columns, print_table};

/// How the command reaches the service.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Reach {
    /// Configuration file of the service, whose `[control]` names the socket [env: CALLGATE_CONFIG]
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Control socket of the service, instead of --config
    #[arg(long, value_name = "PATH", conflicts_with = "direct")]
    socket: Option<PathBuf>,
    /// Act without a running service, with `[nats]`, `[system]` and `[state]` of the configuration
    #[arg(long)]
    direct: bool,
    /// Your name, to be recorded as a claim beside that of the operating system's user
    #[arg(long = "as", value_name = "NAME")]
    claimed: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// What a lock and a filter can match. Values are compared as a whole: `*` is not a wildcard.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct TargetArgs {
    /// User
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Authenticator; without it, users of the same name in every authenticator match
    #[arg(long, value_name = "NAME")]
    authenticator: Option<String>,
    /// Account, by name
    #[arg(long, value_name = "NAME")]
    account: Option<String>,
    /// Address or network of the client
    #[arg(long, value_name = "ADDRESS|NETWORK", value_parser = network)]
    source: Option<IpNet>,
    /// Group of the identity
    #[arg(long, value_name = "NAME")]
    group: Option<String>,
    /// Role of the grant
    #[arg(long, value_name = "NAME")]
    role: Option<String>,
    /// Kind of connection: nats, websocket, mqtt or leafnode
    #[arg(long, value_name = "KIND", value_parser = kind)]
    kind: Option<ConnectionKind>,
}

/// What only a filter can match.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct FilterArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// Name that the client claims
    #[arg(long, value_name = "NAME")]
    client_name: Option<String>,
    /// Server, by name
    #[arg(long, value_name = "NAME")]
    server: Option<String>,
    /// One connection
    #[arg(long, value_name = "SERVER_ID/CID", value_parser = session_key)]
    id: Option<SessionKey>,
    /// Connected for at least this long
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    older_than: Option<Duration>,
}

impl TargetArgs {
    pub(super) fn into_target(self) -> Target {
        let Self { user, authenticator, account, source, group, role, kind } = self;
        let rest = Target::default();
        Target { user, authenticator, account, source, group, role, kind, ..rest }
    }
}

impl FilterArgs {
    pub(super) fn into_filter(self) -> Filter {
        let Self { target, client_name, server, id, older_than } = self;
        Filter { target: target.into_target(), client_name, server, id, older_than }
    }
}

fn network(text: &str) -> Result<IpNet, String> {
    parse_network(text).ok_or_else(|| {
        "not an address or network: write one such as 10.1.2.3 or 10.0.0.0/8".to_owned()
    })
}

fn kind(text: &str) -> Result<ConnectionKind, String> {
    text.parse().map_err(|error: callgate::connection::UnknownConnectionKind| error.to_string())
}

fn session_key(text: &str) -> Result<SessionKey, String> {
    text.parse().map_err(|error: crate::system::SessionKeyError| error.to_string())
}

/// A time, or `now`.
pub(super) fn time_or_now(text: &str) -> Result<UnixTime, String> {
    match text {
        "now" => Ok(UnixTime::now()),
        text => time(text),
    }
}

pub(super) fn time(text: &str) -> Result<UnixTime, String> {
    let example = "not a time: write one such as 2026-11-29T18:00:00Z";
    parse_time(text).ok_or_else(|| example.to_owned())
}

/// Has an order carried out. `progress` sees every reply but the last; `what` names what a confirmation is
/// about.
///
/// # Errors
/// If the service cannot be reached, or does not carry the order out.
pub(super) fn order(
    reach: &Reach,
    order: Order,
    registry: Registry,
    progress: impl FnMut(&Reply),
) -> Result<Done, Failed> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failed::unusable(format!("cannot start: {error}")))?;
    let done = runtime.block_on(async {
        let viewer = match reach.direct {
            true => {
                let claimed = reach.claimed.as_deref();
                let begun = direct::begin(reach.overrides()?, order, claimed, registry).await?;
                let done = follow(begun.viewer, progress).await;
                // Fails only if it panics; the order is carried out.
                let _ = tokio::task::spawn_blocking(move || begun.recording.finish()).await;
                return done;
            }
            false => {
                let message = Message { order, claimed_actor: reach.claimed.clone() };
                let socket = reach.socket()?;
                control::send_order(&socket, &message).await.map_err(|error| {
                    Failed::unusable(format!(
                        "cannot reach the service on `{}`: {error}; is it running, and are you its user or \
                         root? `--direct` works without it",
                        socket.display()
                    ))
                })?
            }
        };
        follow(viewer, progress).await
    });
    runtime.shutdown_background();
    done
}

/// An order that was not carried out.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) message: String,
    pub(super) failure: Failure,
}

impl Failed {
    pub(super) fn unusable(message: impl std::fmt::Display) -> Self {
        Self { message: message.to_string(), failure: Failure::Unusable }
    }

    /// The exit code, after printing the error.
    pub(super) fn report(self) -> u8 {
        complain(format_args!("error: {}", self.message));
        match self.failure {
            Failure::Refused => super::REFUSED,
            Failure::Unusable => super::UNUSABLE,
        }
    }
}

impl Reach {
    fn overrides(&self) -> Result<Overrides, Failed> {
        let config = match &self.config {
            Some(path) => Some(path.clone()),
            None => {
                let variable = Sources::new(".").variable("CALLGATE_CONFIG");
                variable.map_err(Failed::unusable)?.map(|path| path.as_str().into())
            }
        };
        match config {
            Some(_) => Ok(Overrides { config, ..Overrides::default() }),
            None => Err(Failed::unusable(
                "no service: pass --config FILE of the service, or --socket PATH",
            )),
        }
    }

    fn socket(&self) -> Result<PathBuf, Failed> {
        if let Some(socket) = &self.socket {
            return Ok(socket.clone());
        }
        let socket = config::control_socket(&self.overrides()?).map_err(Failed::unusable)?;
        socket.ok_or_else(|| {
            Failed::unusable(
                "the configuration has no `[control] socket`: add one and restart the service, or use --direct",
            )
        })
    }
}

async fn follow(mut viewer: Viewer, mut progress: impl FnMut(&Reply)) -> Result<Done, Failed> {
    while let Some(reply) = viewer.replies.recv().await {
        match reply {
            Reply::Done(done) => return Ok(*done),
            Reply::Failed { message, failure } => return Err(Failed { message, failure }),
            Reply::Confirm { matching, total } => {
                let go = confirm(matching, total);
                let _ = viewer.answers.send(control::Answer { go }).await;
            }
            reply @ (Reply::Stored { .. } | Reply::InForce { .. }) => progress(&reply),
        }
    }
    Err(Failed::unusable("lost the service before it had finished: see its log"))
}

/// Asks on the terminal; without one, `--yes` is needed.
fn confirm(matching: usize, total: usize) -> bool {
    let what = format!("{matching} of {total} sessions match");
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        complain(format_args!("error: {what}: pass --yes to kick them all"));
        return false;
    }
    let _ = write!(io::stderr(), "{what}. Kick them? [y/N] ");
    let mut answer = String::new();
    let read = io::stdin().read_line(&mut answer);
    read.is_ok() && matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

/// As in `3 of 3 servers answered`, with the names of those that did not.
pub(super) fn answered(servers: &Servers) -> String {
    let Servers { expected, answered, missing } = servers;
    let missing = match missing.is_empty() {
        true => String::new(),
        false => format!("; no answer from {}", missing.join(", ")),
    };
    format!("{answered} of {} answered{missing}", count(*expected, "server"))
}

pub(super) fn print_notes(notes: &[String]) {
    notes.iter().for_each(|note| complain(format_args!("note: {note}")));
}
