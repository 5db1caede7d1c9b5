//! Key-value buckets of JetStream: a watch that survives every outage, and compare-and-set writes.

mod access;
mod error;
mod follow;
mod watch;

pub(crate) use access::{BucketAccess, Retention, Stored, Written, create, is_below, raise};
pub(crate) use error::BucketError;
pub(crate) use follow::check_permissions;
pub(crate) use watch::watch;
