//! Configuration reloads: read, check, wait until all sources have loaded, then swap.

use std::{path::PathBuf, sync::Arc};

use callgate_config::file_watch::Fingerprint;
use tokio::task::JoinHandle;
use tracing::{error, info, warn};

use crate::{
    assemble::{Assembled, Observers, assemble},
    config::{self, Admission, BuildEnv, Config, Loaded, LogSettings, Overrides},
    nats::NatsSettings,
    watch::FileSetWatch,
};

/// Reloads the configuration on demand and when one of its files changes.
#[derive(Debug)]
pub(crate) struct Reloader {
    overrides: Overrides,
    env: BuildEnv,
    watch: FileSetWatch,
    reading: Option<JoinHandle<Loaded>>,
    waiting: Option<Waiting>,
    wanted: bool,
    at_start: AtStart,
    observers: Arc<Observers>,
}

/// Settings that need a restart to change.
#[derive(Debug)]
struct AtStart {
    nats: NatsSettings,
    admin: Option<std::net::SocketAddr>,
    admission: Admission,
    log: LogSettings,
}

impl AtStart {
    fn of(config: &Config) -> Self {
        Self {
            nats: config.nats.clone(),
            admin: config.admin,
            admission: config.admission.clone(),
            log: config.log,
        }
    }

    /// The sections that differ and need a restart to take effect.
    fn sections_changed(&self, config: &Config) -> Vec<&'static str> {
        let Admission { max_in_flight, password_workers, trusted_proxies: _ } = &self.admission;
        let admission = config.admission.max_in_flight != *max_in_flight
            || config.admission.password_workers != *password_workers;
        let changed = [
            ("[nats]", !config.nats.same_as(&self.nats)),
            ("[admin]", config.admin != self.admin),
            ("max_in_flight and password_workers of [admission]", admission),
            ("[log]", config.log != self.log),
        ];
        changed.into_iter().filter(|(_, changed)| *changed).map(|(section, _)| section).collect()
    }
}

/// A valid configuration whose sources have not loaded yet.
#[derive(Debug)]
struct Waiting {
    assembled: Assembled,
    logged: bool,
}

impl Reloader {
    pub(crate) fn new(
        config: &Config,
        overrides: Overrides,
        env: BuildEnv,
        files: Vec<(PathBuf, Fingerprint)>,
        observers: &Arc<Observers>,
    ) -> Self {
        let env = BuildEnv { shared: Some(Arc::clone(&config.shared)), ..env };
        Self {
            overrides,
            env,
            watch: FileSetWatch::new(files),
            reading: None,
            waiting: None,
            wanted: false,
            at_start: AtStart::of(config),
            observers: Arc::clone(observers),
        }
    }

    /// Requests a reload (SIGHUP).
    pub(crate) fn request(&mut self) {
        info!("reloading configuration on SIGHUP");
        self.wanted = true;
    }

    /// Requests a reload if a file changed.
    pub(crate) fn poll_files(&mut self) {
        if self.watch.changed() {
            info!("configuration file changed; reloading");
            self.wanted = true;
        }
    }

    /// Advances a reload; returns a new configuration once it can take effect.
    pub(crate) async fn take_ready(&mut self) -> Option<Assembled> {
        if self.wanted && self.reading.is_none() {
            self.wanted = false;
            self.env.generation += 1;
            let (overrides, env) = (self.overrides.clone(), self.env.clone());
            // Reading files and parsing keys blocks, so it runs off the event loop. Authenticators
            // start their background work on this runtime.
            self.reading =
                Some(tokio::task::spawn_blocking(move || config::load(&overrides, &env)));
        }
        if let Some(reading) = self.reading.take_if(|reading| reading.is_finished()) {
            self.accept(reading.await);
        }
        self.waiting.as_mut()?.log();
        let loaded = self.waiting.as_ref()?.assembled.chain.waiting_for().is_empty();
        if loaded { self.waiting.take().map(|waiting| waiting.assembled) } else { None }
    }

    fn accept(&mut self, loaded: Result<Loaded, tokio::task::JoinError>) {
        let Ok(loaded) = loaded else {
            error!(
                "configuration reload panicked (this is a bug); keeping the previous configuration"
            );
            self.observers.metrics.reloaded(false);
            return;
        };
        self.watch = FileSetWatch::new(loaded.files);
        let Some(config) = loaded.config else {
            for fault in loaded.report.faults() {
                error!(fault = %fault, "error in the new configuration");
            }
            error!("configuration reload failed; keeping the previous configuration");
            self.observers.metrics.reloaded(false);
            return;
        };
        for warning in loaded.report.warnings() {
            warn!(%warning, "warning in the new configuration");
        }
        for section in self.at_start.sections_changed(&config) {
            warn!(section, "changed section takes effect after a restart");
        }
        let assembled = assemble(config, Some(&self.observers));
        if let Some(superseded) = self.waiting.replace(Waiting { assembled, logged: false }) {
            superseded.assembled.chain.links().iter().for_each(|link| link.authenticator.retire());
        }
    }
}

impl Waiting {
    /// Logs once which sources have not loaded.
    fn log(&mut self) {
        let waiting = self.assembled.chain.waiting_for();
        if waiting.is_empty() || self.logged {
            return;
        }
        self.logged = true;
        for (authenticator, what) in waiting {
            warn!(
                authenticator = &*authenticator,
                what,
                "new configuration is waiting for its source; keeping the previous configuration"
            );
        }
    }
}
