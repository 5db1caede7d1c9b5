//! Policy against real servers: a client can do exactly what its policy permits.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code: a panic is how a test fails"
)]

mod enforcement;
mod expiry;
mod explain;
mod jetstream;
mod mqtt;
mod reach;
mod site;
mod templates;
mod wire;
