//! `callgate replay`

mod record;

use std::{fs::File, io::BufReader, path::PathBuf};

use callgate_authenticators::kind::Registry;
use jiff::Timestamp;

use self::record::Recorded;
use super::{
    GOOD, Outcome, REFUSED, UNUSABLE,
    audit::filter::time,
    diff::{
        identities::lines,
        load,
        report::{FailOn, Preview as Differences},
    },
    output::{Style, complain, print, say},
};
use crate::{
    audit::verify::{Broken, Verifier},
    rehearsal::Rehearsal,
};

/// Decide recorded logins again with another configuration, and show the differences
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  callgate replay audit/*.jsonl --config next.toml
  callgate replay audit/*.jsonl --config next.toml --against callgate.toml --since 24h

No backend is asked and no password is needed; the audit needs `facts = true`. Exits with 0 if nothing differs, \
with 1 if something does, and with 2 if a file or a configuration is unusable or a chain is broken.")]
pub(super) struct Args {
    /// Audit files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
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
    if !verify(args)? {
        return Ok(UNUSABLE);
    }
    let Some(new) = load(&args.config, args.json, registry)? else { return Ok(UNUSABLE) };
    let new = Rehearsal::of(&new);
    let old = match &args.against {
        None => None,
        Some(path) => match load(path, args.json, registry)? {
            Some(old) => Some(Rehearsal::of(&old)),
            None => return Ok(UNUSABLE),
        },
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut differences = Differences::default();
    for path in &args.files {
        let records = lines(path).map_err(|error| format!("`{}`: {error}", path.display()))?;
        for record in &records {
            let Some(recorded) = Recorded::read(record) else { continue };
            if args.since.is_some_and(|since| recorded.time < since)
                || args.until.is_some_and(|until| recorded.time >= until)
            {
                continue;
            }
            runtime.block_on(replay(&recorded, old.as_ref(), &new, &mut differences));
        }
    }
    differences.sort();
    differences.merge();
    match args.json {
        true => say(differences.to_json()),
        false => print(&differences, Style::of_stdout()),
    }
    Ok(if differences.has(FailOn::Any) { REFUSED } else { GOOD })
}

/// Checks the chains; false if a broken one forbids to go on.
fn verify(args: &Args) -> Result<bool, String> {
    let mut verifier = Verifier::new([]);
    for path in &args.files {
        let failed = |error: std::io::Error| format!("cannot read `{}`: {error}", path.display());
        let file = File::open(path).map_err(failed)?;
        verifier.read(&path.display().to_string(), BufReader::new(file)).map_err(failed)?;
    }
    let broken = verifier.finish().broken;
    let level = if args.unverified { "warning" } else { "error" };
    for Broken { file, line, what, .. } in &broken {
        complain(format_args!("{level}: {file} line {line}: {what}"));
    }
    if !broken.is_empty() && !args.unverified {
        complain("error: the chain is broken: pass --unverified to use these records all the same");
    }
    Ok(broken.is_empty() || args.unverified)
}

/// Decides one record again. What cannot be decided is counted, never as the same.
async fn replay(
    recorded: &Recorded,
    old: Option<&Rehearsal>,
    new: &Rehearsal,
    differences: &mut Differences,
) {
    // An audit has the claims that the policy in force named, so others are unknown.
    let named = old.map(|old| old.policy().used_claims());
    let knows_claims = named.is_some_and(|named| new.policy().used_claims().is_within(&named));
    let after = recorded.decide(new, knows_claims).await;
    let before = match old {
        Some(old) => recorded.decide(old, knows_claims).await.map(Some),
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
