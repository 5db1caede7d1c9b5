//! Users in a JetStream bucket, on real servers.

mod changes;
mod commands;
mod explain;
mod outages;
mod permissions;
mod second_factors;
mod secrets;
mod world;
