//! Prometheus metrics. No label contains text that a user controls.

mod audit;
mod families;
mod labels;
mod revocation;
mod shadow;
mod state;
mod system;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use callgate::{
    clock::UnixTime,
    record::{Cause, Decision, Outcome, Reason},
    responder::Load,
};
use callgate_authenticators::kind::{BackendConnections, BackendResult, SecondFactorResult};
use prometheus_client::{
    encoding::text::encode,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

use families::with_empty_families;
use labels::{
    AuthenticatorLabel, DecisionLabels, FileLabel, NO_AUTHENTICATOR, ReasonLabel, ResultLabel,
    ResultLabels, StageLabel, StateLabels, ok_or_failed,
};
use revocation::RevocationMetrics;
use shadow::ShadowMetrics;
use system::SystemMetrics;

pub(crate) use state::StateMetrics;

/// What [`Metrics::reloaded`] counts for the configuration itself; no authenticator has this name.
pub(crate) const CONFIGURATION: &str = "";

/// All metrics; they survive configuration reloads.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    decisions: Family<DecisionLabels, Counter>,
    dropped: Family<ReasonLabel, Counter>,
    duration: Histogram,
    stages: Family<StageLabel, Histogram, fn() -> Histogram>,
    authenticators: Family<AuthenticatorLabel, Histogram, fn() -> Histogram>,
    jwks_refreshes: Family<ResultLabels, Counter>,
    token_signatures: Family<ResultLabels, Counter>,
    backend_up: Family<AuthenticatorLabel, Gauge>,
    backend_answers: Family<ResultLabels, Counter>,
    backend_connections: Family<StateLabels, Gauge>,
    directory_entries: Family<StateLabels, Gauge>,
    second_factors: Family<ResultLabels, Counter>,
    password_hashes: Family<AuthenticatorLabel, Counter>,
    ceiling_dropped: Family<AuthenticatorLabel, Counter>,
    reloads: Family<ResultLabel, Counter>,
    in_sync: Family<FileLabel, Gauge>,
    /// The keys of `in_sync`.
    files: Mutex<BTreeSet<PathBuf>>,
    last_reload_successful: Gauge,
    last_reload_timestamp: Gauge<i64, AtomicI64>,
    /// The configuration and the authenticators whose last reload failed.
    failing: Mutex<BTreeSet<String>>,
    in_flight: Gauge,
    /// Source of `in_flight`, sampled at scrape time.
    load: Mutex<Option<Load>>,
    connected: Gauge,
    ready: Gauge,
    system: SystemMetrics,
    overloaded: AtomicU64,
    clock_skew: Gauge<i64, AtomicI64>,
    service_accounts: Gauge,
    watch_lost: Family<AuthenticatorLabel, Gauge>,
    crl_expires: Family<AuthenticatorLabel, Gauge<i64, AtomicI64>>,
    pub(crate) state: StateMetrics,
    /// By authenticator; the gauge has no label and shows the sum.
    known_accounts: Mutex<BTreeMap<String, usize>>,
    audit: audit::AuditMetrics,
    revocation: RevocationMetrics,
    shadow: ShadowMetrics,
}

/// Buckets from 50 µs (a cached token) to 3.3 s (longer than a server waits).
fn histogram() -> Histogram {
    Histogram::new(exponential_buckets(0.000_05, 2.0, 17))
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("callgate"),
            decisions: Family::default(),
            dropped: Family::default(),
            duration: histogram(),
            stages: Family::new_with_constructor(histogram),
            authenticators: Family::new_with_constructor(histogram),
            jwks_refreshes: Family::default(),
            token_signatures: Family::default(),
            backend_up: Family::default(),
            backend_answers: Family::default(),
            second_factors: Family::default(),
            password_hashes: Family::default(),
            backend_connections: Family::default(),
            directory_entries: Family::default(),
            ceiling_dropped: Family::default(),
            reloads: Family::default(),
            in_sync: Family::default(),
            files: Mutex::default(),
            last_reload_successful: Gauge::default(),
            last_reload_timestamp: Gauge::default(),
            failing: Mutex::default(),
            in_flight: Gauge::default(),
            load: Mutex::default(),
            connected: Gauge::default(),
            ready: Gauge::default(),
            system: SystemMetrics::default(),
            overloaded: AtomicU64::default(),
            clock_skew: Gauge::default(),
            service_accounts: Gauge::default(),
            watch_lost: Family::default(),
            crl_expires: Family::default(),
            state: StateMetrics::default(),
            known_accounts: Mutex::default(),
            audit: audit::AuditMetrics::default(),
            revocation: RevocationMetrics::default(),
            shadow: ShadowMetrics::default(),
        };
        metrics.register();
        metrics.revocation.register(&mut metrics.registry);
        metrics.begin_at_zero();
        metrics
    }
}

