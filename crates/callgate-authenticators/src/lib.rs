//! The authenticators of Callgate: who is the client of this NATS connection?
//!
//! Each kind is one folder and one line in [`kind::Registry::builtin`]. A kind reads its own table
//! of the configuration through [`settings`], which reports every fault at once.

pub mod file_watch;
#[cfg(all(feature = "fuzzing", feature = "kubernetes"))]
pub mod fuzzing;
pub mod http_client;
pub mod jwks;
pub mod jws;
pub mod kind;
#[cfg(feature = "kubernetes")]
pub mod kubernetes;
pub mod oidc;
pub mod passwords;
mod remembered;
pub mod service_tokens;
pub mod settings;
mod signatures;
pub mod users;

#[cfg(test)]
mod test_issuer;
#[cfg(test)]
mod test_server;
