//! `callgate serve`

use std::{error::Error, sync::Arc};

use callgate_authenticators::kind::Registry;
use tracing::{info, warn};

use super::{
    GOOD, Outcome,
    output::complain,
    source::{Source, build_env},
};
use crate::{
    assemble::Observers,
    config::{self, BuildEnv, Loaded},
    service,
    telemetry::{flush_log, start_logging},
};

/// Run the service
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  callgate serve --config callgate.toml
  callgate serve --nats-url nats://127.0.0.1:4222 --nats-user auth --nats-password env:PASSWORD \\
      --issuer-seed @issuer.nk --xkey-seed @xkey.xk --users users.json

SIGTERM finishes requests in flight and exits; SIGHUP reloads the configuration.")]
pub(super) struct Args {
    #[command(flatten)]
    source: Source,
}

/// Flushes the log when `run` returns, so that its error is printed after the log, and on a panic.
struct FlushLog;

impl Drop for FlushLog {
    fn drop(&mut self) {
        flush_log();
    }
}

pub(super) fn run(args: Args, registry: Registry) -> Outcome {
    let _flush_log = FlushLog;
    let overrides = args.source.overrides()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("cannot start the async runtime: {error}"))?;
    let outcome: Result<(), Box<dyn Error>> = runtime.block_on(async move {
        let observers = Arc::new(Observers::default());
        let env = BuildEnv {
            observer: Arc::clone(&observers.metrics) as _,
            bus: Some(Arc::default()),
            ..build_env(registry, true)
        };
        let log = config::log_settings(&overrides);
        start_logging(log.format, log.level);
        let Loaded { config, report, files, watched_elsewhere, overridden } =
            config::load(&overrides, &env);
        let Some(config) = config else {
            flush_log();
            for fault in report.faults() {
                complain(format_args!("error: {fault}"));
            }
            return Err("invalid configuration; `callgate check` prints the same errors".into());
        };
        for warning in report.warnings() {
            warn!(key = warning.path, "{}", warning.message);
        }
        for key in overridden {
            info!(key, "a flag or environment variable overrides a key in the file");
        }
        Ok(service::run(config, overrides, env, observers, files, watched_elsewhere).await?)
    });
    // Requests in flight were finished above; background tasks never end on their own.
    runtime.shutdown_background();
    outcome.map(|()| GOOD)
}
