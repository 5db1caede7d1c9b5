//! Keeps roots and revocation lists equal to their files.
//!
//! Files are compared with what was read last, and read again until that succeeds. Roots stay in force
//! while their file has an error, but revocation lists do not: a list that cannot be read may be the one
//! that revokes a certificate.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, Guard};
use callgate::clock::UnixTime;
use callgate_config::{Report, file_watch::Fingerprint};

use super::trust::{Bundle, FileError, Files, POLL_INTERVAL, RevocationLists};
use crate::{kind::BuildContext, network::BackgroundTasks};

/// The lists, or why there are none.
type Crls = Result<RevocationLists, String>;

const NO_LISTS: &str = "there are no revocation lists";

/// The roots and revocation lists in force.
pub(super) struct TrustStore {
    shared: Arc<Shared>,
    tasks: Mutex<Option<BackgroundTasks>>,
}

struct Shared {
    context: BuildContext,
    files: Files,
    bundles: ArcSwap<Vec<Bundle>>,
    crls: ArcSwap<Crls>,
}

/// Files that were read without errors.
pub(super) struct LoadedFiles {
    files: Files,
    /// From before they were read.
    fingerprints: Vec<Fingerprint>,
    bundles: Vec<Bundle>,
    crls: Crls,
}

impl LoadedFiles {
    /// Reads the files. Errors go into the report; a stale list is a warning, because a newer one can
    /// arrive at any time.
    pub(super) fn read(files: Files, report: &Report) -> Option<Self> {
        let fingerprints = fingerprints(&files);
        let add = |errors: Vec<FileError>| {
            errors.into_iter().for_each(|error| report.fault(error.key, error.text));
        };
        let bundles = files.read_roots().map_err(add).ok();
        let now = UnixTime::now();
        for root in bundles.iter().flatten().flat_map(|bundle| &bundle.roots) {
            if !root.is_valid_at(now) {
                let text = "a root has expired or is not valid yet: its certificates are refused";
                report.warn(root_key(&files), text);
            }
        }
        let crls = files.read_crls(bundles.as_deref().unwrap_or_default()).map_err(add).ok()?;
        if crls.as_ref().is_some_and(|lists| lists.remaining_seconds(now) < 0) {
            let text = "a revocation list is stale: logins with certificates are refused until it is replaced";
            report.warn(crl_key(&files), text);
        }
        let crls = crls.ok_or_else(|| NO_LISTS.to_owned());
        Some(Self { files, fingerprints, bundles: bundles?, crls })
    }
}

impl TrustStore {
    /// Puts the files into force and watches them.
    pub(super) fn start(context: &BuildContext, loaded: LoadedFiles) -> Self {
        let LoadedFiles { files, fingerprints, bundles, crls } = loaded;
        let shared = Arc::new(Shared {
            context: context.clone(),
            files,
            bundles: ArcSwap::from_pointee(bundles),
            crls: ArcSwap::from_pointee(crls),
        });
        shared.observe();
        let enabled = context.services.background;
        let tasks = BackgroundTasks::spawn(enabled, [Arc::clone(&shared).watch(fingerprints)]);
        Self { shared, tasks: Mutex::new(Some(tasks)) }
    }

    pub(super) fn bundles(&self) -> Guard<Arc<Vec<Bundle>>> {
        self.shared.bundles.load()
    }

    /// The revocation lists; an error also if no file was configured.
    pub(super) fn crls(&self) -> Guard<Arc<Crls>> {
        self.shared.crls.load()
    }

    /// Reads the files again, now.
    #[cfg(test)]
    pub(super) fn reload(&self) -> bool {
        self.shared.reload(true)
    }

    /// Ends the watch.
    pub(super) fn stop(&self) {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

impl Shared {
    async fn watch(self: Arc<Self>, mut in_force: Vec<Fingerprint>) {
        let mut failed = false;
        loop {
            tokio::time::sleep(POLL_INTERVAL).await;
            self.observe();
            let now = fingerprints(&self.files);
            if now == in_force && !failed {
                continue;
            }
            let shared = Arc::clone(&self);
            let first_failure = !failed || now != in_force;
            let reload = move || shared.reload(first_failure);
            // Also after a panic, the files are not in force.
            failed = !tokio::task::spawn_blocking(reload).await.unwrap_or(false);
            in_force = now;
        }
    }

    /// Reads the files again. Repeated failures are not logged again.
    fn reload(&self, log: bool) -> bool {
        let name = &*self.context.name;
        let warn = |errors: Vec<FileError>| {
            for FileError { key, text } in errors.iter().filter(|_| log) {
                tracing::error!(authenticator = name, key, "{text}");
            }
        };
        let bundles = self.files.read_roots();
        let roots_loaded = bundles.is_ok();
        match bundles {
            Ok(bundles) => self.bundles.store(Arc::new(bundles)),
            Err(errors) => {
                warn(errors);
                if log {
                    tracing::error!(authenticator = name, "the old roots stay in force");
                }
            }
        }
        let crls = self.files.read_crls(&self.bundles.load());
        let crls_loaded = crls.is_ok();
        let crls = match crls {
            Ok(lists) => lists.ok_or_else(|| NO_LISTS.to_owned()),
            Err(errors) => {
                let text = errors.first().map(|error| error.text.clone()).unwrap_or_default();
                warn(errors);
                if log {
                    tracing::error!(
                        authenticator = name,
                        "without revocation lists, logins with certificates are refused"
                    );
                }
                Err(text)
            }
        };
        self.crls.store(Arc::new(crls));
        self.observe();
        let loaded = roots_loaded && crls_loaded;
        self.context.services.observer.file_reloaded(name, loaded);
        if loaded {
            tracing::info!(authenticator = name, "changed roots and revocation lists are in force");
        }
        loaded
    }

    fn observe(&self) {
        if self.files.crls.is_empty() {
            return;
        }
        let now = UnixTime::now();
        let seconds =
            self.crls.load().as_ref().as_ref().map_or(0, |lists| lists.remaining_seconds(now));
        self.context.services.observer.revocation_lists_expire(&self.context.name, seconds);
    }
}

fn fingerprints(files: &Files) -> Vec<Fingerprint> {
    files.all().into_iter().map(Fingerprint::of).collect()
}

fn root_key(files: &Files) -> String {
    files.roots.first().map(|(_, file)| file.key.clone()).unwrap_or_default()
}

fn crl_key(files: &Files) -> String {
    files.crls.first().map(|file| file.key.clone()).unwrap_or_default()
}
