//! Metrics of decisions with a candidate configuration.

use prometheus_client::{
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

use super::{Metrics, labels::ResultLabel};
use crate::shadow::ShadowResult;

pub(super) const DECISIONS: &str = "Decisions compared with those of the candidate configuration";

#[derive(Debug, Default)]
pub(super) struct ShadowMetrics(Family<ResultLabel, Counter>);

impl ShadowMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("shadow_decisions", DECISIONS, self.0.clone());
    }
}

impl Metrics {
    /// Creates the counters of all results at zero.
    pub(crate) fn register_shadow(&self) {
        for result in ShadowResult::ALL {
            let labels = ResultLabel { result: result.as_str() };
            self.shadow.0.get_or_create(&labels).inc_by(0);
        }
    }

    /// Counts a decision that was compared, or should have been.
    pub(crate) fn count_shadow(&self, result: ShadowResult) {
        self.shadow.0.get_or_create(&ResultLabel { result: result.as_str() }).inc();
    }
}
