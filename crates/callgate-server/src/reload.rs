//! Changes of configuration: read, check, wait until its sources have loaded, then swap.

use std::{path::PathBuf, sync::Arc};

use callgate::authn::Chain;
use callgate_config::file_watch::Fingerprint;
use tokio::task::JoinHandle;
use tracing::{error, info, warn};

use crate::{
    assemble::{Assembled, Observers, assemble},
    config::{self, Admission, BuildEnv, Config, Loaded, LogSettings, Overrides},
    nats::NatsSettings,
    watch::FileSetWatch,
};

/// Reads the configuration again on demand, and when one of its files changed.
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

/// What cannot change without a restart.
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

    /// The sections that differ and that nothing but a restart can change.
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

/// A good configuration whose sources have not loaded yet.
#[derive(Debug)]
struct Waiting {
    assembled: Assembled,
    told: bool,
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

    /// Somebody asked for it (SIGHUP).
    pub(crate) fn request(&mut self) {
        info!("reading the configuration again, as asked");
        self.wanted = true;
    }

    /// Looks whether a file changed.
    pub(crate) fn look_at_files(&mut self) {
        if self.watch.changed() {
            info!("a configuration file changed; reading it again");
            self.wanted = true;
        }
    }

    /// A new configuration that can be put in force now, if there is one.
    pub(crate) async fn take_ready(&mut self) -> Option<Assembled> {
        if self.wanted && self.reading.is_none() {
            self.wanted = false;
            self.env.generation += 1;
            let (overrides, env) = (self.overrides.clone(), self.env.clone());
            // Files are read and keys are parsed: not on the event loop. Authenticators start
            // their background work on this runtime.
            self.reading =
                Some(tokio::task::spawn_blocking(move || config::load(&overrides, &env)));
        }
        if let Some(reading) = self.reading.take_if(|reading| reading.is_finished()) {
            self.consider(reading.await);
        }
        self.waiting.as_mut()?.tell();
        let loaded = self.waiting.as_ref()?.assembled.chain.waiting_for().is_empty();
        if loaded { self.waiting.take().map(|waiting| waiting.assembled) } else { None }
    }

    fn consider(&mut self, loaded: Result<Loaded, tokio::task::JoinError>) {
        let Ok(loaded) = loaded else {
            error!("reading the configuration panicked, this is a bug; the old one stays in force");
            self.observers.metrics.reloaded(false);
            return;
        };
        self.watch = FileSetWatch::new(loaded.files);
        let Some(config) = loaded.config else {
            for fault in loaded.report.faults() {
                error!(fault = %fault, "a fault in the new configuration");
            }
            error!("the new configuration cannot be used; the old one stays in force");
            self.observers.metrics.reloaded(false);
            return;
        };
        for warning in loaded.report.warnings() {
            warn!(%warning, "a warning about the new configuration");
        }
        for section in self.at_start.sections_changed(&config) {
            warn!(section, "it changed, and takes effect with a restart");
        }
        let older = self
            .waiting
            .replace(Waiting { assembled: assemble(config, Some(&self.observers)), told: false });
        if let Some(older) = older {
            retire(&older.assembled.chain);
        }
    }
}

impl Waiting {
    fn tell(&mut self) {
        let waiting = self.assembled.chain.waiting_for();
        if waiting.is_empty() || self.told {
            return;
        }
        self.told = true;
        for (authenticator, what) in waiting {
            warn!(
                authenticator = &*authenticator,
                what, "the new configuration waits for its source; the old one stays in force"
            );
        }
    }
}

fn retire(chain: &Chain) {
    for link in chain.links() {
        link.authenticator.retire();
    }
}
