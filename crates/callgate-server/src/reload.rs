//! Configuration reloads: read, check, wait until all sources have loaded, then swap.

use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use callgate_config::file_watch::{Due, Fingerprint, Fingerprints, Reconciler};
use tokio::task::JoinHandle;
use tracing::{debug, error, info, warn};

use crate::{
    assemble::{Assembled, assemble},
    audit::{AuditSettings, ConfigLoad, Event, LoadResult},
    config::{self, Admission, BuildEnv, Config, Loaded, LogSettings, Overrides},
    nats::NatsSettings,
    operations::Operations,
    state::StateSettings,
    system::SystemSettings,
    telemetry::CONFIGURATION,
};

/// Reloads the configuration on demand, and until its files are in force as they are on disk.
#[derive(Debug)]
pub(crate) struct Reloader {
    overrides: Overrides,
    env: BuildEnv,
    files: Reconciler,
    /// When the attempt began, and its result.
    reading: Option<(Instant, JoinHandle<Loaded>)>,
    waiting: Option<Waiting>,
    /// The files of a configuration that is being applied.
    applying: Option<Files>,
    wanted: bool,
    /// The errors of the last attempt. The same errors again are neither logged nor counted.
    errors: Vec<String>,
    at_start: AtStart,
    operations: Arc<Operations>,
}

/// Settings that need a restart to change.
#[derive(Debug)]
struct AtStart {
    nats: NatsSettings,
    system: Option<SystemSettings>,
    admin: Option<std::net::SocketAddr>,
    control: Option<PathBuf>,
    admission: Admission,
    log: LogSettings,
    state: Option<StateSettings>,
    audit: Option<AuditSettings>,
    /// The configuration file and the files of `[nats]` and `[system]`.
    files: Fingerprints,
}

impl AtStart {
    fn of(config: &Config, overrides: &Overrides, files: &Fingerprints) -> Self {
        let is_ours = |path: &PathBuf| {
            overrides.config.as_ref() == Some(path) || config.nats_files.contains(path)
        };
        let files = files.iter().filter(|(path, _)| is_ours(path));
        Self {
            files: files.map(|(path, fingerprint)| (path.clone(), fingerprint.clone())).collect(),
            nats: config.nats.clone(),
            system: config.system.clone(),
            admin: config.admin,
            control: config.control.clone(),
            admission: config.admission.clone(),
            log: config.log,
            state: config.state.clone(),
            audit: config.audit.clone(),
        }
    }

    /// The sections that differ and need a restart to take effect.
    fn sections_changed(&self, config: &Config) -> Vec<&'static str> {
        let Admission { max_in_flight, password_workers, trusted_proxies: _ } = &self.admission;
        let admission = config.admission.max_in_flight != *max_in_flight
            || config.admission.password_workers != *password_workers;
        let changed = [
            ("[nats]", !config.nats.same_as(&self.nats)),
            ("[system]", !SystemSettings::same(config.system.as_ref(), self.system.as_ref())),
            ("[admin]", config.admin != self.admin),
            ("[control]", config.control != self.control),
            ("max_in_flight and password_workers of [admission]", admission),
            ("[log]", config.log != self.log),
            ("[state]", config.state != self.state),
            ("[audit]", !same_audit(config.audit.as_ref(), self.audit.as_ref())),
        ];
        changed.into_iter().filter(|(_, changed)| *changed).map(|(section, _)| section).collect()
    }
}

fn same_audit(one: Option<&AuditSettings>, other: Option<&AuditSettings>) -> bool {
    match (one, other) {
        (None, None) => true,
        (Some(one), Some(other)) => one.same_as(other),
        (Some(_), None) | (None, Some(_)) => false,
    }
}

/// The files of one configuration.
#[derive(Debug)]
struct Files {
    read: Fingerprints,
    watched_elsewhere: BTreeSet<PathBuf>,
    /// Whether a section changed that takes effect after a restart.
    needs_restart: bool,
}

/// A valid configuration whose sources have not loaded yet.
#[derive(Debug)]
struct Waiting {
    assembled: Assembled,
    files: Files,
    logged: bool,
}

impl Reloader {
    /// `files` and `watched_elsewhere` are those of `config`, which is in force.
    pub(crate) fn new(
        config: &Config,
        overrides: Overrides,
        env: BuildEnv,
        files: Fingerprints,
        watched_elsewhere: BTreeSet<PathBuf>,
        operations: &Arc<Operations>,
    ) -> Self {
        let env = BuildEnv { shared: Some(Arc::clone(&config.shared)), ..env };
        let at_start = AtStart::of(config, &overrides, &files);
        let read = Files { read: files, watched_elsewhere, needs_restart: false };
        let mut reloader = Self {
            overrides,
            env,
            files: Reconciler::new(Fingerprints::new()),
            reading: None,
            waiting: None,
            applying: Some(read),
            wanted: false,
            errors: Vec::new(),
            at_start,
            operations: Arc::clone(operations),
        };
        reloader.applied();
        reloader
    }