impl Metrics {
    /// Sets whether `/readyz` answers with 200.
    pub(crate) fn set_ready(&self, ready: bool) {
        self.ready.set(ready.into());
    }

    /// Counts the answer to a login that depends on a backend.
    pub(crate) fn count_backend_answer(&self, authenticator: &str, result: BackendResult) {
        let labels = ResultLabels::of(authenticator, result.as_str());
        self.backend_answers.get_or_create(&labels).inc();
    }

    /// Counts a password hash.
    pub(crate) fn count_password_hash(&self, authenticator: &str) {
        self.password_hashes.get_or_create(&AuthenticatorLabel::of(authenticator)).inc();
    }

    /// Counts a second factor. The first one of an authenticator creates all its counters.
    pub(crate) fn count_second_factor(&self, authenticator: &str, result: SecondFactorResult) {
        for result in SecondFactorResult::ALL {
            let labels = ResultLabels::of(authenticator, result.as_str());
            self.second_factors.get_or_create(&labels).inc_by(0);
        }
        let labels = ResultLabels::of(authenticator, result.as_str());
        self.second_factors.get_or_create(&labels).inc();
    }

    /// Sets whether the last query of a backend had a good answer.
    pub(crate) fn set_backend_up(&self, authenticator: &str, up: bool) {
        self.backend_up.get_or_create(&AuthenticatorLabel::of(authenticator)).set(up.into());
    }

    /// Sets the number of connections to a backend in this state.
    pub(crate) fn set_backend_connections(
        &self,
        authenticator: &str,
        state: BackendConnections,
        count: usize,
    ) {
        let authenticator = authenticator.to_owned();
        let labels = StateLabels { authenticator, state: state.as_str() };
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        self.backend_connections.get_or_create(&labels).set(count);
    }

    /// Sets the numbers of valid and invalid entries of a watched directory.
    pub(crate) fn set_directory_entries(&self, authenticator: &str, loaded: usize, faulty: usize) {
        for (state, count) in [("loaded", loaded), ("faulty", faulty)] {
            let labels = StateLabels { authenticator: authenticator.to_owned(), state };
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            self.directory_entries.get_or_create(&labels).set(count);
        }
    }

    /// Counts a decision.
    pub(crate) fn record(&self, decision: &Decision) {
        let reason = decision.reason.as_str();
        if let Some(skew) = decision.clock_skew {
            self.clock_skew.set(skew);
        }
        self.stage("open", decision.stages.open);
        if decision.reason == Reason::Overloaded {
            self.overloaded.fetch_add(1, Ordering::Relaxed);
        }
        if decision.outcome() == Outcome::Dropped {
            self.dropped.get_or_create(&ReasonLabel { reason }).inc();
            return;
        }
        let authenticator =
            decision.authenticator.as_deref().unwrap_or(NO_AUTHENTICATOR).to_owned();
        let outcome = decision.outcome().as_str();
        let cause = decision.cause.map(Cause::as_str).unwrap_or_default();
        let labels =
            DecisionLabels { authenticator: authenticator.clone(), outcome, reason, cause };
        self.decisions.get_or_create(&labels).inc();
        self.duration.observe(decision.duration.as_secs_f64());
        let labels = AuthenticatorLabel { authenticator };
        if decision.ceiling_dropped.count > 0 {
            let count = decision.ceiling_dropped.count.into();
            self.ceiling_dropped.get_or_create(&labels).inc_by(count);
        }
        self.stage("decide", decision.stages.decide);
        self.stage("answer", decision.stages.answer);
        let took = decision.authenticator_took.as_secs_f64();
        self.authenticators.get_or_create(&labels).observe(took);
    }

    fn stage(&self, stage: &'static str, took: std::time::Duration) {
        self.stages.get_or_create(&StageLabel { stage }).observe(took.as_secs_f64());
    }

