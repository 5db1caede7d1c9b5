//! Sessions, kicks and locks with real servers and clients.

mod kicks;
mod listing;
mod locks;
mod partitions;
mod world;
