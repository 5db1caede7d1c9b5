//! The keys of an issuer: parsed strictly, refreshed in the background, and kept when a refresh fails.

mod discovery;
mod file;
mod host;
mod key;
mod refresher;
mod set;
mod source;
mod store;
mod timing;

pub use discovery::{Discovery, DiscoveryError, DiscoverySource};
pub use file::{FileError, FileSource};
pub use host::{HostError, KeyHost};
pub use key::{JsonWebKey, Reading};
pub use set::{KeySet, KeySetError, NoKey};
pub use source::{Fetched, KeySource, KeySourceError, UrlSource};
pub use store::{KeyStore, KeysUnavailable, LookupError, RefreshObserver};
pub use timing::Timing;

#[cfg(test)]
mod tests;
#[cfg(test)]
#[cfg(feature = "vectors")]
mod vector_tests;
