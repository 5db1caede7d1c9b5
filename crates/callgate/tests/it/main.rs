//! Tests of the public API: with raw bytes, and with a real nats-server.
//!
//! The byte-level tests use `callgate_testkit::RequestBuilder` as the server: an independent
//! implementation of the protocol.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "test code: a panic is how a test fails"
)]

mod answers;
mod bad_requests;
mod callout_account;
mod chain;
mod closures;
mod credentials;
mod encryption;
mod examples;
mod fairness;
mod hooks;
mod micro;
mod operator_mode;
mod ordinary_requests;
mod panics;
mod properties;
mod refusals;
mod replacement;
mod replicas;
mod round_trips;
mod server;
mod support;
mod vectors;
