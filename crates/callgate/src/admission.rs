//! Who may wait, and how many.

pub(crate) mod fair_limiter;
pub(crate) mod queues;