    /// Requests a reload (SIGHUP).
    pub(crate) fn request(&mut self) {
        info!("reloading configuration on SIGHUP");
        self.errors.clear();
        self.wanted = true;
    }

    /// Requests a reload if the files in force are not those on disk.
    pub(crate) fn poll_files(&mut self) {
        self.report_files();
        if self.reading.is_some() || self.wanted {
            return;
        }
        match self.files.due(Instant::now(), Fingerprint::of) {
            Some(Due::Changed) => info!("configuration file changed; reloading"),
            Some(Due::Retry) => debug!("trying the failed reload again"),
            None => return,
        }
        self.wanted = true;
    }

    /// Advances a reload; returns a new configuration once it can take effect. The caller applies it,
    /// and reports the result with [`Reloader::applied`] or [`Reloader::rejected`].
    pub(crate) async fn take_ready(&mut self) -> Option<Assembled> {
        if self.wanted && self.reading.is_none() {
            self.wanted = false;
            self.env.generation += 1;
            let (overrides, env) = (self.overrides.clone(), self.env.clone());
            // Reading files and parsing keys blocks, so it runs off the event loop. Authenticators
            // start their background work on this runtime.
            let load = tokio::task::spawn_blocking(move || config::load(&overrides, &env));
            self.reading = Some((Instant::now(), load));
        }
        if let Some((began, reading)) = self.reading.take_if(|(_, load)| load.is_finished()) {
            self.accept(reading.await, began.elapsed());
        }
        self.waiting.as_mut()?.log();
        let is_loaded = self.waiting.as_ref()?.assembled.chain.waiting_for().is_empty();
        let Waiting { assembled, files, logged: _ } = self.waiting.take_if(|_| is_loaded)?;
        self.applying = Some(files);
        Some(assembled)
    }

    /// The configuration that was taken is in force.
    pub(crate) fn applied(&mut self) {
        let Some(Files { mut read, watched_elsewhere, needs_restart }) = self.applying.take()
        else {
            return;
        };
        self.operations.observers.audit.event(|| {
            let hash = self.overrides.config_hash();
            Event::Config(ConfigLoad { result: LoadResult::Loaded, hash, detail: None })
        });
        let metrics = &self.operations.observers.metrics;
        metrics.retain_files(|path| read.contains_key(path) || watched_elsewhere.contains(path));
        watched_elsewhere.iter().for_each(|path| metrics.register_file(path));
        let attempted = read.clone();
        // What needs a restart is not in force.
        if needs_restart {
            read.extend(self.at_start.files.clone());
        }
        self.files.in_force(read);
        self.files.loaded(attempted);
        self.errors.clear();
        self.report_files();
    }

    /// The configuration that was taken cannot be applied.
    pub(crate) fn rejected(&mut self, error: &dyn std::fmt::Display) {
        let Some(Files { read, .. }) = self.applying.take() else { return };
        self.fail(read, vec![error.to_string()], Duration::ZERO);
    }

    fn report_files(&self) {
        for (path, in_sync) in self.files.in_sync(Fingerprint::of) {
            self.operations.observers.metrics.file_in_sync(path, in_sync);
        }
    }

    fn accept(&mut self, loaded: Result<Loaded, tokio::task::JoinError>, took: Duration) {
        let Ok(loaded) = loaded else {
            let error = "the reload panicked, which is a bug in Callgate".to_owned();
            let files = self.files.attempted().clone();
            return self.fail(files, vec![error], took);
        };
        let Loaded { config, report, files: read, watched_elsewhere, overridden: _ } = loaded;
        let Some(config) = config else {
            let errors = report.faults().iter().map(ToString::to_string).collect();
            return self.fail(read, errors, took);
        };
        for warning in report.warnings() {
            warn!(%warning, "warning in the new configuration");
        }
        let sections = self.at_start.sections_changed(&config);
        for section in &sections {
            warn!(section, "changed section takes effect after a restart");
        }
        let assembled = assemble(config, Some(&self.operations));
        self.files.loaded(read.clone());
        let watched_elsewhere = watched_elsewhere.into_keys().collect();
        let files = Files { read, watched_elsewhere, needs_restart: !sections.is_empty() };
        if let Some(superseded) = self.waiting.replace(Waiting { assembled, files, logged: false })
        {
            superseded.assembled.chain.links().iter().for_each(|link| link.authenticator.retire());
        }
    }

    /// Logs and counts an attempt that failed, unless the previous one failed in the same way.
    fn fail(&mut self, files: Fingerprints, errors: Vec<String>, took: Duration) {
        self.files.failed(files, Instant::now(), took);
        if self.errors == errors {
            return;
        }
        for error in &errors {
            error!(fault = error, "error in the new configuration");
        }
        error!("configuration reload failed; keeping the previous configuration");
        self.operations.observers.metrics.reloaded(CONFIGURATION, false);
        self.operations.observers.audit.event(|| {
            let hash = self.overrides.config_hash();
            let detail = errors.first().cloned();
            Event::Config(ConfigLoad { result: LoadResult::Rejected, hash, detail })
        });
        self.errors = errors;
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
