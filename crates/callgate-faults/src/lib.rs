//! Faults, played with real parts: nats-servers, the `callgate` binary, clients, an OpenID provider,
//! network namespaces.
//!
//! In a [`fault::Fault`] clients connect continuously ([`probe`]) while something breaks and, mostly, is
//! repaired. It fails if an invalid client is admitted, or if the service does not recover without help.
//! What clients, log and metrics showed, and how long it took, is [`report`]ed and never asserted;
//! [`page`] renders it.
//!
//! Errors panic with a message, which fails the fault: this is test code.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "test code: a panic is how a test fails"
)]

pub mod binary;
pub mod client;
pub mod fault;
pub mod faults;
pub mod namespace;
pub mod page;
pub mod probe;
pub mod proxy;
pub mod replicas;
pub mod report;
pub mod scene;
pub mod trial;