    /// Counts a reload of [`CONFIGURATION`] or of an authenticator's file: `ok` or `failed`. A reload of
    /// the configuration includes these files.
    pub(crate) fn reloaded(&self, what: &str, ok: bool) {
        self.reloads.get_or_create(&ResultLabel { result: ok_or_failed(ok) }).inc();
        let mut failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        match ok {
            true if what == CONFIGURATION => failing.clear(),
            true => drop(failing.remove(what)),
            false => drop(failing.insert(what.to_owned())),
        }
        self.last_reload_successful.set(failing.is_empty().into());
        if ok {
            self.last_reload_timestamp.set(UnixTime::now().seconds());
        }
    }

    /// Sets whether a file is in force as it is on disk.
    pub(crate) fn file_in_sync(&self, file: &Path, in_sync: bool) {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.insert(file.to_owned());
        self.in_sync.get_or_create(&FileLabel::of(file)).set(in_sync.into());
    }

    /// Counts a file as in force as it is on disk until [`Metrics::file_in_sync`] says otherwise.
    pub(crate) fn register_file(&self, file: &Path) {
        let is_new = !self.files.lock().unwrap_or_else(PoisonError::into_inner).contains(file);
        if is_new {
            self.file_in_sync(file, true);
        }
    }

    /// Forgets the files that the configuration no longer has.
    pub(crate) fn retain_files(&self, is_current: impl Fn(&Path) -> bool) {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.retain(|file| {
            let is_current = is_current(file);
            if !is_current {
                self.in_sync.remove(&FileLabel::of(file));
            }
            is_current
        });
    }

    /// Counts a fetch of a key set.
    pub(crate) fn jwks_refreshed(&self, authenticator: &str, ok: bool) {
        let labels = ResultLabels::of(authenticator, ok_or_failed(ok));
        self.jwks_refreshes.get_or_create(&labels).inc();
    }

    /// Counts items that a ceiling dropped.
    pub(crate) fn ceiling_dropped(&self, authenticator: &str, count: usize) {
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        self.ceiling_dropped.get_or_create(&AuthenticatorLabel::of(authenticator)).inc_by(count);
    }

    /// Sets how long the revocation lists of an authenticator remain current.
    pub(crate) fn crl_expires(&self, authenticator: &str, seconds: i64) {
        self.crl_expires.get_or_create(&AuthenticatorLabel::of(authenticator)).set(seconds);
    }

    /// Sets how many service accounts an authenticator knows, and for how long its watch is lost.
    pub(crate) fn service_accounts_known(
        &self,
        authenticator: &str,
        known: usize,
        lost_for: Option<Duration>,
    ) {
        let mut all = self.known_accounts.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(authenticator.to_owned(), known);
        let sum: usize = all.values().sum();
        self.service_accounts.set(i64::try_from(sum).unwrap_or(i64::MAX));
        let labels = AuthenticatorLabel::of(authenticator);
        // Nonzero as soon as the watch is lost.
        let seconds = lost_for.map_or(0, |lost| lost.as_secs().max(1));
        self.watch_lost.get_or_create(&labels).set(i64::try_from(seconds).unwrap_or(i64::MAX));
    }

    /// Counts a bearer token's signature: `checked` or `remembered`.
    pub(crate) fn token_signature(&self, authenticator: &str, remembered: bool) {
        let result = if remembered { "remembered" } else { "checked" };
        self.token_signatures.get_or_create(&ResultLabels::of(authenticator, result)).inc();
    }

    /// Sets whether a server is connected.
    pub(crate) fn connected(&self, connected: bool) {
        self.connected.set(connected.into());
    }

    /// How many logins were refused because there was more work than could be done in time.
    pub(crate) fn overloaded_count(&self) -> u64 {
        self.overloaded.load(Ordering::Relaxed)
    }

    /// Sets the source of the number of requests in flight.
    pub(crate) fn set_load(&self, load: Load) {
        *self.load.lock().unwrap_or_else(PoisonError::into_inner) = Some(load);
    }

    /// All metrics in the text format of OpenMetrics.
    ///
    /// # Errors
    /// If formatting fails, which cannot happen when writing to memory.
    pub(crate) fn render(&self) -> Result<String, std::fmt::Error> {
        let load = self.load.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.in_flight.set(load.map_or(0, |load| load.in_flight()).into());
        self.audit.sample();
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(with_empty_families(text))
    }
}

#[cfg(test)]
mod tests;
