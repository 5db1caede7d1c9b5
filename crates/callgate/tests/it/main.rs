//! The library from outside: bytes in, bytes out, and a real nats-server around it.
//!
//! The server of the tests over bytes is `callgate_testkit::RequestBuilder`, which knows the
//! protocol from another source than the library does.

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
