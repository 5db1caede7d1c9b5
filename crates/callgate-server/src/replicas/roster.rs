//! Which peers run.

use std::{collections::HashMap, time::Duration};

use tokio::time::Instant;

use super::ReplicaId;

/// A peer that misses this many pulses counts as dead.
const ALIVE: u32 = 4;
/// A peer that became silent is remembered for this many pulses: it may be cut off and still serve.
const KNOWN: u32 = 40;
/// Entries; the longest silent peer is forgotten first.
const MAX_PEERS: usize = 1000;

/// When each peer was heard of.
#[derive(Debug)]
pub(super) struct Roster {
    pulse: Duration,
    heard: HashMap<ReplicaId, Instant>,
}

impl Roster {
    pub(super) fn new(pulse: Duration) -> Self {
        Self { pulse, heard: HashMap::new() }
    }

    /// A peer was heard of `ago` before now. What is too old says nothing.
    pub(super) fn heard(&mut self, id: &str, now: Instant, ago: Duration) {
        let Some(at) = now.checked_sub(ago) else { return };
        if ago > self.pulse * KNOWN {
            return;
        }
        if self.heard.len() >= MAX_PEERS {
            self.forget_oldest();
        }
        let heard = self.heard.entry(id.into()).or_insert(at);
        *heard = at.max(*heard);
    }

    pub(super) fn left(&mut self, id: &str) {
        self.heard.retain(|peer, _| **peer != *id);
    }

    pub(super) fn is_alive(&self, id: &str, now: Instant) -> bool {
        self.alive(now).iter().any(|peer| **peer == *id)
    }

    pub(super) fn alive(&self, now: Instant) -> Vec<ReplicaId> {
        self.within(now, ALIVE)
    }

    pub(super) fn known(&self, now: Instant) -> Vec<ReplicaId> {
        self.within(now, KNOWN)
    }

    fn within(&self, now: Instant, pulses: u32) -> Vec<ReplicaId> {
        let limit = self.pulse * pulses;
        let recent =
            self.heard.iter().filter(|(_, at)| now.saturating_duration_since(**at) <= limit);
        let mut peers: Vec<_> = recent.map(|(id, _)| id.clone()).collect();
        peers.sort_unstable();
        peers
    }

    fn forget_oldest(&mut self) {
        let oldest = self.heard.iter().min_by_key(|(_, at)| **at).map(|(id, _)| id.clone());
        oldest.map(|id| self.heard.remove(&id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PULSE: Duration = Duration::from_secs(1);

    #[test]
    fn silent_peer_is_first_dead_and_later_forgotten() {
        let now = Instant::now();
        let mut roster = Roster::new(PULSE);
        roster.heard("a", now, Duration::ZERO);
        for (after, alive, known) in
            [(4, true, true), (5, false, true), (40, false, true), (41, false, false)]
        {
            let then = now + PULSE * after;
            assert_eq!(roster.is_alive("a", then), alive, "{after}");
            assert_eq!(!roster.known(then).is_empty(), known, "{after}");
        }
    }

    #[test]
    fn old_news_of_a_peer_changes_nothing() {
        let now = Instant::now() + PULSE * 100;
        let mut roster = Roster::new(PULSE);
        roster.heard("a", now, Duration::ZERO);
        roster.heard("a", now, PULSE * 30);
        roster.heard("b", now, PULSE * 41);
        assert!(roster.is_alive("a", now));
        assert_eq!(roster.known(now), [ReplicaId::from("a")]);
        roster.left("a");
        assert!(roster.known(now).is_empty());
    }

    #[test]
    fn longest_silent_peer_is_forgotten_first() {
        let now = Instant::now();
        let mut roster = Roster::new(PULSE);
        for number in 0..=MAX_PEERS {
            roster.heard(
                &number.to_string(),
                now + Duration::from_millis(1) * number as u32,
                Duration::ZERO,
            );
        }
        let known = roster.known(now + PULSE);
        assert_eq!(known.len(), MAX_PEERS);
        assert!(!known.contains(&ReplicaId::from("0")));
    }
}
