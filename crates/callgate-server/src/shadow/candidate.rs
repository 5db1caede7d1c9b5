//! The candidate configuration: loaded like the live one, and again when its files change.

use std::{sync::Arc, time::Instant};

use callgate_authenticators::kind::NoObserver;
use callgate_config::file_watch::{Fingerprint, Fingerprints, Reconciler};
use tracing::{info, warn};

use super::POLL;
use crate::{
    config::{self, BuildEnv, Loaded, Overrides, ShadowSettings},
    rehearsal::Rehearsal,
};

/// See the top of the file.
pub(super) struct Candidate {
    settings: ShadowSettings,
    files: Reconciler,
    in_force: Option<Rehearsal>,
    /// When the files were last checked.
    polled: Instant,
    /// The errors of the last attempt. The same errors again are not logged.
    errors: Vec<String>,
}

impl Candidate {
    pub(super) fn new(settings: ShadowSettings) -> Self {
        let files = Reconciler::new(Fingerprints::new());
        let mut candidate =
            Self { settings, files, in_force: None, polled: Instant::now(), errors: Vec::new() };
        candidate.load();
        candidate
    }

    /// The last one that could be used.
    pub(super) fn in_force(&self) -> Option<&Rehearsal> {
        self.in_force.as_ref()
    }

    /// Loads it again if its files changed, looking at them once a second.
    pub(super) fn refresh(&mut self) {
        if self.polled.elapsed() < POLL {
            return;
        }
        self.polled = Instant::now();
        if self.files.due(self.polled, Fingerprint::of).is_some() {
            self.load();
        }
    }

    fn load(&mut self) {
        let began = Instant::now();
        let path = &self.settings.config;
        let overrides = Overrides { config: Some(path.clone()), ..Overrides::default() };
        let loaded = config::load(&overrides, &self.environment());
        let Loaded { config, report, mut files, watched_elsewhere, overridden: _ } = loaded;
        // Its authenticators have no background work that would watch them.
        files.extend(watched_elsewhere);
        match config {
            Some(config) => {
                self.in_force = Some(Rehearsal::of(&config));
                self.files.loaded(files.clone());
                self.files.in_force(files);
                self.errors.clear();
                info!(config = %path.display(), "comparing with the candidate configuration");
            }
            None => {
                let errors: Vec<_> = report.faults().iter().map(ToString::to_string).collect();
                self.files.failed(files, Instant::now(), began.elapsed());
                if self.errors != errors {
                    for fault in &errors {
                        warn!(fault, "error in the candidate configuration");
                    }
                    warn!(
                        "the candidate configuration of [shadow] cannot be used; the live configuration \
                         is not affected"
                    );
                }
                self.errors = errors;
            }
        }
    }

    /// Nothing is asked and nothing runs in the background.
    fn environment(&self) -> BuildEnv {
        BuildEnv {
            registry: self.settings.registry.clone(),
            shared: None,
            generation: 0,
            background: false,
            keeps_state: false,
            observer: Arc::new(NoObserver),
            bus: None,
        }
    }
}
