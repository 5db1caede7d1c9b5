//! The live connections that decisions admitted: the table of sessions, its copies on other replicas, and
//! what acts on sessions.

mod codec;
mod filter;
mod session;
mod table;

pub(crate) use filter::Filter;
#[cfg(test)]
pub(crate) use session::Values;
pub(crate) use session::{Common, Session};
pub(crate) use table::Table;
