//! Logs and metrics. For decisions, both depend only on [`callgate::record::Decision`].

mod drops;
mod exposition;
mod log;
mod metrics;
mod writer;

pub(crate) use callgate::sanitize::{log_detail as sanitize_detail, log_field as sanitize};
pub(crate) use drops::Drops;
pub(crate) use exposition::Exposition;
pub(crate) use log::{DecisionLog, LogFormat, is_coloured, start_logging};
pub(crate) use metrics::{CONFIGURATION, Metrics};
pub(crate) use writer::flush_log;
