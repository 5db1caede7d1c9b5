//! Which families there are, and which samples exist from the start.

use callgate::{
    clock::UnixTime,
    record::{Cause, Outcome, Reason},
};
use callgate_authenticators::kind::{BackendConnections, BackendResult};
use prometheus_client::{
    metrics::info::Info,
    registry::{Registry, Unit},
};

use super::{
    Metrics, audit,
    labels::{
        AuthenticatorLabel, DecisionLabels, NO_AUTHENTICATOR, ReasonLabel, ResultLabel,
        ResultLabels, StageLabel,
    },
    revocation::REVOCATIONS,
    shadow,
    system::{KICKS, SERVERS, SESSIONS},
};
use crate::telemetry::writer::LOST;

impl Metrics {
    pub(super) fn register(&mut self) {
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
        r.register("password_hashes", PASSWORD_HASHES, self.password_hashes.clone());
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
        r.register("ready", "1 while /readyz answers with 200", self.ready.clone());
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
        self.state.register(r);
        self.system.register(r);
        self.audit.register(r);
        self.shadow.register(r);
        register_version(r);
    }

    /// Creates counters of rare events at zero, so that the first event is visible as an increase.
    pub(super) fn begin_at_zero(&self) {
        for reason in Reason::ALL.iter().filter(|reason| reason.outcome() == Outcome::Dropped) {
            self.dropped.get_or_create(&ReasonLabel { reason: reason.as_str() }).inc_by(0);
        }
        self.begin_refusals(NO_AUTHENTICATOR);
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
        self.begin_decisions(authenticator, Reason::Admitted);
        self.begin_refusals(authenticator);
    }

    /// Creates the counters of all refusals at zero: an alert on an increase misses whatever a counter
    /// begins with.
    fn begin_refusals(&self, authenticator: &str) {
        let refused = Reason::ALL.iter().filter(|reason| reason.outcome() == Outcome::Refused);
        refused.for_each(|reason| self.begin_decisions(authenticator, *reason));
    }

    fn begin_decisions(&self, authenticator: &str, reason: Reason) {
        let causes = match reason == Reason::BadToken {
            true => Cause::ALL.iter().map(|cause| cause.as_str()).collect(),
            false => vec![""],
        };
        for cause in causes {
            let (outcome, reason) = (reason.outcome().as_str(), reason.as_str());
            let authenticator = authenticator.to_owned();
            let labels = DecisionLabels { authenticator, outcome, reason, cause };
            self.decisions.get_or_create(&labels).inc_by(0);
        }
    }

    /// The metrics of `watch-log`. It is not a replica: the others would show one that is not connected.
    pub(crate) fn of_watch_log() -> Self {
        let metrics = Self::default();
        let mut registry = Registry::with_prefix("callgate");
        metrics.audit.register(&mut registry);
        register_version(&mut registry);
        Self { registry, ..metrics }
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
}

fn register_version(registry: &mut Registry) {
    registry.register("build", "Version", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
}

const BACKEND_UP: &str = "1 if the last query of the backend had a good answer, otherwise 0";
const BACKEND_ANSWERS: &str = "Logins answered by the backend, or from memory";
const DIRECTORY_ENTRIES: &str = "Entries of a watched directory: in force, or invalid";
const PASSWORD_HASHES: &str = "Passwords that were hashed";
const BACKEND_CONNECTIONS: &str = "Connections to the backend";
const JWKS_REFRESH: &str = "Fetches of key sets";
const TOKEN_SIGNATURES: &str =
    "Signatures of bearer tokens: checked now, or remembered from an earlier check";
const IN_SYNC: &str = "1 if the file is in force as it is on disk, 0 while they differ";
const WATCH_LOST: &str = "Age of the known service accounts while their watch is lost, otherwise 0";

/// Families that the encoder omits while they have no samples, but that must be declared.
const MAYBE_EMPTY: &[(&str, &str, &str)] = &[
    ("callgate_audit_queue_bytes", "gauge", audit::QUEUE_BYTES),
    ("callgate_audit_records", "counter", audit::RECORDS),
    ("callgate_password_hashes", "counter", PASSWORD_HASHES),
    ("callgate_permission_violations", "counter", audit::PERMISSION_VIOLATIONS),
    ("callgate_unexpected_sources", "counter", audit::UNEXPECTED_SOURCES),
    ("callgate_backend_up", "gauge", BACKEND_UP),
    ("callgate_backend_answers", "counter", BACKEND_ANSWERS),
    ("callgate_backend_connections", "gauge", BACKEND_CONNECTIONS),
    ("callgate_config_in_sync", "gauge", IN_SYNC),
    ("callgate_directory_entries", "gauge", DIRECTORY_ENTRIES),
    ("callgate_kicks", "counter", KICKS),
    ("callgate_sessions", "gauge", SESSIONS),
    ("callgate_shadow_decisions", "counter", shadow::DECISIONS),
    ("callgate_system_servers", "gauge", SERVERS),
    ("callgate_jwks_refresh", "counter", JWKS_REFRESH),
    ("callgate_token_signatures", "counter", TOKEN_SIGNATURES),
    ("callgate_kubernetes_watch_lost_seconds", "gauge", WATCH_LOST),
    ("callgate_revocations", "counter", REVOCATIONS),
];

/// Declares the families of [`MAYBE_EMPTY`] that `text` lacks.
pub(super) fn with_empty_families(text: String) -> String {
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
