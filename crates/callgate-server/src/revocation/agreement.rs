//! Replicas with different files warn each other, because each follows its own.

use std::{collections::HashMap, fs, path::PathBuf, sync::Arc, time::Duration};

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};
use tokio::{
    sync::watch::Receiver,
    time::{Instant, MissedTickBehavior, interval},
};
use tracing::{info, warn};

use super::{InForce, Revocation};
use crate::replicas::{ReplicaId, Replicas};

const KIND: &str = "configuration";
/// How often a replica says which files it has.
const PERIOD: Duration = Duration::from_secs(5);
/// Files do not reach all replicas at the same moment.
const TOLERANCE: Duration = Duration::from_secs(10);

impl Revocation {
    /// Announces the files as they are now.
    pub(super) async fn update_digest(&self, in_force: &InForce) {
        let files = Arc::clone(&in_force.files);
        if let Ok(digest) = tokio::task::spawn_blocking(move || digest(&files)).await {
            self.digest.send_replace(Some(digest));
        }
    }
}

/// A digest of the content of these files, whatever their folders are called.
fn digest(files: &[PathBuf]) -> String {
    let mut contents: Vec<_> = files
        .iter()
        .map(|path| (path.file_name(), Sha256::digest(fs::read(path).unwrap_or_default())))
        .collect();
    contents.sort_unstable();
    let mut hash = Sha256::new();
    for (name, content) in contents {
        hash.update(Sha256::digest(name.unwrap_or_default().as_encoded_bytes()));
        hash.update(content);
    }
    HEXLOWER.encode(hash.finalize().first_chunk::<12>().map_or(&[], |start| start))
}

/// What a peer has.
#[derive(Debug, Default)]
struct Peer {
    digest: String,
    /// Since when it differs from what this replica has.
    differs_since: Option<Instant>,
    warned: bool,
}

/// Exchanges digests with peers; ends with the sender of `own`.
pub(super) async fn compare(replicas: Arc<Replicas>, mut own: Receiver<Option<String>>) {
    let mut messages = replicas.subscribe(KIND);
    let mut peers: HashMap<ReplicaId, Peer> = HashMap::new();
    let mut period = interval(PERIOD);
    period.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            message = messages.recv() => {
                let Some(message) = message else { return };
                let digest = String::from_utf8_lossy(&message.payload).into_owned();
                let peer = peers.entry(message.from).or_default();
                peer.digest = digest;
            }
            changed = own.changed() => {
                if changed.is_err() {
                    return;
                }
                publish(&replicas, &own).await;
            }
            _ = period.tick() => {
                publish(&replicas, &own).await;
                peers.retain(|id, _| replicas.is_alive(id));
            }
        }
        let Some(own) = own.borrow().clone() else { continue };
        peers.iter_mut().for_each(|(id, peer)| peer.compare(id, &own, Instant::now()));
    }
}

async fn publish(replicas: &Replicas, own: &Receiver<Option<String>>) {
    let digest = own.borrow().clone();
    if let Some(digest) = digest {
        replicas.publish(KIND, digest.into_bytes()).await;
    }
}

impl Peer {
    fn compare(&mut self, id: &ReplicaId, own: &str, now: Instant) {
        if self.digest == own {
            if self.warned {
                info!(replica = %id, "configurations agree again");
            }
            self.differs_since = None;
            self.warned = false;
            return;
        }
        let since = *self.differs_since.get_or_insert(now);
        if !self.warned && now.saturating_duration_since(since) >= TOLERANCE {
            self.warned = true;
            warn!(
                replica = %id,
                "configurations differ: this replica and another one have different configuration or users files, and \
                 each evaluates its own sessions with its own files"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digest_depends_on_content_and_not_on_the_folder() {
        let write = |content: &str| {
            let folder = tempfile::tempdir().unwrap();
            let paths = ["callgate.toml", "users.json"].map(|name| folder.path().join(name));
            fs::write(&paths[0], "configuration").unwrap();
            fs::write(&paths[1], content).unwrap();
            let reversed = [paths[1].clone(), paths[0].clone()];
            assert_eq!(digest(&paths), digest(&reversed));
            digest(&paths)
        };
        assert_eq!(write("{}"), write("{}"));
        assert_ne!(write("{}"), write("{ }"));
    }

    #[test]
    fn short_difference_is_no_warning() {
        let id = ReplicaId::from("a");
        let now = Instant::now();
        let mut peer = Peer { digest: "x".to_owned(), ..Peer::default() };
        peer.compare(&id, "y", now);
        peer.compare(&id, "y", now + TOLERANCE / 2);
        assert!(!peer.warned);
        peer.compare(&id, "x", now + TOLERANCE);
        peer.compare(&id, "y", now + TOLERANCE);
        assert!(!peer.warned);
        peer.compare(&id, "y", now + TOLERANCE * 2);
        assert!(peer.warned);
    }
}
