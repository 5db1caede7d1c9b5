//! What authenticators that query a backend over a network have in common.

mod singleflight;

pub(crate) use singleflight::SingleFlight;
