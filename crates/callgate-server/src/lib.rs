//! The Callgate service. Its binary is `callgate`.
//!
//! The stock binary is this function; to add your own authenticator, register its kind with `.with(…)`:
//!
//! ```no_run
//! use callgate_authenticators::kind::Registry;
//!
//! fn main() -> std::process::ExitCode {
//!     callgate_server::run(Registry::builtin())
//! }
//! ```

mod admin;
mod assemble;
mod audit;
mod buckets;
mod bus;
mod cli;
mod config;
mod control;
mod expected;
mod files;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod health;
mod import;
mod nats;
mod nats_conf;
mod observers;
mod operations;
mod own_account;
mod panics;
mod peers;
mod recent;
mod rehearsal;
mod reload;
mod replicas;
mod revocation;
mod server_log;
mod service;
mod sessions;
mod shadow;
mod state;
mod subject_text;
mod system;
mod telemetry;
mod watchdog;

pub use cli::run;
