//! `callgate audit`: verifies and searches what the audit wrote.

mod convert;
pub(super) mod filter;
mod query;
pub(super) mod stream;
mod verify;

use std::path::PathBuf;

use callgate_authenticators::kind::Registry;
use clap::Subcommand;

use super::{Outcome, source::build_env};
use crate::{
    audit::AuditSettings,
    config::{self, Config, Overrides},
};

/// Verify and search the audit
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  callgate audit verify audit/*.jsonl --config callgate.toml
  callgate audit query audit.jsonl --user alice --since 24h
  callgate audit query audit.jsonl --follow --as ocsf")]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Verify every chain, every seal and every join between files
    Verify(verify::VerifyArgs),
    /// Print the records that match
    Query(Box<query::QueryArgs>),
}

/// Where records are read from.
#[derive(Debug, clap::Args)]
struct From {
    /// Files, in any order
    #[arg(value_name = "FILE", required_unless_present = "stream", conflicts_with = "stream")]
    files: Vec<PathBuf>,
    /// A JetStream stream in the account of the login in `[nats]`
    #[arg(long, value_name = "NAME", requires = "config")]
    stream: Option<String>,
    /// Configuration: its keys verify seals and find hidden fields
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
}

pub(super) fn run(args: Args, registry: Registry) -> Outcome {
    match args.verb {
        Verb::Verify(args) => verify::run(&args, registry),
        Verb::Query(args) => query::run(&args, registry),
    }
}

impl From {
    /// The configuration, if there is one.
    ///
    /// # Errors
    /// If it is invalid.
    fn configuration(&self, registry: Registry) -> Result<Option<Config>, String> {
        let Some(path) = &self.config else { return Ok(None) };
        let overrides = Overrides { config: Some(path.clone()), ..Overrides::default() };
        let loaded = config::load(&overrides, &build_env(registry, false));
        let faults = loaded.report.faults();
        let first = faults.first().map(ToString::to_string).unwrap_or_default();
        loaded.config.map(Some).ok_or(first)
    }
}

/// The stream to read, with the configuration that names its servers.
fn stream<'a>(from: &'a From, config: Option<&'a Config>) -> Option<(&'a str, &'a Config)> {
    from.stream.as_deref().zip(config)
}

/// `[audit]` of a configuration.
fn settings(config: Option<&Config>) -> Option<&AuditSettings> {
    config?.audit.as_ref()
}
