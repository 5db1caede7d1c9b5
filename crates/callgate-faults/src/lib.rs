//! Faults, played with real parts: nats-servers, the `callgate` binary, clients, an OpenID provider,
//! network namespaces.
//!
//! A [`fault::Fault`] is a small story: clients come without a pause ([`probe`]), something breaks, and
//! is mended or is not. It fails if somebody comes in who must not, or if the service does not recover by
//! itself. What clients, log and metrics showed, and how long it took, is [`report`]ed and never asserted.
//!
//! Whatever goes wrong panics with a message: it is test code, and the fault has failed.

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
pub mod probe;
pub mod proxy;
pub mod replicas;
pub mod report;
pub mod scene;
pub mod trial;
