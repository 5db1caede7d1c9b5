//! Metrics of decisions with a candidate configuration.

use prometheus_client::{
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

use super::{Metrics, labels::ResultLabel};

pub(super) const DECISIONS: &str = "Decisions compared with those of the candidate configuration";

#[derive(Debug, Default)]
pub(super) struct ShadowMetrics(Family<ResultLabel, Counter>);

impl ShadowMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("shadow_decisions", DECISIONS, self.0.clone());
    }
}

impl Metrics {
    /// Creates the counters of these results at zero.
    pub(crate) fn register_shadow(&self, results: impl IntoIterator<Item = &'static str>) {
        for result in results {
            self.shadow.0.get_or_create(&ResultLabel { result }).inc_by(0);
        }
    }

    /// Counts a decision that was compared, or should have been.
    pub(crate) fn count_shadow(&self, result: &'static str) {
        self.shadow.0.get_or_create(&ResultLabel { result }).inc();
    }
}
