//! Policy against real servers: what we say that a client may do is what it can do.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod enforcement;
mod jetstream;
mod reach;
mod site;
mod templates;
mod wire;
