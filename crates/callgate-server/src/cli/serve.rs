//! `callgate serve`

use std::{error::Error, sync::Arc};

use callgate_authenticators::kind::Registry;
use callgate_config::Report;
use tracing::{error, info, warn};

use super::{
    GOOD, Outcome, UNUSABLE,
    output::complain,
    source::{Source, build_env},
};
use crate::{
    audit::Environment,
    bus::ServiceBus,
    config::{self, BuildEnv, Loaded},
    observers::Observers,
    service,
    telemetry::{LogFormat, flush_log, start_logging},
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
    if args.source.is_input()? {
        return Err(
            "serve does not read a configuration from standard input, which a reload could not \
                    read again: pass a file"
                .into(),
        );
    }
    let overrides = args.source.overrides()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("cannot start the async runtime: {error}"))?;
    let log = config::log_settings(&overrides);
    start_logging(log.format, log.level);
    let outcome: Result<(), Box<dyn Error>> = runtime.block_on(async move {
        let observers = Arc::new(Observers::default());
        let bus = Arc::<ServiceBus>::default();
        let env = BuildEnv {
            observer: Arc::clone(&observers) as _,
            bus: Some(Arc::clone(&bus)),
            keeps_state: true,
            ..build_env(registry, true)
        };
        let Loaded { config, report, files, watched_elsewhere, overridden } =
            config::load(&overrides, &env);
        let Some(config) = config else {
            log_errors(&report, log.format);
            return Err("invalid configuration; `callgate check` prints the same errors".into());
        };
        for warning in report.warnings() {
            let key = Some(&*warning.path).filter(|key| !key.is_empty());
            warn!(key, "{}", warning.message);
        }
        for key in overridden {
            info!(key, "a flag or environment variable overrides a key in the file");
        }
        if let Some(audit) = &config.audit {
            observers.audit.start(Environment {
                settings: audit.clone(),
                metrics: Arc::clone(&observers.metrics),
                fleet: config.nats.queue.clone(),
                connection: bus.connection(),
                expected: observers.expected.clone(),
            })?;
        }
        let audit = observers.audit.clone();
        let watched_elsewhere = watched_elsewhere.into_keys().collect();
        let ran = service::run(config, overrides, env, observers, files, watched_elsewhere).await;
        audit.stop();
        Ok(ran?)
    });
    // Requests in flight were finished above; background tasks never end on their own.
    runtime.shutdown_background();
    match outcome {
        Ok(()) => {
            info!("stopped");
            Ok(GOOD)
        }
        // Everything on standard error is JSON then.
        Err(error) if log.format == LogFormat::Json => {
            error!(%error, "cannot start");
            Ok(UNUSABLE)
        }
        Err(error) => Err(error),
    }
}

/// Reports each error of the configuration: as a record, or as `check` prints it.
fn log_errors(report: &Report, format: LogFormat) {
    flush_log();
    for fault in report.faults() {
        match format {
            LogFormat::Json => error!(%fault, "error in the configuration"),
            LogFormat::Text => complain(format_args!("error: {fault}")),
        }
    }
}
