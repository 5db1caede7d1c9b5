//! Prometheus metrics. No label contains text that a user controls.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError, atomic::AtomicI64},
    time::Duration,
};

use callgate::{
    clock::UnixTime,
    record::{Cause, Decision, Outcome, Reason},
    responder::Load,
};
use callgate_authenticators::kind::{BackendConnections, BackendResult, SecondFactorResult};
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
        info::Info,
    },
    registry::{Registry, Unit},
};

use super::writer::LOST;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DecisionLabels {
    authenticator: String,
    outcome: &'static str,
    reason: &'static str,
    /// The check that a bad token failed; empty for all other reasons.
    cause: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AuthenticatorLabel {
    authenticator: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabels {
    authenticator: String,
    result: &'static str,
}

impl AuthenticatorLabel {
    fn of(authenticator: &str) -> Self {
        Self { authenticator: authenticator.to_owned() }
    }
}

impl FileLabel {
    /// The path as error messages show it.
    fn of(file: &Path) -> Self {
        Self { file: file.strip_prefix(".").unwrap_or(file).display().to_string() }
    }
}

impl ResultLabels {
    fn of(authenticator: &str, result: &'static str) -> Self {
        Self { authenticator: authenticator.to_owned(), result }
    }
}

fn ok_or_failed(ok: bool) -> &'static str {
    if ok { "ok" } else { "failed" }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StageLabel {
    stage: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabels {
    authenticator: String,
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FileLabel {
    file: String,
}

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
    clock_skew: Gauge<i64, AtomicI64>,
    service_accounts: Gauge,
    watch_lost: Family<AuthenticatorLabel, Gauge>,
    crl_expires: Family<AuthenticatorLabel, Gauge<i64, AtomicI64>>,
    /// By authenticator; the gauge has no label and shows the sum.
    known_accounts: Mutex<BTreeMap<String, usize>>,
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
            clock_skew: Gauge::default(),
            service_accounts: Gauge::default(),
            watch_lost: Family::default(),
            crl_expires: Family::default(),
            known_accounts: Mutex::default(),
        };
        metrics.register();
        metrics.begin_at_zero();
        metrics
    }
}

impl Metrics {
    fn register(&mut self) {
        let r = &mut self.registry;
        const SECONDS: Unit = Unit::Seconds;
        r.register("decisions", "Decisions by outcome and reason", self.decisions.clone());
        r.register("dropped", "Requests dropped without an answer", self.dropped.clone());
        r.register_with_unit(
            "decision_duration",
            "Arrival to answer",
            SECONDS,
            self.duration.clone(),
        );
        r.register_with_unit(
            "stage_duration",
            "Stages of a decision",
            SECONDS,
            self.stages.clone(),
        );
        r.register_with_unit(
            "authenticator_duration",
            "Decisions by authenticator",
            SECONDS,
            self.authenticators.clone(),
        );
        r.register("jwks_refresh", JWKS_REFRESH, self.jwks_refreshes.clone());
        r.register("token_signatures", TOKEN_SIGNATURES, self.token_signatures.clone());
        r.register("backend_up", BACKEND_UP, self.backend_up.clone());
        r.register("backend_answers", BACKEND_ANSWERS, self.backend_answers.clone());
        r.register("second_factor", "Second factors by result", self.second_factors.clone());
        r.register("backend_connections", BACKEND_CONNECTIONS, self.backend_connections.clone());
        r.register("directory_entries", DIRECTORY_ENTRIES, self.directory_entries.clone());
        r.register(
            "ceiling_dropped",
            "Subjects and roles dropped by a ceiling",
            self.ceiling_dropped.clone(),
        );
        r.register("config_reloads", "Reloads of configuration and users", self.reloads.clone());
        r.register("config_in_sync", IN_SYNC, self.in_sync.clone());
        r.register(
            "config_last_reload_successful",
            "0 while the last load of the configuration or of a users file failed, otherwise 1",
            self.last_reload_successful.clone(),
        );
        r.register_with_unit(
            "config_last_reload_timestamp",
            "Time of the last successful load of the configuration or of a users file",
            SECONDS,
            self.last_reload_timestamp.clone(),
        );
        r.register("log_lost", "Log records that could not be written", LOST.clone());
        r.register("in_flight", "Requests in flight", self.in_flight.clone());
        r.register("nats_connected", "1 while connected to a server", self.connected.clone());
        r.register(
            "kubernetes_service_accounts",
            "Known service accounts",
            self.service_accounts.clone(),
        );
        r.register_with_unit("kubernetes_watch_lost", WATCH_LOST, SECONDS, self.watch_lost.clone());
        r.register_with_unit(
            "crl_expires",
            "Time until the first revocation list becomes stale; zero or less if there is none",
            SECONDS,
            self.crl_expires.clone(),
        );
        r.register_with_unit(
            "clock_skew",
            "Clock of the requesting server minus own clock",
            SECONDS,
            self.clock_skew.clone(),
        );
        r.register("build", "Version", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
    }

    /// Creates counters of rare events at zero, so that the first event is visible as an increase.
    fn begin_at_zero(&self) {
        for reason in Reason::ALL.iter().filter(|reason| reason.outcome() == Outcome::Dropped) {
            self.dropped.get_or_create(&ReasonLabel { reason: reason.as_str() }).inc_by(0);
        }
        for result in ["ok", "failed"] {
            self.reloads.get_or_create(&ResultLabel { result }).inc_by(0);
        }
        // The service starts only with a valid configuration.
        self.last_reload_successful.set(1);
        self.last_reload_timestamp.set(UnixTime::now().seconds());
        for stage in ["open", "decide", "answer"] {
            drop(self.stages.get_or_create(&StageLabel { stage }));
        }
    }

    /// Creates the counters of an authenticator at zero.
    pub(crate) fn register_authenticator(&self, authenticator: &str) {
        let labels = AuthenticatorLabel::of(authenticator);
        self.ceiling_dropped.get_or_create(&labels).inc_by(0);
        drop(self.authenticators.get_or_create(&labels));
        // Only the reasons that alerts are made of, not all of them.
        for (reason, cause) in [
            (Reason::Admitted, ""),
            (Reason::BadToken, Cause::Signature.as_str()),
            (Reason::BackendUnavailable, ""),
            (Reason::Overloaded, ""),
        ] {
            let (outcome, reason) = (reason.outcome().as_str(), reason.as_str());
            let authenticator = authenticator.to_owned();
            let labels = DecisionLabels { authenticator, outcome, reason, cause };
            self.decisions.get_or_create(&labels).inc_by(0);
        }
    }

    /// Creates the counters of an authenticator with signing keys at zero.
    pub(crate) fn register_key_source(&self, authenticator: &str) {
        let labels = |result| ResultLabels::of(authenticator, result);
        for result in ["ok", "failed"] {
            self.jwks_refreshes.get_or_create(&labels(result)).inc_by(0);
        }
        for result in ["checked", "remembered"] {
            self.token_signatures.get_or_create(&labels(result)).inc_by(0);
        }
    }

    /// Creates the metrics of an authenticator with a backend at zero.
    pub(crate) fn register_backend(&self, authenticator: &str) {
        drop(self.backend_up.get_or_create(&AuthenticatorLabel::of(authenticator)));
        for result in BackendResult::ALL {
            let labels = ResultLabels::of(authenticator, result.as_str());
            self.backend_answers.get_or_create(&labels).inc_by(0);
        }
        for state in BackendConnections::ALL {
            self.set_backend_connections(authenticator, state, 0);
        }
    }

    /// Counts the answer to a login that depends on a backend.
    pub(crate) fn count_backend_answer(&self, authenticator: &str, result: BackendResult) {
        let labels = ResultLabels::of(authenticator, result.as_str());
        self.backend_answers.get_or_create(&labels).inc();
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
        if decision.outcome() == Outcome::Dropped {
            self.dropped.get_or_create(&ReasonLabel { reason }).inc();
            return;
        }
        let authenticator = decision.authenticator.as_deref().unwrap_or("none").to_owned();
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
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(with_empty_families(text))
    }
}

const BACKEND_UP: &str = "1 if the last query of the backend had a good answer, otherwise 0";
const BACKEND_ANSWERS: &str = "Logins answered by the backend, or from memory";
const DIRECTORY_ENTRIES: &str = "Entries of a watched directory: in force, or invalid";
const BACKEND_CONNECTIONS: &str = "Connections to the backend";
const JWKS_REFRESH: &str = "Fetches of key sets";
const TOKEN_SIGNATURES: &str =
    "Signatures of bearer tokens: checked now, or remembered from an earlier check";
const IN_SYNC: &str = "1 if the file is in force as it is on disk, 0 while they differ";
const WATCH_LOST: &str = "Age of the known service accounts while their watch is lost, otherwise 0";

/// Families that the encoder omits while they have no samples, but that must be declared.
const MAYBE_EMPTY: [(&str, &str, &str); 8] = [
    ("callgate_backend_up", "gauge", BACKEND_UP),
    ("callgate_backend_answers", "counter", BACKEND_ANSWERS),
    ("callgate_backend_connections", "gauge", BACKEND_CONNECTIONS),
    ("callgate_config_in_sync", "gauge", IN_SYNC),
    ("callgate_directory_entries", "gauge", DIRECTORY_ENTRIES),
    ("callgate_jwks_refresh", "counter", JWKS_REFRESH),
    ("callgate_token_signatures", "counter", TOKEN_SIGNATURES),
    ("callgate_kubernetes_watch_lost_seconds", "gauge", WATCH_LOST),
];

fn with_empty_families(text: String) -> String {
    const END: &str = "# EOF\n";
    let mut text = text.strip_suffix(END).map(str::to_owned).unwrap_or(text);
    for (name, kind, help) in MAYBE_EMPTY {
        let declared = format!("# TYPE {name} {kind}\n");
        if !text.contains(&declared) {
            text.push_str(&format!("# HELP {name} {help}.\n{declared}"));
        }
    }
    text.push_str(END);
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Exposition;

    /// The label names of a sample, with the values of enumerated labels.
    fn labels(sample: &str) -> BTreeSet<String> {
        let inner = sample.split_once('{').and_then(|(_, rest)| rest.split_once('}'));
        let pairs = inner.map_or("", |(pairs, _)| pairs).split(',').filter(|it| !it.is_empty());
        let label = |pair: &str| match pair.split_once('=') {
            Some((name, _)) if !["stage", "result", "state"].contains(&name) => name.to_owned(),
            _ => pair.to_owned(),
        };
        pairs.map(label).collect()
    }

    #[test]
    fn metric_names_types_and_labels_are_frozen() {
        let metrics = Metrics::default();
        metrics.register_authenticator("a");
        metrics.register_key_source("a");
        metrics.register_backend("a");
        metrics.crl_expires("a", 1);
        metrics.count_second_factor("a", SecondFactorResult::Accepted);
        metrics.set_directory_entries("a", 1, 0);
        metrics.service_accounts_known("a", 1, None);
        metrics.file_in_sync(Path::new("a"), true);
        let mut families: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let text = Exposition::Text.convert(metrics.render().unwrap());
        for line in text.lines() {
            match line.strip_prefix("# TYPE ") {
                Some(declared) => drop(families.entry(declared.to_owned()).or_default()),
                None if line.starts_with('#') => {}
                None => {
                    let of = |family: &&String| {
                        family.split(' ').next().is_some_and(|name| line.starts_with(name))
                    };
                    let family = families.keys().rfind(of).cloned().expect(line);
                    families.entry(family).or_default().append(&mut labels(line));
                }
            }
        }
        let row = |(family, labels): (String, BTreeSet<String>)| {
            [family].into_iter().chain(labels).collect::<Vec<_>>().join(" ") + "\n"
        };
        let current: String = families.into_iter().map(row).collect();
        let frozen = include_str!("../../tests/it/frozen/metrics.txt");
        assert!(current == frozen, "frozen:\n{frozen}\ncurrent:\n{current}");
    }
}
