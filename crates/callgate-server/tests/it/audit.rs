//! The audit of the running service.

mod chain;
mod commands;
mod failures;
mod privacy;
mod rotation;
mod support;
