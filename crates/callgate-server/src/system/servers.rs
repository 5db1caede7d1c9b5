//! Which servers there are: a request to all of them has no end marker.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tokio::time::Instant;

use super::{ServerId, wire::Stats};

/// For how long a server that vanished counts as missing.
const REMEMBER_MISSING: Duration = Duration::from_secs(600);
/// For how long other servers may count a process that crashed (nats-server `events.go`: `orphMax` and
/// `chkOrph` together).
const CRASHED_COUNTS_FOR: Duration = Duration::from_secs(300);

/// The servers that have answered lately.
#[derive(Debug, Default)]
pub(super) struct Servers {
    /// By name, which outlives a restart.
    known: BTreeMap<String, Known>,
}

#[derive(Debug)]
struct Known {
    id: ServerId,
    seen: Instant,
    /// Other servers still counted it when it was first missed, so it did not shut down regularly.
    missing: bool,
    /// Earlier processes of this name; other servers count one that crashed for some minutes.
    earlier: Vec<(ServerId, Instant)>,
}

/// How many servers there are, by their own account.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Census {
    /// The servers that answered.
    pub(super) answered: BTreeMap<ServerId, String>,
    pub(super) expected: usize,
    /// The names of servers that exist, or existed a short time ago, and did not answer.
    pub(super) missing: BTreeSet<String>,
}

impl Census {
    pub(super) fn is_complete(&self) -> bool {
        !self.answered.is_empty() && self.answered.len() >= self.expected && self.missing.is_empty()
    }
}

impl Servers {
    /// Counts the servers by their answers to one request.
    pub(super) fn count(&mut self, answers: &[Stats], now: Instant) -> Census {
        let ids = answers.iter().filter_map(|stats| Some((stats.server.id()?, stats)));
        let answered: BTreeMap<ServerId, String> =
            ids.map(|(id, stats)| (id, stats.server.name.clone())).collect();
        let names: BTreeSet<&str> = answered.values().map(String::as_str).collect();
        let active = answers.iter().map(|stats| stats.statsz.active_servers).max();
        let active = active.unwrap_or_default();
        let routes = answers.iter().flat_map(|stats| stats.statsz.routes.iter().flatten());
        let routed: BTreeSet<&str> =
            routes.map(|route| route.name.as_str()).filter(|name| !name.is_empty()).collect();
        for stats in answers.iter().filter(|stats| stats.server.is_named()) {
            if let Some(id) = stats.server.id() {
                self.see(id, &stats.server.name, now);
            }
        }
        let counted = active.saturating_sub(self.crashed(active <= answered.len()));
        self.known.retain(|name, known| {
            if names.contains(name.as_str()) {
                return true;
            }
            known.missing |= counted > answered.len() || routed.contains(name.as_str());
            known.missing && now.duration_since(known.seen) < REMEMBER_MISSING
        });
        let existing = routed.into_iter().chain(self.known.keys().map(String::as_str));
        let missing: BTreeSet<String> =
            existing.filter(|name| !names.contains(name)).map(str::to_owned).collect();
        let expected = counted.max(answered.len() + missing.len());
        Census { answered, expected, missing }
    }

    fn see(&mut self, id: ServerId, name: &str, now: Instant) {
        let fresh = Known { id, seen: now, missing: false, earlier: Vec::new() };
        let known = self.known.entry(name.to_owned()).or_insert(fresh);
        if known.id != id {
            known.earlier.push((known.id, known.seen));
            known.id = id;
        }
        known.seen = now;
        known.missing = false;
        known.earlier.retain(|(_, seen)| now.duration_since(*seen) < CRASHED_COUNTS_FOR);
    }

    /// How many processes other servers may still count although they were replaced; none if `all_answered`.
    fn crashed(&mut self, all_answered: bool) -> usize {
        if all_answered {
            self.known.values_mut().for_each(|known| known.earlier.clear());
        }
        self.known.values().map(|known| known.earlier.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use callgate::keys::{KeyKind, KeyPair};
    use serde_json::json;

    use super::*;

    fn server_id() -> String {
        KeyPair::generate(KeyKind::Server).unwrap().public_key()
    }

    fn stats(name: &str, id: &str, active: usize, routes: &[&str]) -> Stats {
        let routes: Vec<_> = routes.iter().map(|name| json!({ "rid": 1, "name": name })).collect();
        let statsz = json!({ "active_servers": active, "routes": routes });
        serde_json::from_value(json!({ "server": { "name": name, "id": id }, "statsz": statsz }))
            .unwrap()
    }

    fn missing(census: &Census) -> Vec<&str> {
        census.missing.iter().map(String::as_str).collect()
    }

    #[test]
    fn frozen_server_is_missing_by_name_and_stopped_one_is_not() {
        let (a, b) = (server_id(), server_id());
        let now = Instant::now();
        let mut servers = Servers::default();
        let both = [stats("a", &a, 2, &["b"]), stats("b", &b, 2, &["a"])];
        assert!(servers.count(&both, now).is_complete());
        let frozen = servers.count(&[stats("a", &a, 2, &["b"])], now);
        assert_eq!((frozen.expected, missing(&frozen)), (2, vec!["b"]));
        // The route is closed and the others have stopped counting it: a partition.
        let apart = servers.count(&[stats("a", &a, 1, &[])], now);
        assert_eq!((apart.expected, missing(&apart)), (2, vec!["b"]));
        assert!(servers.count(&both, now).is_complete());
        // A server that shuts down says so: the others stop counting it at once.
        assert!(servers.count(&[stats("a", &a, 1, &[])], now).is_complete());
    }

    #[test]
    fn restarted_server_is_not_missing_although_others_count_the_old_process() {
        let (a, b, c) = (server_id(), server_id(), server_id());
        let now = Instant::now();
        let mut servers = Servers::default();
        servers.count(&[stats("a", &a, 2, &["b"]), stats("b", &b, 2, &["a"])], now);
        let back = [stats("a", &a, 3, &["b"]), stats("b", &c, 2, &["a"])];
        assert!(servers.count(&back, now).is_complete());
    }

    #[test]
    fn missing_server_is_forgotten_after_some_time() {
        let (a, b) = (server_id(), server_id());
        let now = Instant::now();
        let mut servers = Servers::default();
        servers.count(&[stats("a", &a, 2, &["b"]), stats("b", &b, 2, &["a"])], now);
        assert_eq!(missing(&servers.count(&[stats("a", &a, 2, &["b"])], now)), ["b"]);
        let later = now + REMEMBER_MISSING;
        assert!(servers.count(&[stats("a", &a, 1, &[])], later).is_complete());
    }

    #[test]
    fn unknown_servers_are_missing_by_number() {
        let a = server_id();
        let census = Servers::default().count(&[stats("a", &a, 3, &[])], Instant::now());
        assert_eq!((census.expected, census.is_complete()), (3, false));
        assert!(!Servers::default().count(&[], Instant::now()).is_complete());
    }
}
