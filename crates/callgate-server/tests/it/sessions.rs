//! Sessions, kicks and locks with real servers and clients.

mod audited;
mod crowds;
mod everywhere;
mod kicks;
mod kinds;
mod listing;
mod locks;
mod partitions;
mod races;
mod violations;
pub(crate) mod world;
