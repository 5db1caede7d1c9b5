//! Sessions, kicks and locks with real servers and clients.

mod audited;
mod kicks;
mod listing;
mod locks;
mod partitions;
mod world;
