//! `callgate lock`, `unlock` and `locks`

use std::time::Duration;

use callgate::clock::UnixTime;
use callgate_authenticators::kind::Registry;
use callgate_config::parse_duration;
use serde_json::{Value, json};

use super::{
    GOOD, Outcome, REFUSED, UNUSABLE,
    kick::print_kicked,
    orders::{
        Columns, Failed, Reach, TargetArgs, answered, order, print_notes, print_table, time,
        time_or_now,
    },
    output::{complain, count, say},
};
use crate::{
    control::{Done, LockDone, LockOrder, Order, Reply},
    state::Target,
};

/// Clients that give up after refusals.
const GIVEN_UP: &str = "clients that gave up after two refusals (nats.go, nats.js, nats.java, NATS .NET) do not \
                        come back by themselves: restart them";

/// Refuse everything that matches, and kick its sessions
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  callgate lock --user alice --authenticator staff --reason \"laptop stolen\" --ttl 8h --config callgate.toml
  callgate lock --source 203.0.113.0/24 --ttl 1h --config callgate.toml
  callgate lock --user alice --issued-before now --config callgate.toml   # log out everywhere

Several targets in one lock must all match. The lock is stored in the bucket of `[state]`, holds for every
replica, and survives restarts and reloads.

Exits with 0 if the lock is in force on every replica and all matching sessions are gone; 1 if it is stored,
but a replica or a server has not confirmed; 2 if it is not stored.")]
pub(super) struct Args {
    #[command(flatten)]
    target: TargetArgs,
    /// Only credentials issued before this time; newer tokens work
    #[arg(long, value_name = "TIME|now", value_parser = time_or_now)]
    issued_before: Option<UnixTime>,
    /// Everyone
    #[arg(long)]
    everyone: bool,
    /// End of the lock, from now
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, conflicts_with = "until")]
    ttl: Option<Duration>,
    /// End of the lock; by default only `unlock` ends it
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<UnixTime>,
    /// Why, for the log and `locks`
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Leave live sessions alone until they end
    #[arg(long)]
    no_kick: bool,
    /// Print what would be locked and kicked, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Kick more than 1000 sessions, or more than a tenth of them, without asking
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    reach: Reach,
}

pub(super) fn run(args: Args, registry: Registry) -> Outcome {
    let Args { target, issued_before, everyone, ttl, until, reason, no_kick, dry_run, yes, reach } =
        args;
    let target = Target { issued_before, everyone, ..target.into_target() };
    if target.is_empty() {
        return Err("no target: pass one, such as --user, or --everyone".into());
    }
    if until.is_some_and(|until| until <= UnixTime::now()) || ttl.is_some_and(|ttl| ttl.is_zero()) {
        return Err("the end of the lock is in the past".into());
    }
    let lasts = ttl.map(|ttl| ttl.as_secs().max(1));
    let ends = until.map(UnixTime::seconds);
    let lock = Order::Lock(LockOrder { target, lasts, ends, reason, no_kick, dry_run, yes });
    let json = reach.json;
    let progress = |reply: &Reply| {
        if !json {
            print_progress(reply);
        }
    };
    let done = match order(&reach, lock, registry, progress) {
        Ok(Done::Lock(done)) => done,
        Ok(_) => return Ok(Failed::unusable("the service answered another order").report()),
        Err(failed) => return Ok(failed.report()),
    };
    print_notes(&done.notes);
    if json {
        say(as_json(&done));
    } else {
        print_end(&done, no_kick);
    }
    let is_done = done.unconfirmed.is_empty()
        && done.failed == 0
        && done.not_searched.is_none()
        && done.servers.missing.is_empty()
        && done.servers.answered >= done.servers.expected
        && (no_kick || done.spared == 0);
    Ok(if dry_run || is_done { GOOD } else { REFUSED })
}

fn print_progress(reply: &Reply) {
    match reply {
        Reply::Stored { id, target, until } => {
            let until = until.as_ref().map(|until| format!(", until {until}")).unwrap_or_default();
            say(format_args!("lock {id}  {target}{until}"));
        }
        Reply::InForce { confirmed, unconfirmed, seconds } => {
            let all = confirmed.len() + unconfirmed.len();
            let missing = match unconfirmed.is_empty() {
                true => String::new(),
                false => format!("; not confirmed by {}", unconfirmed.join(", ")),
            };
            say(format_args!(
                "in force on {} of {} after {seconds:.2} s{missing}",
                confirmed.len(),
                count(all, "replica")
            ));
        }
        Reply::Confirm { .. } | Reply::Done(_) | Reply::Failed { .. } => {}
    }
}

