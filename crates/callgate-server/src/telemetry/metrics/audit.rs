//! Metrics of the audit.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
};

use callgate::record::Outcome;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};

use super::Metrics;

pub(super) const RECORDS: &str = "Audit records, written or lost";
pub(super) const PERMISSION_VIOLATIONS: &str =
    "Permission violations in the log that watch-log reads";
pub(super) const UNEXPECTED_SOURCES: &str =
    "Logins from outside the expected sources of their account";
pub(super) const QUEUE_BYTES: &str = "Audit records that wait for a sink";

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SinkLabel {
    sink: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SinkResultLabels {
    sink: String,
    result: &'static str,
}

#[derive(Debug, Default)]
pub(super) struct AuditMetrics {
    records: Family<SinkResultLabels, Counter>,
    queue_bytes: Family<SinkLabel, Gauge>,
    /// Sources of `queue_bytes`, sampled at scrape time.
    queues: Mutex<Vec<Source>>,
    rotate_failures: Counter,
    unexpected_sources: Family<AccountLabels, Counter>,
    permission_violations: Family<ViolationLabels, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ViolationLabels {
    account: String,
    operation: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AccountLabels {
    account: String,
    outcome: &'static str,
}

struct Source {
    sink: String,
    bytes: Box<dyn Fn() -> usize + Send + Sync>,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Source({:?})", self.sink)
    }
}

impl AuditMetrics {
    pub(super) fn register(&self, r: &mut Registry) {
        r.register("audit_records", RECORDS, self.records.clone());
        r.register_with_unit("audit_queue", QUEUE_BYTES, Unit::Bytes, self.queue_bytes.clone());
        r.register(
            "audit_rotate_failures",
            "Audit files that could not be rotated, or whose command failed",
            self.rotate_failures.clone(),
        );
        let violations = self.permission_violations.clone();
        r.register("permission_violations", PERMISSION_VIOLATIONS, violations);
        r.register("unexpected_sources", UNEXPECTED_SOURCES, self.unexpected_sources.clone());
    }

    pub(super) fn sample(&self) {
        for Source { sink, bytes } in &*self.queues.lock().unwrap_or_else(PoisonError::into_inner) {
            let bytes = i64::try_from(bytes()).unwrap_or(i64::MAX);
            self.queue_bytes.get_or_create(&SinkLabel { sink: sink.clone() }).set(bytes);
        }
    }
}

impl Metrics {
    /// Creates the metrics of a sink. `bytes` is how much waits for it.
    pub(crate) fn register_audit_sink(
        &self,
        sink: &str,
        bytes: impl Fn() -> usize + Send + Sync + 'static,
    ) {
        for is_written in [true, false] {
            self.count_audit_records(sink, is_written, 0);
        }
        let source = Source { sink: sink.to_owned(), bytes: Box::new(bytes) };
        self.audit.queues.lock().unwrap_or_else(PoisonError::into_inner).push(source);
    }

    /// Counts records that a sink has written or lost.
    pub(crate) fn count_audit_records(&self, sink: &str, is_written: bool, count: usize) {
        let result = if is_written { "written" } else { "lost" };
        let labels = SinkResultLabels { sink: sink.to_owned(), result };
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        self.audit.records.get_or_create(&labels).inc_by(count);
    }

    /// Creates the counters of an account with expected sources at zero.
    pub(crate) fn register_expected_account(&self, account: &str) {
        for outcome in [Outcome::Admitted, Outcome::Refused] {
            let labels = AccountLabels { account: account.to_owned(), outcome: outcome.as_str() };
            self.audit.unexpected_sources.get_or_create(&labels).inc_by(0);
        }
    }

    /// Creates the counters of an account whose permission violations are counted at zero.
    pub(crate) fn register_violations(&self, account: &str, operations: &[&'static str]) {
        for operation in operations {
            let labels = ViolationLabels { account: account.to_owned(), operation };
            self.audit.permission_violations.get_or_create(&labels).inc_by(0);
        }
    }

    /// Counts a login from outside the expected sources of its account, which the operator has named.
    pub(crate) fn count_unexpected_source(&self, account: &str, outcome: Outcome) {
        let labels = AccountLabels { account: account.to_owned(), outcome: outcome.as_str() };
        self.audit.unexpected_sources.get_or_create(&labels).inc();
    }

    /// Counts a permission violation; `account` is one of the configuration, or a word of `watch-log`.
    pub(crate) fn count_permission_violation(&self, account: &str, operation: &'static str) {
        let labels = ViolationLabels { account: account.to_owned(), operation };
        self.audit.permission_violations.get_or_create(&labels).inc();
    }

    /// Counts a rotation that failed, or whose command failed.
    pub(crate) fn count_audit_rotation_failure(&self) {
        self.audit.rotate_failures.inc();
    }
}
