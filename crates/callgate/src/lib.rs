//! Write a NATS auth callout: open the request, decide, answer with a signed user JWT.

pub mod authn;
pub mod clock;
pub mod connection;
pub mod decision;
pub mod keys;
pub mod policy;
pub mod request;
pub mod secret;
pub mod subject;
pub mod wire;
