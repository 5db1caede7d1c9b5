//! Messages, names and templates, without a directory.

mod dn;
mod messages;
mod servers;
mod templates;
