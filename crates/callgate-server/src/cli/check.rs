//! `callgate check`

use callgate_authenticators::kind::Registry;

use super::{
    GOOD, Outcome, UNUSABLE,
    output::{findings, say},
    source::{Source, build_env},
};
use crate::config;

/// Check a configuration without connecting, and print all errors and warnings
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  callgate check --config callgate.toml

Exits with 2 if there is an error; warnings alone are not a failure.")]
pub(super) struct Args {
    #[command(flatten)]
    source: Source,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, registry: Registry) -> Outcome {
    let overrides = args.source.overrides()?;
    let loaded = config::load(&overrides, &build_env(registry, false));
    let faults = loaded.report.faults();
    let warnings = loaded.report.warnings();
    let code = if loaded.config.is_some() { GOOD } else { UNUSABLE };
    if args.json {
        say(findings(&loaded.report));
        return Ok(code);
    }
    for fault in &faults {
        say(format_args!("error: {fault}"));
    }
    for warning in &warnings {
        say(format_args!("warning: {warning}"));
    }
    let plural =
        |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let verdict =
        if code == GOOD { "the configuration is valid" } else { "the configuration is invalid" };
    say(format_args!(
        "{verdict}: {}, {}",
        plural(faults.len(), "error"),
        plural(warnings.len(), "warning")
    ));
    Ok(code)
}
