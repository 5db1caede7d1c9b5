//! The JSON of NATS claims. Nothing outside this folder knows how a claim is spelt.

pub(crate) mod json;
pub(crate) mod jwt;
pub(crate) mod operator;
pub(crate) mod request;
pub(crate) mod response;
pub(crate) mod user;

pub use json::{JsonError, deserialize_strict, parse_strict};
pub use jwt::{is_nats_user, looks_like_jwt};
