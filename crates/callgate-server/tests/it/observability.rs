//! The files in `deploy/observability` agree with the product: metrics and labels, records, the runbook.

mod dashboard;
#[cfg(feature = "prometheus")]
mod prometheus;
mod promql;
mod rules;
