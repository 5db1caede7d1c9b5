//! Grant -> signed user JWT -> sealed answer.

pub(crate) mod minter;
pub(crate) mod response;
mod user_claims;
