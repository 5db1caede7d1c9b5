//! What all backends have in common.
//!
//! A *backend* is a system that is queried during a login: a directory, a database, a web service. The
//! rules here are those of every backend, so that the folder of a kind contains only its protocol:
//!
//! - `precheck` names the credentials that are never sent to a backend;
//! - `Backend` bounds queries: a deadline, a number of connections, one query for identical logins,
//!   and no waiting for a backend that cannot be reached;
//! - `Transport` reads the keys for connections and TLS;
//! - `Outside` turns what a backend returned into an identity with a bounded proposal;
//! - `FirstContact` reports readiness once the backend has been reached;
//! - `OnceAMinute` bounds how often a problem that repeats is logged;
//! - `notes` collects for `explain` what was queried and found.

mod breaker;
#[cfg(any(feature = "http", feature = "introspection"))]
mod connect;
mod first_contact;
mod guard;
pub mod notes;
mod outside;
mod precheck;
mod query_error;
mod throttle;
mod tls;
mod transport;

#[cfg(any(feature = "http", feature = "introspection"))]
pub(crate) use connect::connect;
pub(crate) use first_contact::FirstContact;
pub(crate) use guard::Backend;
pub(crate) use outside::{Outside, permissions, text_list};
pub(crate) use precheck::{Nul, precheck};
pub(crate) use query_error::QueryError;
pub(crate) use throttle::OnceAMinute;
pub(crate) use tls::TlsSettings;
pub(crate) use transport::{
    CONNECT_TIMEOUT_KEY, TLS_KEY, Transport, connections_key, insecure_key, is_loopback,
};

#[cfg(test)]
mod tests;
