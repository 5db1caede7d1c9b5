//! `callgate replay`

mod record;

use std::{
    io::{BufRead, BufReader},
    path::PathBuf,
};

use callgate::clock::UnixTime;
use callgate_authenticators::kind::Registry;
use jiff::Timestamp;

use self::record::Recorded;
use super::{
    GOOD, Outcome, REFUSED, UNUSABLE,
    audit::{filter::time, stream::stored_lines},
    diff::{
        load,
        report::{FailOn, Preview as Differences},
    },
    hidden_names::HiddenNames,
    output::{Style, complain, print, say},
    progress::Shown,
};
use crate::{
    audit::verify::{Broken, Verifier},
    config::Config,
    rehearsal::Rehearsal,
};

/// Decide recorded logins again with another configuration, and show the differences
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  callgate replay audit/*.jsonl --config next.toml
  callgate replay audit/*.jsonl --config next.toml --against callgate.toml --since 24h
  callgate replay --stream CALLGATE_AUDIT --config next.toml

No backend is asked and no password is needed; the audit needs `facts = true`. Exits with 0 if nothing differs, \
with 1 if something does, and with 2 if a file or a configuration is unusable or a chain is broken.")]
pub(super) struct Args {
    /// Audit files
    #[arg(value_name = "FILE", required_unless_present = "stream", conflicts_with = "stream")]
    files: Vec<PathBuf>,
    /// A JetStream stream in the account of the login in `[nats]` of NEW
    #[arg(long, value_name = "NAME")]
    stream: Option<String>,
    /// Configuration to decide with
    #[arg(long, short, value_name = "NEW")]
    config: PathBuf,
    /// Configuration to compare with, instead of what was recorded
    #[arg(long, value_name = "OLD")]
    against: Option<PathBuf>,
    /// From this time (RFC 3339), or this long ago (`24h`)
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<Timestamp>,
    /// Before this time, or this long ago
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<Timestamp>,
    /// Also use records whose chain is broken
    #[arg(long)]
    unverified: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, registry: &Registry) -> Outcome {
    args.check_period()?;
    let Some(new) = load(&args.config, args.json, registry)? else { return Ok(UNUSABLE) };
    let old = match &args.against {
        None => None,
        Some(path) => match load(path, args.json, registry)? {
            Some(old) => Some(old),
            None => return Ok(UNUSABLE),
        },
    };
    let stored = args.stream.as_deref().map(|name| stored_lines(&new, name)).transpose()?;
    let replay = Replay::new(old.as_ref(), &new);
    let mut differences = Differences::default();
    if !decide_again(args, stored.as_deref(), &replay, &mut differences)? {
        return Ok(UNUSABLE);
    }
    differences.sort();
    differences.merge();
    match args.json {
        true => say(differences.to_json()),
        false => print(&differences, Style::of_stdout()),
    }
    Ok(if differences.has(FailOn::Any) { REFUSED } else { GOOD })
}

/// Decides what the files or the stream contain, and checks the chains on the way; false if a broken one
/// forbids to use the result.
fn decide_again(
    args: &Args,
    stored: Option<&[u8]>,
    replay: &Replay,
    differences: &mut Differences,
) -> Result<bool, Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut verifier = Verifier::new([]);
    let mut unreadable = None;
    let mut is_empty = true;
    let mut read = |name: &str, source: &mut dyn BufRead| {
        let each = |number: u64, line: &[u8]| {
            is_empty = false;
            match Recorded::read(line, &replay.names) {
                Ok(Some(recorded)) if args.includes(recorded.time) => {
                    runtime.block_on(replay.decide(&recorded, differences));
                }
                Ok(_) => {}
                Err(error) => {
                    unreadable.get_or_insert_with(|| {
                        format!("{name}:{number}: not a record of an audit: {error}")
                    });
                }
            }
        };
        let failed = |error: std::io::Error| format!("cannot read `{name}`: {error}");
        verifier.read_each(name, source, each).map_err(failed)
    };
    for path in &args.files {
        let name = path.display().to_string();
        let failed = |error: std::io::Error| format!("cannot read `{name}`: {error}");
        let file = Shown::open("deciding", path).map_err(failed)?;
        read(&name, &mut BufReader::new(file))?;
    }
    if let (Some(name), Some(mut lines)) = (&args.stream, stored) {
        read(&format!("stream {name}"), &mut lines)?;
    }
    if is_empty {
        return Err("no records: what is read is empty".into());
    }
    match (is_usable(args, verifier), unreadable) {
        (true, Some(error)) => Err(error.into()),
        (true, None) => {
            if differences.is_empty() {
                complain("warning: no decision was found, so nothing was compared");
            }
            Ok(true)
        }
        (false, _) => Ok(false),
    }
}

/// Reports what is broken; false if that forbids to use the records.
fn is_usable(args: &Args, verifier: Verifier) -> bool {
    let broken = verifier.finish().broken;
    let level = if args.unverified { "warning" } else { "error" };
    for Broken { file, line, what, .. } in &broken {
        complain(format_args!("{level}: {file} line {line}: {what}"));
    }
    if !broken.is_empty() && !args.unverified {
        complain("error: the chain is broken: pass --unverified to use these records all the same");
    }
    broken.is_empty() || args.unverified
}

impl Args {
    /// Refuses a period in which nothing can have been recorded.
    fn check_period(&self) -> Result<(), String> {
        if let (Some(since), Some(until)) = (self.since, self.until)
            && since >= until
        {
            return Err(format!("--since ({since}) must be before --until ({until})"));
        }
        match self.since.filter(|since| *since > Timestamp::now()) {
            Some(since) => {
                Err(format!("--since ({since}) is in the future: nothing is recorded yet"))
            }
            None => Ok(()),
        }
    }

    fn includes(&self, time: Timestamp) -> bool {
        self.since.is_none_or(|since| time >= since) && self.until.is_none_or(|until| time < until)
    }
}

/// The configurations to decide with.
struct Replay {
    old: Option<Rehearsal>,
    new: Rehearsal,
    names: HiddenNames,
    /// Whether the records have every claim that can matter.
    knows_claims: bool,
}

impl Replay {
    fn new(old: Option<&Config>, new: &Config) -> Self {
        let after = Rehearsal::of(new);
        let before = old.map(Rehearsal::of);
        let mut both: Vec<(&Config, &Rehearsal)> = vec![(new, &after)];
        both.extend(old.zip(before.as_ref()));
        let names = HiddenNames::of(&both, UnixTime::now());
        // An audit has the claims that the policy in force named, so others are unknown.
        let named = before.as_ref().map(Rehearsal::used_claims);
        let knows_claims = named.is_some_and(|named| after.used_claims().is_within(named));
        Self { old: before, new: after, names, knows_claims }
    }

    /// Decides one record again. What cannot be decided is counted, never as the same.
    async fn decide(&self, recorded: &Recorded, differences: &mut Differences) {
        let after = recorded.decide(&self.new, self.knows_claims).await;
        let before = match &self.old {
            Some(old) => recorded.decide(old, self.knows_claims).await.map(Some),
            None => Some(None),
        };
        let (Some(after), Some(before)) = (after, before) else {
            differences.undecided += 1;
            return;
        };
        let list = recorded.differences(before, &after);
        match list.is_empty() {
            true => differences.same += 1,
            false => {
                differences.differ += 1;
                differences.add(&recorded.who(), list);
            }
        }
    }
}
