//! The service end to end: the binary, real nats-servers and real clients.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code: a panic is how a test fails"
)]

mod admin;
mod architecture;
mod audit;
mod backend_secrets;
mod bad_input;
mod commands;
#[cfg(feature = "postgres")]
mod databases;
mod demo;
mod docs;
mod frozen;
mod import;
mod init;
mod kv;
#[cfg(feature = "slapd")]
mod ldap;
mod lifecycle;
mod observability;
mod overload;
mod peers;
mod policy_tools;
mod reload;
mod revocation;
mod scenario;
mod secrets;
mod services;
mod sessions;
mod state;
mod support;
mod system;
mod systemd;
mod tls;
mod users;
mod watch_log;
mod wire;
