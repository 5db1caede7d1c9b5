//! Users in a JetStream bucket, on real servers.

mod changes;
mod commands;
mod outages;
mod permissions;
mod second_factors;
mod world;
