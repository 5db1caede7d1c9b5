//! Detects other services that answer authorization requests on the callout account, and logs each once.

use std::{collections::BTreeSet, time::Duration};

use async_nats::Client;
use callgate::responder::{OwnAccount, other_responders, own_account};
use tokio::{task::JoinHandle, time::Instant};
use tracing::{info, warn};

use crate::telemetry::sanitize;

/// Time between scans. A scan is a request to all micro services of the account.
const SCAN_INTERVAL: Duration = Duration::from_secs(10);
/// How long services may take to answer a scan.
const SCAN_TIMEOUT: Duration = Duration::from_secs(1);

/// Name and queue group of a micro service.
type Peer = (String, String);

/// The result of the last scan, and the scan that is running.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    known: BTreeSet<Peer>,
    scan: Option<JoinHandle<Scan>>,
    next: Option<Instant>,
}

#[derive(Debug)]
struct Scan {
    peers: BTreeSet<Peer>,
    own: Option<OwnAccount>,
}

impl Peers {
    /// Starts a scan in the background when one is due, and logs the new peers of one that has finished.
    /// Returns the server's answer about Callgate's own account from that scan.
    pub(crate) async fn poll(&mut self, client: &Client, queue: &str) -> Option<OwnAccount> {
        if self.scan.is_none() && self.next.is_none_or(|next| Instant::now() >= next) {
            self.next = Some(Instant::now() + SCAN_INTERVAL);
            self.scan = Some(tokio::spawn(scan(client.clone(), queue.to_owned())));
        }
        let finished = self.scan.take_if(|scan| scan.is_finished())?;
        let Scan { peers, own } = finished.await.ok()?;
        for (name, peer_queue) in self.added(peers) {
            log_peer(&name, &peer_queue, queue);
        }
        own
    }

    /// Peers that the previous scan did not find.
    fn added(&mut self, peers: BTreeSet<Peer>) -> Vec<Peer> {
        let before = std::mem::replace(&mut self.known, peers);
        self.known.difference(&before).cloned().collect()
    }
}

async fn scan(client: Client, queue: String) -> Scan {
    let peers = other_responders(&client, &queue, SCAN_TIMEOUT).await.into_iter().collect();
    Scan { peers, own: own_account(&client).await.ok() }
}

fn log_peer(name: &str, peer_queue: &str, queue: &str) {
    let service = sanitize(name);
    if peer_queue == queue {
        info!(
            service,
            queue = sanitize(peer_queue),
            "another service answers authorization requests in our queue group: each request goes to \
             one of them"
        );
        return;
    }
    warn!(
        service,
        queue = sanitize(peer_queue),
        "another service answers authorization requests in another queue group: unless it serves \
         another issuer, each client is answered twice; use the same `nats.queue` for both"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_new_and_returning_peers_are_reported() {
        let mut peers = Peers::default();
        let named = |names: &[&str]| {
            names.iter().map(|name| ((*name).to_owned(), "q".to_owned())).collect::<BTreeSet<_>>()
        };
        for (present, added) in [
            (&["a"][..], &["a"][..]),
            (&["a"], &[]),
            (&["a", "b"], &["b"]),
            (&["b"], &[]),
            (&["a", "b"], &["a"]),
        ] {
            let reported: BTreeSet<_> = peers.added(named(present)).into_iter().collect();
            assert_eq!(reported, named(added), "{present:?}");
        }
    }
}
