//! Write a NATS auth callout: open the request, decide, answer with a signed user JWT.

pub mod draft;
mod envelope;
mod gate;
mod pipeline;
mod stock;
mod user;

pub mod authn;
pub mod clock;
pub mod connection;
pub mod decision;
pub mod keys;
pub mod mint;
pub mod operator;
pub mod policy;
pub mod request;
#[cfg(feature = "nats")]
pub mod responder;
pub mod secret;
pub mod subject;
pub mod wire;

pub use envelope::XKEY_HEADER;
pub use gate::{BuildError, Callgate, CallgateBuilder, Reply};
pub use mint::AccountKeys;
pub use pipeline::{Explained, RefusalStyle};
pub use stock::StockExplanation;
pub use user::{Refusal, User};
