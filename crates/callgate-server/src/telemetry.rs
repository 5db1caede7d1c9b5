//! Logs and metrics. Both are made from [`callgate::decision::Decision`] and nothing else.

mod log;
mod metrics;
mod printable;

pub(crate) use log::DecisionLog;
pub use log::{LogFormat, start_logging};
pub use metrics::Metrics;
pub(crate) use printable::printable;
