//! The key-value buckets of JetStream, without a NATS client.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

/// The header of a deletion marker with the name of the actor.
pub const REMOVED_BY: &str = "Callgate-Actor";

/// The name of a bucket.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Bucket {
    /// Its name, without `KV_`.
    pub name: String,
    /// Its JetStream domain.
    pub domain: Option<String>,
}

/// An event of a watched bucket, in the order of revisions.
pub enum BucketEvent {
    /// A complete list begins: the current values follow, then [`BucketEvent::Listed`].
    Listing(BucketFacts),
    /// A value, listed or changed.
    Value {
        /// Its key.
        key: String,
        /// The new value.
        value: Vec<u8>,
        /// Its revision in the bucket.
        revision: u64,
        /// When it was written, by the server's clock.
        written: SystemTime,
    },
    /// A key was deleted or purged.
    Removed {
        /// The key.
        key: String,
        /// The revision of the marker.
        revision: u64,
        /// Who removed it, if the marker says so in the header [`REMOVED_BY`].
        by: Option<String>,
    },
    /// The list is complete: a key that it did not contain is gone.
    Listed,
    /// The watch is lost, for this reason. Until the next [`BucketEvent::Listed`], changes are unknown.
    Lost(String),
}

/// Settings of a bucket that an operator may want to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketFacts {
    /// The number of replicas.
    pub replicas: usize,
    /// Whether its servers form a cluster.
    pub is_clustered: bool,
    /// When values disappear without a marker, if they do.
    pub max_age: Option<Duration>,
}

/// Fewer replicas in a cluster do not survive the loss of a server.
const SAFE_REPLICAS: usize = 3;

impl BucketFacts {
    /// What an operator should change.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let Self { replicas, is_clustered, max_age } = self;
        let mut warnings = Vec::new();
        if *is_clustered && *replicas < SAFE_REPLICAS {
            warnings.push(format!(
                "the bucket has {replicas} replicas: with fewer than {SAFE_REPLICAS}, the loss of one server \
                 makes it unavailable"
            ));
        }
        if let Some(age) = max_age {
            warnings.push(format!(
                "values disappear after {} s without a marker (`max_age`): use `expires` in the entry instead",
                age.as_secs()
            ));
        }
        warnings
    }
}

impl fmt::Debug for BucketEvent {
    /// Without the value, which may contain secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listing(_) => f.write_str("Listing"),
            Self::Value { key, value, .. } => write!(f, "Value({key:?}, {} bytes)", value.len()),
            Self::Removed { key, .. } => write!(f, "Removed({key:?})"),
            Self::Listed => f.write_str("Listed"),
            Self::Lost(why) => write!(f, "Lost({why})"),
        }
    }
}

impl Bucket {
    /// Whether JetStream accepts the name of a bucket.
    pub fn is_valid_name(name: &str) -> bool {
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        !name.is_empty() && name.chars().all(is_allowed)
    }
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.domain {
            None => write!(f, "`{}`", self.name),
            Some(domain) => write!(f, "`{}` in the domain `{domain}`", self.name),
        }
    }
}
