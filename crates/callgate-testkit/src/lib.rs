//! Real servers, synthetic requests and helpers for tests of Callgate and of callouts built with it.
//!
//! [`keys`] and [`requests`] do not use Callgate, only the `nkeys` crate: a bug in the library cannot hide
//! behind the same bug here.
//!
//! Errors panic with a message, which fails the test.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "test code: a panic is how a test fails"
)]

#[cfg(feature = "oidc")]
pub mod client_certificates;
pub mod clock;
pub mod conformance;
pub mod cpu;
#[cfg(feature = "databases")]
pub mod databases;
pub mod files;
pub mod keys;
#[cfg(feature = "kubernetes")]
pub mod kube;
#[cfg(feature = "kubernetes")]
pub mod kube_apiserver;
#[cfg(feature = "kubernetes")]
pub mod kube_stand_in;
#[cfg(feature = "ldap")]
pub mod ldap;
pub mod nats_cluster;
pub mod nats_server;
#[cfg(feature = "oidc")]
pub mod oidc_provider;
pub mod pages;
pub mod ports;
pub mod process;
pub mod raw;
pub mod requests;
pub mod service;
pub mod session;
pub mod tools;
#[cfg(feature = "oidc")]
pub mod totp;
pub mod wait;

pub use clock::ManualClock;
pub use keys::{CurveKey, Nkey};
pub use nats_cluster::NatsCluster;
pub use nats_server::NatsServer;
#[cfg(feature = "oidc")]
pub use oidc_provider::OidcProvider;
pub use process::Process;
pub use raw::{MqttClient, RawClient};
pub use requests::{RequestBuilder, Response, SignedRequest};
pub use service::Service;
pub use session::Session;
pub use wait::eventually;
