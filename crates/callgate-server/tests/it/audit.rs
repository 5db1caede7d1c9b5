//! The audit of the running service.

mod chain;
mod failures;
mod privacy;
mod rotation;
mod support;
