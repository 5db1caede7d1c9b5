//! Every mode of nats-server's auth callout, every server line and every connection type, against real
//! servers.
//!
//! [`cells`] holds the logins that every connection type runs in every environment, [`scenarios`] what
//! runs once for each server line. [`plan`] selects them, [`run`] runs them, [`report`] holds the
//! outcomes and [`page`] renders them. Cells use the real `callgate` binary; scenarios mostly use the
//! library.
//!
//! Errors panic with a message, which fails the cell: this is test code.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "test code: a panic is how a test fails"
)]

pub mod cells;
pub mod certificates;
pub mod clients;
pub mod environment;
pub mod mode;
pub mod observers;
pub mod page;
pub mod plan;
pub mod report;
pub mod run;
pub mod scenarios;
pub mod service;
pub mod site;
pub mod tool;
pub mod transport;
