//! One suite of scenarios over every mode of nats-server's auth callout, every server line and every
//! kind of connection.
//!
//! [`cells`] holds what every kind of connection must do in every environment, [`scenarios`] what a
//! server line does once; [`plan`] says which of them make up a run, and [`report`] what came of it.
//! Cells run against the real `callgate` binary; scenarios mostly against the library.
//!
//! Whatever goes wrong panics with a message: it is test code, and the cell has failed.

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
pub mod plan;
pub mod report;
pub mod run;
pub mod scenarios;
pub mod service;
pub mod site;
pub mod tool;
pub mod transport;
