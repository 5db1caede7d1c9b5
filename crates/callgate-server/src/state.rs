//! What replicas share through a JetStream bucket: locks, and proof that the replica is fresh.

mod index;
mod lock;
mod locks;
mod settings;
mod stored;
mod target;

pub(crate) use lock::Lock;
pub(crate) use locks::{Locks, MAX_LOCKS};
pub(crate) use settings::{StateMode, StateSettings};
pub(crate) use target::{Candidate, IssuedAt, Target, Verdict, parse_network, parse_time};
