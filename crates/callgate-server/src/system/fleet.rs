//! The pace of kicks is that of all replicas together: they tell each other when they kick, and when logins
//! that come back are too many for them.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::time::{Instant, MissedTickBehavior, interval};

use super::System;
use crate::replicas::{PeerMessage, ReplicaId, Replicas};

/// The kind of the messages.
const PACE: &str = "pace";
const KICKING: &[u8] = b"kicking";
const OVERLOADED: &[u8] = b"overloaded";

const TICK: Duration = Duration::from_millis(200);
/// A peer kicks, as far as is known, until this long after its last message.
const CURRENT: Duration = Duration::from_millis(600);
/// Refusals within this time after a peer's kick may be caused by it.
const CONSEQUENCE: Duration = Duration::from_secs(5);

/// The peers that kick, and when each last said so.
#[derive(Debug, Default)]
struct Kicking(HashMap<ReplicaId, Instant>);

impl Kicking {
    fn hear(&mut self, peer: ReplicaId, now: Instant) {
        self.0.insert(peer, now);
    }

    /// Forgets peers that have not kicked for a while, and counts those that still do.
    fn count(&mut self, now: Instant) -> u32 {
        self.0.retain(|_, heard| now.duration_since(*heard) < CONSEQUENCE);
        let current = self.0.values().filter(|heard| now.duration_since(**heard) < CURRENT);
        u32::try_from(current.count()).unwrap_or(u32::MAX)
    }

    fn is_recent(&self) -> bool {
        !self.0.is_empty()
    }
}

/// Announces this replica's kicks to its peers, and receives theirs.
pub(super) async fn run(system: Arc<System>, replicas: Arc<Replicas>) {
    let mut heard = replicas.subscribe(PACE);
    let mut kicking = Kicking::default();
    let mut overloaded = system.metrics.overloaded_count();
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            message = heard.recv() => match message {
                Some(PeerMessage { from, payload }) if payload == KICKING => {
                    kicking.hear(from, Instant::now());
                }
                Some(PeerMessage { payload, .. }) if payload == OVERLOADED => {
                    system.peers_overloaded.fetch_add(1, Ordering::Relaxed);
                }
                Some(_of_another_version) => {}
                None => return,
            },
            _ = tick.tick() => {
                let others = kicking.count(Instant::now());
                system.kicking_replicas.store(others.saturating_add(1), Ordering::Relaxed);
                if system.is_kicking.load(Ordering::Relaxed) {
                    replicas.publish(PACE, KICKING.to_vec()).await;
                }
                let before = std::mem::replace(&mut overloaded, system.metrics.overloaded_count());
                if overloaded > before && kicking.is_recent() {
                    replicas.publish(PACE, OVERLOADED.to_vec()).await;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_peers_that_kick_now_share_the_pace() {
        let now = Instant::now();
        let mut kicking = Kicking::default();
        assert_eq!((kicking.count(now), kicking.is_recent()), (0, false));
        kicking.hear("a".into(), now);
        kicking.hear("b".into(), now + CURRENT);
        kicking.hear("a".into(), now + TICK);
        assert_eq!(kicking.count(now + TICK + CURRENT), 1);
        assert_eq!((kicking.count(now + CURRENT * 2), kicking.is_recent()), (0, true));
        kicking.count(now + CURRENT + CONSEQUENCE);
        assert!(!kicking.is_recent());
    }
}
