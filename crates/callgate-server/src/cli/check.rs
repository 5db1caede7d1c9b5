//! `callgate check`

mod connect;

use std::{path::PathBuf, sync::Arc};

use callgate::authn::Probe;
use callgate_authenticators::kind::Registry;

use self::connect::{Reached, reach};
use super::{
    GOOD, Outcome, REFUSED, UNUSABLE,
    output::{count, findings, say},
    source::{Source, build_env},
};
use crate::config::{self, BuildEnv};

/// Check a configuration without connecting, and print all errors and warnings
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  callgate check callgate.toml
  helm template gate | yq .data.config | callgate check - --format yaml --strict

Exits with 2 if there is an error; warnings alone are not a failure, except with --strict.")]
pub(super) struct Args {
    /// Configuration file, as with --config
    #[arg(conflicts_with = "config")]
    file: Option<PathBuf>,
    #[command(flatten)]
    source: Source,
    /// Exit with 1 if there is a warning
    #[arg(long)]
    strict: bool,
    /// Also connect to NATS and reach every backend as the service would
    #[arg(long)]
    connect: bool,
    /// Also send a question to services that decide, marked so that they can tell it from a login
    #[arg(long, requires = "connect")]
    probe: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, registry: Registry) -> Outcome {
    let overrides = match &args.file {
        Some(file) => args.source.overrides_of(Some(file))?,
        None => args.source.overrides()?,
    };
    let bus = args.connect.then(Arc::default);
    let env = BuildEnv { bus: bus.clone(), ..build_env(registry, false) };
    let loaded = config::load(&overrides, &env);
    let faults = loaded.report.faults();
    let warnings = loaded.report.warnings();
    let is_valid = loaded.config.is_some();
    let notes = loaded.config.as_ref().map(|config| config.notes.clone()).unwrap_or_default();
    let reached = match (loaded.config, bus) {
        (Some(config), Some(bus)) => reach(&config, &bus, Probe { send_question: args.probe })?,
        (Some(_), None) | (None, _) => Vec::new(),
    };
    let is_good = is_valid && reached.iter().all(|reached| reached.result.is_ok());
    let has_warnings = !warnings.is_empty() || reached.iter().any(Reached::has_warnings);
    let code = match is_good {
        false => UNUSABLE,
        true if args.strict && has_warnings => REFUSED,
        true => GOOD,
    };
    if args.json {
        let mut findings = findings(&loaded.report);
        if !notes.is_empty() {
            callgate_config::schema::set(&mut findings, "notes", notes.into());
        }
        if args.connect {
            let reached = reached.iter().map(Reached::to_json).collect();
            callgate_config::schema::set(&mut findings, "connections", reached);
        }
        say(findings);
        return Ok(code);
    }
    for fault in &faults {
        say(format_args!("error: {fault}"));
    }
    for warning in &warnings {
        say(format_args!("warning: {warning}"));
    }
    for note in &notes {
        say(format_args!("note: {note}"));
    }
    let verdict =
        if is_valid { "the configuration is valid" } else { "the configuration is invalid" };
    say(format_args!(
        "{verdict}: {}, {}",
        count(faults.len(), "error"),
        count(warnings.len(), "warning")
    ));
    reached.iter().for_each(say);
    Ok(code)
}
