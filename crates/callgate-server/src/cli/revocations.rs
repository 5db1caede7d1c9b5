//! `callgate revocations`

use callgate_authenticators::kind::Registry;
use serde_json::json;

use super::{
    GOOD, Outcome, REFUSED,
    orders::{Columns, Failed, Reach, order, print_table},
    output::{complain, count, say},
};
use crate::{
    control::{Done, Order},
    revocation::{HeldRow, Ruling, RulingDone},
};

/// List the changes that are held because they would end many sessions, and decide about them
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  callgate revocations --config callgate.toml
  callgate revocations --config callgate.toml --apply 7GJK2P0QMV

A change is held if it would end more than 10 sessions and a larger share of all sessions than
`revocation.hold_above`. The decision holds for all replicas, until the next change.

Held changes are known only to running services. `--direct` asks them through `[state]` instead of the
control socket.

Exits with 0; 1 if no such change is held, or a session may not have ended; 2 for wrong usage or an
unreachable service.")]
pub(super) struct Args {
    /// End the sessions of this held change
    #[arg(long, value_name = "ID", conflicts_with = "drop")]
    apply: Option<String>,
    /// Forget this held change; its sessions go on
    #[arg(long, value_name = "ID")]
    drop: Option<String>,
    #[command(flatten)]
    reach: Reach,
}

pub(super) fn run(args: Args, registry: Registry) -> Outcome {
    let Args { apply, drop, reach } = args;
    let decision = match (apply, drop) {
        (Some(id), _) => Some((id, Ruling::Apply)),
        (None, Some(id)) => Some((id, Ruling::Drop)),
        (None, None) => None,
    };
    let wanted = match &decision {
        Some((id, ruling)) => Order::RuleRevocation { id: id.clone(), ruling: *ruling },
        None => Order::Revocations,
    };
    let json = reach.json;
    match (order(&reach, wanted, registry, |_| {}), decision) {
        (Ok(Done::Revocations { held }), None) => {
            print_held(&held, json);
            Ok(GOOD)
        }
        (Ok(Done::RevocationRuled(done)), Some((id, ruling))) => {
            print_done(&id, ruling, &done, json);
            Ok(if done.counts.failed == 0 { GOOD } else { REFUSED })
        }
        (Ok(_), _) => Ok(Failed::unusable("the service answered another order").report()),
        (Err(failed), _) => Ok(failed.report()),
    }
}

fn print_held(held: &[HeldRow], json: bool) {
    if json {
        return say(json!({ "held": held }));
    }
    let mut columns = Columns::new(&["ID", "CAUSE", "SESSIONS", "SHARE", "SINCE"]);
    for HeldRow { id, cause, sessions, share, since } in held {
        let share = format!("{:.0}%", share * 100.0);
        columns.push(vec![id.clone(), cause.clone(), sessions.to_string(), share, since.clone()]);
    }
    print_table(&columns);
    say(format_args!("{} held", count(held.len(), "change")));
}

fn print_done(id: &str, ruling: Ruling, done: &RulingDone, json: bool) {
    let counts = done.counts;
    if json {
        return say(json!({
            "id": id, "decision": ruling, "replicas": done.replicas, "kicked": counts.kicked,
            "already_gone": counts.already_gone, "failed": counts.failed,
        }));
    }
    match ruling {
        Ruling::Apply => say(format_args!(
            "applied {id}: kicked {}, already gone {}, failed {}",
            counts.kicked, counts.already_gone, counts.failed
        )),
        Ruling::Drop => {
            say(format_args!("dropped {id}"));
            complain("note: the next change is evaluated afresh, and may be held again");
        }
    }
}
