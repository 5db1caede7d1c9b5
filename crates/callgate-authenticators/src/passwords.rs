//! Verifies passwords: at a cost that tells nothing, in a pool that cannot be flooded.
//!
//! - [`StoredPassword`] is what a table holds: a hash of a listed kind within bounds, or clear text
//!   (of which only a keyed digest is kept).
//! - [`Attempt`] is one verification. It computes **one** hash, whoever the user is and whether
//!   there is one: the user's own, or, for who has none, one of the dearest set of parameters in
//!   force ([`CostsInForce`]). Whoever's own takes less burns time on the same thread until as much
//!   has passed as the dearest took one of the last times. Where nothing is hashed there is nothing
//!   to compute. So the time of an answer tells neither who exists nor who has which kind of hash:
//!   exactly so with one set in force, and as well as time can be measured with several.
//! - [`PasswordPool`] computes on threads of its own, takes turns between sources, and refuses at
//!   once what it cannot do in time.
//! - [`Verified`] remembers for a short while what was right, so that a reconnect storm does not
//!   hash again.

mod attempt;
mod clear;
mod cost;
mod durations;
mod force;
mod hash;
mod pool;
mod queue;
mod stored;
mod verified;

pub use attempt::Attempt;
pub(crate) use clear::digest;
pub use cost::{Cost, Digest, Scratch};
pub use force::{Costs, CostsInForce, Enrolment};
pub use hash::{HashError, hash};
pub use pool::{PasswordPool, PoolError};
pub use stored::{StoredError, StoredPassword};
pub use verified::{Verified, VerifiedKey};

#[cfg(test)]
mod tests;
