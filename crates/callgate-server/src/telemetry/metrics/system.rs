//! Metrics of the connection to the system account.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use super::Metrics;

#[derive(Debug, Default)]
pub(super) struct SystemMetrics {
    connected: Gauge,
    servers: Family<AnswerLabel, Gauge>,
    kicks: Family<KickLabels, Counter>,
    server_auth_errors: Counter,
    sessions: Family<AttributedLabel, Gauge>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AttributedLabel {
    attributed: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AnswerLabel {
    answer: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KickLabels {
    cause: &'static str,
    result: &'static str,
}

pub(super) const SERVERS: &str = "Servers that answered the last request, and that did not";
pub(super) const SESSIONS: &str =
    "Live connections at the last comparison, with and without a known decision";
pub(super) const KICKS: &str = "Connections closed, by cause";

impl SystemMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "system_connected",
            "1 while connected to the system account",
            self.connected.clone(),
        );
        registry.register("system_servers", SERVERS, self.servers.clone());
        registry.register("kicks", KICKS, self.kicks.clone());
        registry.register("sessions", SESSIONS, self.sessions.clone());
        registry.register(
            "server_auth_errors",
            "Refused logins that servers reported, once per connection",
            self.server_auth_errors.clone(),
        );
    }
}

impl Metrics {
    /// Sets whether the system account is connected.
    pub(crate) fn system_connected(&self, connected: bool) {
        self.system.connected.set(connected.into());
    }

    /// Creates the metrics of a connection to the system account at zero; `results` are those of a kick.
    pub(crate) fn register_system(&self, results: &[&'static str]) {
        self.set_system_servers(0, 0);
        self.set_sessions(0, 0);
        for cause in ["kick", "lock"] {
            for result in results {
                self.system.kicks.get_or_create(&KickLabels { cause, result }).inc_by(0);
            }
        }
    }

    /// Sets how many connections a replica has admitted, and how many others there are.
    pub(crate) fn set_sessions(&self, attributed: usize, others: usize) {
        for (attributed, count) in [("true", attributed), ("false", others)] {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            self.system.sessions.get_or_create(&AttributedLabel { attributed }).set(count);
        }
    }

    /// Sets how many servers answered, and how many there are.
    pub(crate) fn set_system_servers(&self, answered: usize, expected: usize) {
        let missing = expected.saturating_sub(answered);
        for (answer, count) in [("answered", answered), ("missing", missing)] {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            self.system.servers.get_or_create(&AnswerLabel { answer }).set(count);
        }
    }

    /// Counts a kick.
    pub(crate) fn count_kick(&self, cause: &'static str, result: &'static str) {
        let labels = KickLabels { cause, result };
        self.system.kicks.get_or_create(&labels).inc();
    }

    /// Counts a refused login that a server reported.
    pub(crate) fn count_server_auth_error(&self) {
        self.system.server_auth_errors.inc();
    }
}
