//! `callgate kick`

use std::time::Duration;

use callgate_authenticators::kind::Registry;
use callgate_config::parse_duration;
use serde_json::json;

use super::{
    GOOD, Outcome, REFUSED,
    orders::{Failed, FilterArgs, Reach, answered, order, print_notes, print_table},
    output::{count, say},
    sessions::{cells, columns},
};
use crate::control::{Done, KickDone, KickOrder, KickedRow, Order};

/// Close sessions; their clients may log in again
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  callgate kick --user alice --dry-run --config callgate.toml
  callgate kick --user alice --reason \"new permissions\" --config callgate.toml
  callgate kick --everything --yes --config callgate.toml

A kick is not a refusal: the client comes back and gets a new decision. To keep a client out, use
`callgate lock`. Connections that no replica has admitted, such as those of static users, are never kicked.

Exits with 0 if all sessions that matched are gone, 1 if one may still be there, 2 for wrong usage or an
unreachable service.")]
pub(super) struct Args {
    #[command(flatten)]
    filter: FilterArgs,
    /// Kick all sessions
    #[arg(long)]
    everything: bool,
    /// Print which sessions match, and kick none
    #[arg(long)]
    dry_run: bool,
    /// Why, for the log
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// How long to wait for the servers' confirmations
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = parse_duration)]
    wait: Duration,
    /// Kick more than 1000 sessions, or more than a tenth of them, without asking
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    reach: Reach,
}

pub(super) fn run(args: Args, registry: Registry) -> Outcome {
    let Args { filter, everything, dry_run, reason, wait, yes, reach } = args;
    let filter = filter.into_filter();
    match (filter.is_empty(), everything) {
        (true, false) => return Err("no filter: pass one, or --everything for all sessions".into()),
        (false, true) => return Err("--everything cannot be combined with a filter".into()),
        (true, true) | (false, false) => {}
    }
    let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
    let kick = Order::Kick(KickOrder { filter, dry_run, reason, wait_ms, yes });
    let done = match order(&reach, kick, registry, |_| {}) {
        Ok(Done::Kick(done)) => done,
        Ok(_) => return Ok(Failed::unusable("the service answered another order").report()),
        Err(failed) => return Ok(failed.report()),
    };
    print_notes(&done.notes);
    let KickDone {
        sessions, kicked, already_gone, failed, not_attributed, servers, complete, ..
    } = &done;
    let code = if dry_run || (*failed == 0 && *complete) { GOOD } else { REFUSED };
    if reach.json {
        say(json!({
            "sessions": sessions, "kicked": kicked, "already_gone": already_gone, "failed": failed,
            "dry_run": dry_run, "not_attributed": not_attributed, "servers": servers, "complete": complete,
        }));
        return Ok(code);
    }
    print_kicked(sessions, dry_run);
    if *not_attributed > 0 {
        say(format_args!(
            "not kicked: {} that no replica has admitted",
            count(*not_attributed, "matching connection")
        ));
    }
    if dry_run || !complete {
        say(answered(servers));
    }
    match dry_run {
        true => say(format_args!("would kick {}", count(sessions.len(), "session"))),
        false => say(format_args!("kicked {kicked}, already gone {already_gone}, failed {failed}")),
    }
    Ok(code)
}

/// Prints sessions with the result of their kick.
pub(super) fn print_kicked(sessions: &[KickedRow], dry_run: bool) {
    let more: &[&str] = if dry_run { &[] } else { &["RESULT"] };
    let mut columns = columns(false, more);
    for KickedRow { row, result } in sessions {
        let mut cells = cells(row, false);
        cells.extend(result.clone());
        columns.push(cells);
    }
    print_table(&columns);
}
