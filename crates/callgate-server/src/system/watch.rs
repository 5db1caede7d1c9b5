//! Watches the connection and the servers.

use std::{sync::Arc, time::Duration};

use async_nats::Client;
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};
use tracing::{debug, error, warn};

use super::{
    System, listing,
    permissions::{Abilities, examine},
};
use crate::nats::Link;

/// How often the servers are counted.
const COUNT_INTERVAL: Duration = Duration::from_secs(15);

/// Passes the state of the connection on, examines each new connection, and counts the servers.
pub(super) async fn run(system: Arc<System>, client: Client, mut link: watch::Receiver<Link>) {
    let mut tick = interval(COUNT_INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let examiner = Arc::new(Examiner::default());
    loop {
        tokio::select! {
            changed = link.changed() => {
                if changed.is_err() {
                    return;
                }
                let now = *link.borrow_and_update();
                system.link.send_replace(now);
                if now != Link::Down {
                    let (system, client) = (Arc::clone(&system), client.clone());
                    let examiner = Arc::clone(&examiner);
                    tokio::spawn(async move {
                        examiner.examine(&client).await;
                        count(&system, &client).await;
                    });
                }
            }
            _ = tick.tick() => {
                let (system, client) = (Arc::clone(&system), client.clone());
                tokio::spawn(async move { count(&system, &client).await });
            }
        }
    }
}

async fn count(system: &System, client: &Client) {
    if *system.link.borrow() == Link::Down {
        return;
    }
    if let Err(error) = system.learn_untouchable().await {
        debug!(%error, "the callout account is not known yet");
    }
    match listing::ping(client).await {
        Ok(stats) => drop(system.take_census(&stats)),
        Err(error) => debug!(%error, "the servers cannot be counted"),
    }
}

/// Logs what a connection cannot do, once as long as it does not change.
#[derive(Debug, Default)]
struct Examiner(std::sync::Mutex<Abilities>);

impl Examiner {
    async fn examine(&self, client: &Client) {
        let found = examine(client).await;
        let mut last = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if *last == found {
            return;
        }
        for why in &found.problems {
            error!(why, "sessions cannot be listed or ended completely");
        }
        for warning in &found.warnings {
            warn!(warning, "the system user has more permissions than it needs");
        }
        *last = found;
    }
}
