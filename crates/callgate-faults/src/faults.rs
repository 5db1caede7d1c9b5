//! One file per family of faults.

pub mod backends;
pub mod clock;
pub mod cluster_api;
pub mod decisions;
pub mod files;
pub mod network;
pub mod provider;
pub mod resources;
pub mod servers;

use crate::fault::Fault;

/// All of them, in the order of the page.
pub fn all() -> Vec<Fault> {
    [
        &servers::ALL[..],
        &network::ALL,
        &provider::ALL,
        &backends::ALL,
        &cluster_api::ALL,
        &files::ALL,
        &resources::ALL,
        &clock::ALL,
        &decisions::ALL,
        &crate::replicas::ALL,
    ]
    .concat()
}
