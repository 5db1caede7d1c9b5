//! Others who answer authorization requests on our account: looked for again and again, and told of once.

use std::{collections::BTreeSet, time::Duration};

use async_nats::Client;
use callgate::responder::{OwnAccount, other_responders, own_account};
use tokio::{task::JoinHandle, time::Instant};
use tracing::{info, warn};

use crate::telemetry::sanitize;

/// How often they are looked for: a question to all micro services of the account.
const EVERY: Duration = Duration::from_secs(10);
/// How long they may take to answer.
const WAIT: Duration = Duration::from_secs(1);

/// Name and queue group of a micro service.
type Peer = (String, String);

/// What was found at the last look.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    known: BTreeSet<Peer>,
    looking: Option<JoinHandle<Seen>>,
    next: Option<Instant>,
}

#[derive(Debug)]
struct Seen {
    peers: BTreeSet<Peer>,
    own: Option<OwnAccount>,
}

impl Peers {
    /// Begins a look in the background when it is time for one, and tells what an ended one found. Returns
    /// what the server said of us then.
    pub(crate) async fn look(&mut self, client: &Client, queue: &str) -> Option<OwnAccount> {
        if self.looking.is_none() && self.next.is_none_or(|next| Instant::now() >= next) {
            self.next = Some(Instant::now() + EVERY);
            self.looking = Some(tokio::spawn(see(client.clone(), queue.to_owned())));
        }
        let ended = self.looking.take_if(|looking| looking.is_finished())?;
        let Seen { peers, own } = ended.await.ok()?;
        for (name, other) in self.news(peers) {
            tell(&name, &other, queue);
        }
        own
    }

    /// Those that were not there at the last look.
    fn news(&mut self, peers: BTreeSet<Peer>) -> Vec<Peer> {
        let before = std::mem::replace(&mut self.known, peers);
        self.known.difference(&before).cloned().collect()
    }
}

async fn see(client: Client, queue: String) -> Seen {
    let peers = other_responders(&client, &queue, WAIT).await.into_iter().collect();
    Seen { peers, own: own_account(&client).await.ok() }
}

fn tell(name: &str, other: &str, queue: &str) {
    let (service, other_queue) = (sanitize(name), sanitize(other));
    if other == queue {
        info!(
            service,
            queue = other_queue,
            "another service answers authorization requests in our queue group: each request goes to \
             one of us"
        );
        return;
    }
    warn!(
        service,
        queue = other_queue,
        "another service answers authorization requests in another queue group: unless it is for \
         another issuer, each client is answered twice; give both the same `nats.queue`"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_stays_is_no_news_and_who_comes_back_is() {
        let mut peers = Peers::default();
        let seen = |names: &[&str]| {
            names.iter().map(|name| ((*name).to_owned(), "q".to_owned())).collect::<BTreeSet<_>>()
        };
        for (there, news) in [
            (&["a"][..], &["a"][..]),
            (&["a"], &[]),
            (&["a", "b"], &["b"]),
            (&["b"], &[]),
            (&["a", "b"], &["a"]),
        ] {
            let told: BTreeSet<_> = peers.news(seen(there)).into_iter().collect();
            assert_eq!(told, seen(news), "{there:?}");
        }
    }
}
