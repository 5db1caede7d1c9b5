//! The audit of the running service.

mod chain;
mod commands;
mod failures;
mod independent;
mod marks;
mod privacy;
mod rotation;
mod stream;
pub(crate) mod support;
