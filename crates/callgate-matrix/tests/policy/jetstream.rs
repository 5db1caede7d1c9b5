//! JetStream macros: real clients do all that a macro promises, and nothing else.

mod kv;
mod objects;
mod python;
mod streams;
pub(crate) mod world;

/// The oldest line, a long-lived one, and the newest.
pub(crate) const VERSIONS: [&str; 3] = ["2.10", "2.12", "2.15"];
