//! What replicas share through a JetStream bucket: locks, and proof that the replica is fresh.

mod settings;
mod target;

pub(crate) use settings::{StateMode, StateSettings};
pub(crate) use target::{Candidate, IssuedAt, Target, Verdict, parse_network, parse_time};
