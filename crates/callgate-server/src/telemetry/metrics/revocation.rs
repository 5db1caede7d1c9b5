//! Metrics of sessions that changes end.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use super::Metrics;

#[derive(Debug, Default)]
pub(super) struct RevocationMetrics {
    ended: Family<CauseLabel, Counter>,
    held: Gauge,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CauseLabel {
    cause: &'static str,
}

pub(super) const REVOCATIONS: &str = "Sessions that a change ended";

impl RevocationMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("revocations", REVOCATIONS, self.ended.clone());
        registry.register(
            "revocations_held",
            "1 while a change waits for callgate revocations --apply or --drop, otherwise 0",
            self.held.clone(),
        );
    }
}

impl Metrics {
    /// Creates the counters of these causes at zero.
    pub(crate) fn register_revocations(&self, causes: impl IntoIterator<Item = &'static str>) {
        for cause in causes {
            self.revocation.ended.get_or_create(&CauseLabel { cause }).inc_by(0);
        }
    }

    /// Counts a session that a change ended.
    pub(crate) fn count_revocation(&self, cause: &'static str) {
        self.revocation.ended.get_or_create(&CauseLabel { cause }).inc();
    }

    /// Sets whether a change waits for an operator.
    pub(crate) fn set_revocations_held(&self, held: bool) {
        self.revocation.held.set(held.into());
    }
}
