//! Chain and policy, or a function of the embedder.

pub(crate) mod chain;
pub(crate) mod user;
