//! A message of a peer, and the ID of a replica.

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    ops::Deref,
    sync::Arc,
};

use async_nats::Message;
use bytes::Bytes;

/// The sender's ID. Every message has it.
pub(super) const REPLICA: &str = "Callgate-Replica";
/// The sender is a command, which is not a replica.
pub(super) const COMMAND: &str = "Callgate-Command";
/// More parts of an answer follow.
pub(super) const MORE: &str = "Callgate-More";
/// Longer names of hosts are cut.
const MAX_HOST: usize = 40;

/// Names one run of a replica: its host, and a random part.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ReplicaId(Arc<str>);

/// What a peer sent.
#[derive(Debug, Clone)]
pub(crate) struct PeerMessage {
    pub(crate) from: ReplicaId,
    pub(crate) payload: Bytes,
}

/// A new ID: a key of a bucket allows letters, digits, `-` and `_`.
pub(super) fn new_id() -> ReplicaId {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let is_allowed = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let host: String = host.trim().chars().filter(is_allowed).take(MAX_HOST).collect();
    let host = if host.is_empty() { "replica" } else { &host };
    let random = RandomState::new().hash_one(std::process::id());
    ReplicaId(format!("{host}-{:08x}", random >> 32).into())
}

pub(super) fn header<'a>(message: &'a Message, name: &str) -> Option<&'a str> {
    message.headers.as_ref()?.get(name).map(|value| value.as_str())
}

impl From<&str> for ReplicaId {
    fn from(id: &str) -> Self {
        Self(id.into())
    }
}

impl Deref for ReplicaId {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
