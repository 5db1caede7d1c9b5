//! Password verification that takes equally long for known and unknown users, in a bounded pool.
//!
//! - [`StoredPassword`] is the password of an entry: a hash of a supported kind within bounds, or
//!   clear text, of which only a keyed digest is kept.
//! - [`DummyPasswords`] supplies the password that is verified for a name that has none.
//! - [`PasswordPool`] hashes on threads of its own, ranks sources by their recent logins, and refuses
//!   immediately what it cannot finish in time.
//! - [`Verified`] remembers correct passwords for a short time, so that clients that reconnect do
//!   not cost another hash.

mod clear;
mod cost;
mod dummy;
mod hash;
mod pool;
mod queue;
mod schedule;
mod sources;
mod stored;
mod verified;

pub(crate) use clear::digest;
pub use cost::{Cost, Digest, Scratch};
pub(crate) use dummy::SeenCosts;
pub use dummy::{DummyKey, DummyPasswords};
pub use hash::{HashError, hash};
pub use pool::{PasswordPool, PoolError};
pub(crate) use stored::form;
pub use stored::{StoredError, StoredPassword};
pub use verified::{Verified, VerifiedKey};

#[cfg(test)]
mod tests;
