//! `callgate serve`

use std::sync::Arc;

use callgate_authenticators::kind::Registry;
use tracing::{info, warn};

use super::{
    GOOD,
    output::{complain, unusable},
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

/// Flushes the log when dropped, also when a panic ends the process.
struct FlushLog;

impl Drop for FlushLog {
    fn drop(&mut self) {
        flush_log();
    }
}

pub(super) fn run(args: Args, registry: Registry) -> u8 {
    let _flush_log = FlushLog;
    let overrides = match args.source.overrides() {
        Ok(overrides) => overrides,
        Err(error) => return unusable(error),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return unusable(format_args!("cannot start the async runtime: {error}")),
    };
    let outcome = runtime.block_on(async move {
        let observers = Arc::new(Observers::default());
        let env =
            BuildEnv { observer: Arc::clone(&observers.metrics) as _, ..build_env(registry, true) };
        let log = config::log_settings(&overrides);
        start_logging(log.format, log.level);
        let Loaded { config, report, files, overridden } = config::load(&overrides, &env);
        let Some(config) = config else {
            flush_log();
            for fault in report.faults() {
                complain(format_args!("error: {fault}"));
            }
            return Err("invalid configuration; `callgate check` prints the same errors".to_owned());
        };
        for warning in report.warnings() {
            warn!(key = warning.path, "{}", warning.message);
        }
        for key in overridden {
            info!(key, "a flag or environment variable overrides a key in the file");
        }
        let run = service::run(config, overrides, env, observers, files);
        run.await.map_err(|error| error.to_string())
    });
    // Requests in flight were finished above; background tasks never end on their own.
    runtime.shutdown_background();
    // So that the error below comes after the log.
    flush_log();
    match outcome {
        Ok(()) => GOOD,
        Err(error) => unusable(error),
    }
}
