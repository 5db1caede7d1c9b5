//! `callgate diff`

pub(super) mod identities;
pub(super) mod report;

use std::{collections::BTreeSet, path::PathBuf};

use callgate::clock::UnixTime;
use callgate_authenticators::kind::Registry;
use callgate_config::Report;

use self::{
    identities::{audited, listed},
    report::{FailOn, Preview as Differences},
};
use super::{
    GOOD, Outcome, REFUSED, UNUSABLE,
    hidden_names::HiddenNames,
    output::{Style, complain, findings, print, say},
    source::{Source, build_env},
};
use crate::{
    config::{self, Config},
    rehearsal::{
        IdentitySpec, Rehearsal, SpecContext,
        preview::{Effect, Found, Preview},
        roles,
    },
};

/// Show which identities gain or lose what by a change of the configuration
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  callgate diff callgate.toml next.toml
  callgate diff callgate.toml next.toml --audit audit/*.jsonl --fail-on gain

Exits with 0 if nothing differs, with 1 if something does (with --fail-on: of that kind), and with 2 if a \
file or a configuration is unusable.")]
pub(super) struct Args {
    /// Configuration in force
    old: PathBuf,
    /// Configuration to compare with it
    new: PathBuf,
    /// Also compare the identities in these audit files
    #[arg(long, value_name = "FILE", num_args = 1..)]
    audit: Vec<PathBuf>,
    /// Also compare the identities in this list (.toml, .yaml, .json or .jsonl)
    #[arg(long, value_name = "FILE")]
    identities: Option<PathBuf>,
    /// Exit with 1 only for differences of this kind
    #[arg(long, value_name = "KIND", value_enum)]
    fail_on: Option<FailOn>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, registry: &Registry) -> Outcome {
    let old = load(&args.old, args.json, registry)?;
    let new = load(&args.new, args.json, registry)?;
    let (Some(old), Some(new)) = (old, new) else { return Ok(UNUSABLE) };
    let preview = Preview::new(Rehearsal::of(&old), Rehearsal::of(&new));
    let report = Report::new();
    let listed = args
        .identities
        .as_ref()
        .map(|path| listed(path, &preview.context(), &report))
        .unwrap_or_default();
    if !report.is_faultless() {
        print_faults(&report, args.json);
        return Ok(UNUSABLE);
    }
    let now = UnixTime::now();
    let names = HiddenNames::of(&[(&old, &preview.old), (&new, &preview.new)], now);
    let audited = audited(&args.audit, &preview, &names)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let identities = (listed.as_slice(), audited.specs.as_slice());
    let mut differences = runtime.block_on(compare(&preview, identities, now))?;
    differences.undecided += audited.unknown;
    differences.sort();
    match args.json {
        true => say(differences.to_json()),
        false => print(&differences, Style::of_stdout()),
    }
    Ok(if differences.has(args.fail_on.unwrap_or(FailOn::Any)) { REFUSED } else { GOOD })
}

/// The configuration of a file, or `None` if it is unusable, which is printed.
pub(super) fn load(
    path: &PathBuf,
    json: bool,
    registry: &Registry,
) -> Result<Option<Config>, Box<dyn std::error::Error>> {
    if let Err(error) = std::fs::metadata(path)
        && path.as_os_str() != "-"
    {
        let report = Report::new();
        report.fault("", format!("cannot read `{}`: {error}", path.display()));
        print_faults(&report, json);
        return Ok(None);
    }
    let overrides = Source::default().overrides_of(Some(path))?;
    let loaded = config::load(&overrides, &build_env(registry.clone(), false));
    if loaded.config.is_none() {
        print_faults(&loaded.report, json);
    }
    Ok(loaded.config)
}

fn print_faults(report: &Report, json: bool) {
    if json {
        return say(findings(report));
    }
    for fault in report.faults() {
        complain(format_args!("error: {fault}"));
    }
}

async fn compare(
    preview: &Preview,
    (listed, audited): (&[IdentitySpec], &[IdentitySpec]),
    now: UnixTime,
) -> Result<Differences, String> {
    let mut differences = Differences::default();
    let mut seen = BTreeSet::new();
    for (authenticator, user, old, new) in preview.entries(now).await {
        let who = format!("{authenticator}/{user}");
        differences.count(&who, preview.compare(&authenticator, (&old, &new), true, now));
        seen.insert(who);
    }
    // An entry of an audit is compared as it is now. A list may describe it in another way.
    let is_bare = |spec: &IdentitySpec| {
        spec.groups.is_none() && spec.claims.is_none() && spec.roles.is_none()
    };
    let is_entry = |spec: &IdentitySpec| preview.old.is_own_file(&spec.authenticator);
    let listed = listed.iter().map(|spec| (spec, is_bare(spec)));
    let audited = audited.iter().map(|spec| (spec, is_entry(spec) || is_bare(spec)));
    for (spec, adds_nothing) in listed.chain(audited) {
        let who = format!("{}/{}", spec.authenticator, spec.user);
        if !seen.insert(who.clone()) && adds_nothing {
            continue;
        }
        let both: (Found, Found) = preview
            .described(spec, now)
            .await
            .map_err(|error| format!("the identity `{who}`: {error}"))?;
        let has_claims = spec.claims.is_some();
        let effect = preview.compare(&spec.authenticator, (&both.0, &both.1), has_claims, now);
        differences.count(&who, effect);
    }
    for (role, difference) in roles::differences(preview.old.policy(), preview.new.policy()) {
        differences.add(&role, vec![difference]);
    }
    Ok(differences)
}

impl Differences {
    fn count(&mut self, who: &str, effect: Effect) {
        match effect {
            Effect::Same => self.same += 1,
            Effect::Undecided => self.undecided += 1,
            Effect::Differs(list) => {
                self.differ += 1;
                self.add(who, list);
            }
        }
    }
}

impl Preview {
    /// The names that both configurations have.
    fn context(&self) -> SpecContext {
        let old = SpecContext::of(&self.old);
        let new = SpecContext::of(&self.new);
        let mut both = old;
        both.authenticators.extend(new.authenticators);
        both.authenticators.sort();
        both.authenticators.dedup();
        both.roles.extend(new.roles);
        both
    }
}
