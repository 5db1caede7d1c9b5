//! Logs and metrics. For decisions, both depend only on [`callgate::record::Decision`].

mod drops;
mod exposition;
mod log;
mod metrics;
mod sanitize;
mod writer;

pub(crate) use exposition::Exposition;
pub(crate) use log::{DecisionLog, LogFormat, start_logging};
pub(crate) use metrics::Metrics;
pub(crate) use sanitize::{sanitize, sanitize_detail};
pub(crate) use writer::flush_log;
