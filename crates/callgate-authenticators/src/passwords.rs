//! Verifies passwords: at a cost that tells nothing, in a pool that cannot be flooded.
//!
//! - [`StoredPassword`] is what a table holds: a hash of a listed kind within bounds, or clear text
//!   (of which only a keyed digest is kept).
//! - [`Attempt`] is one verification. It computes **every** set of hash parameters that is in force
//!   ([`CostsInForce`]) exactly once, whoever the user is and whether there is one: the real hash
//!   for the user's own set, and one of the same parameters and length for each other set. With one
//!   set in force that is one hash. Where nothing is hashed there is nothing to compute. So the
//!   time of an answer tells neither who exists nor who has which kind of hash. More than one set
//!   makes each login pay for all: let all hashes have the same parameters.
//! - [`PasswordPool`] computes on threads of its own, takes turns between sources, and refuses at
//!   once what it cannot do in time.
//! - [`Verified`] remembers for a short while what was right, so that a reconnect storm does not
//!   hash again.

mod attempt;
mod clear;
mod cost;
mod force;
mod hash;
mod pool;
mod queue;
mod stored;
mod verified;

pub use attempt::Attempt;
pub(crate) use clear::digest;
pub use cost::{Cost, Digest, Scratch};
pub use force::{CostsInForce, Enrolment};
pub use hash::{HashError, hash};
pub use pool::{PasswordPool, PoolError};
pub use stored::{StoredError, StoredPassword};
pub use verified::{Verified, VerifiedKey};

#[cfg(test)]
mod tests;