fn print_end(done: &LockDone, no_kick: bool) {
    if done.dry_run {
        say(format_args!("would lock {}", done.target));
        print_kicked(&done.sessions, true);
        say(format_args!(
            "would kick {}; {}",
            count(done.sessions.len(), "session"),
            answered(&done.servers)
        ));
        return;
    }
    if let Some(why) = &done.not_searched {
        complain(format_args!("warning: live sessions were not kicked: {why}"));
        return;
    }
    let failed: Vec<_> = done
        .sessions
        .iter()
        .filter(|row| row.result.as_ref().is_some_and(|it| it.starts_with("failed")))
        .cloned()
        .collect();
    print_kicked(&failed, false);
    let spared = match (done.spared, no_kick) {
        (0, _) => String::new(),
        (number, _) => format!(", left {} alone", count(number, "session")),
    };
    let failures =
        if done.failed == 0 { String::new() } else { format!(", failed {}", done.failed) };
    say(format_args!(
        "kicked {}{failures}{spared}; {}",
        count(done.kicked, "session"),
        answered(&done.servers)
    ));
}

fn as_json(done: &LockDone) -> Value {
    json!({
        "id": done.id, "target": done.target, "until": done.until, "reason": done.reason, "actor": done.actor,
        "confirmed": done.confirmed, "unconfirmed": done.unconfirmed, "kicked": done.kicked,
        "failed": done.failed, "spared": done.spared, "dry_run": done.dry_run, "sessions": done.sessions,
        "not_searched": done.not_searched, "servers": done.servers,
    })
}

/// End locks
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  callgate unlock 01KB6T3H3E --config callgate.toml
  callgate unlock --all --config callgate.toml

Clients that gave up after two refusals (nats.go, nats.js, nats.java, NATS .NET) do not come back by
themselves.

Exits with 0 if the locks have ended, 1 if one does not exist, 2 for wrong usage or if one could not be
removed.")]
pub(super) struct UnlockArgs {
    /// IDs of locks, as `callgate locks` prints them
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    ids: Vec<String>,
    /// End all locks
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    reach: Reach,
}

pub(super) fn unlock(args: UnlockArgs, registry: Registry) -> Outcome {
    let UnlockArgs { ids, all, reach } = args;
    let (unlocked, unknown, failed) =
        match order(&reach, Order::Unlock { ids, all }, registry, |_| {}) {
            Ok(Done::Unlock { unlocked, unknown, failed }) => (unlocked, unknown, failed),
            Ok(_) => return Ok(Failed::unusable("the service answered another order").report()),
            Err(failed) => return Ok(failed.report()),
        };
    match reach.json {
        true => say(json!({ "unlocked": unlocked, "unknown": unknown, "failed": failed })),
        false => {
            unlocked.iter().for_each(|id| say(format_args!("unlocked {id}")));
            if all && unlocked.is_empty() && failed.is_empty() {
                say("there are no locks");
            }
        }
    }
    unknown.iter().for_each(|id| complain(format_args!("error: there is no lock `{id}`")));
    failed.iter().for_each(|failure| complain(format_args!("error: {failure}")));
    if !unlocked.is_empty() {
        complain(format_args!("note: {GIVEN_UP}"));
    }
    Ok(match (failed.is_empty(), unknown.is_empty()) {
        (false, _) => UNUSABLE,
        (true, false) => REFUSED,
        (true, true) => GOOD,
    })
}

/// List the locks
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  callgate locks --config callgate.toml
  callgate locks --json --config callgate.toml

A lock that this version of Callgate does not understand is shown as unreadable.

Exits with 0, or 2 for wrong usage or an unreachable service.")]
pub(super) struct ListArgs {
    #[command(flatten)]
    reach: Reach,
}

pub(super) fn list(args: ListArgs, registry: Registry) -> Outcome {
    let ListArgs { reach } = args;
    let locks = match order(&reach, Order::Locks, registry, |_| {}) {
        Ok(Done::Locks { locks }) => locks,
        Ok(_) => return Ok(Failed::unusable("the service answered another order").report()),
        Err(failed) => return Ok(failed.report()),
    };
    if reach.json {
        say(json!({ "locks": locks }));
        return Ok(GOOD);
    }
    let mut columns =
        Columns::new(&["ID", "TARGET", "UNTIL", "REFUSED", "CREATED", "ACTOR", "REASON"]);
    for lock in &locks {
        columns.push(lock_cells(lock));
    }
    print_table(&columns);
    for lock in &locks {
        for left in lock["left_alone"].as_array().into_iter().flatten() {
            say(format_args!(
                "lock {}: left alone `{}` in {} from {}: it reconnected without Callgate, as a static user does",
                text(&lock["id"]),
                text(&left["user"]),
                text(&left["account"]),
                text(&left["source"]),
            ));
        }
    }
    say(count(locks.len(), "lock"));
    Ok(GOOD)
}

fn lock_cells(lock: &Value) -> Vec<String> {
    let target = match &lock["unreadable"] {
        Value::String(why) => format!("unreadable: {why}"),
        _ => serde_json::from_value::<Target>(lock["target"].clone())
            .map_or_else(|_| lock["target"].to_string(), |target| target.to_string()),
    };
    let or = |value: &Value, absent: &str| match value {
        Value::Null => absent.to_owned(),
        value => text(value),
    };
    vec![
        text(&lock["id"]),
        target,
        or(&lock["until"], "unlocked"),
        or(&lock["refused"], "?"),
        or(&lock["created"], "?"),
        or(&lock["actor"], "?"),
        or(&lock["reason"], "-"),
    ]
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
