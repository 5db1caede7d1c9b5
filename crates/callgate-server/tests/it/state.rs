//! Locks in a JetStream bucket, on real servers and with several replicas.

mod locks;
mod outages;
mod permissions;
mod world;
