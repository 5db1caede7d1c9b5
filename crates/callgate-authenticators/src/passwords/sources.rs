//! What is remembered about the sources of password logins, and their standing in the queue.
//!
//! The memory is bounded, and a flood of new sources cannot push out what matters: attempts, failures
//! and successes are kept apart, and the last two are written only after a hash was computed.

use std::{
    hash::Hash,
    net::IpAddr,
    time::{Duration, Instant},
};

use callgate::authn::SourceKey;
use quick_cache::unsync::Cache;

/// Entries of each table; one takes about 100 bytes.
const MAX_SOURCES: usize = 16_384;
/// The time in which the load of a source halves.
const LOAD_HALF_LIFE: Duration = Duration::from_secs(10);
/// Failures are forgotten this long after the last one.
const FORGET_AFTER: Duration = Duration::from_secs(600);
/// A source keeps failing after this many wrong passwords in a row.
const MAX_FAILURES: u32 = 2;
/// A network keeps failing if it has this many more wrong than correct passwords.
const MAX_NETWORK_FAILURES: u32 = 16;
/// The attempts of a whole network count this fraction for each of its new sources.
const NETWORK_LOAD_DIVISOR: f64 = 8.0;

/// Where a source stands in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) class: Class,
    /// Recent attempts. Within a class, the source with the lower load comes first.
    pub(super) load: u32,
}

impl Standing {
    /// True if sources with `other` standing make room for this one.
    pub(super) fn outranks(self, other: Self) -> bool {
        match (self.class, other.class) {
            (Class::Known | Class::New, Class::Failing) => true,
            (class, other_class) => class == other_class && self.load < other.load,
        }
    }
}

/// Known and new sources take turns; failing ones get what these leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// Its last password was correct.
    Known,
    /// Nothing is known about it.
    New,
    /// It keeps sending wrong passwords.
    Failing,
}

/// The memory of sources.
#[derive(Debug)]
pub(super) struct Sources {
    known: Cache<SourceKey, ()>,
    sources: History<SourceKey>,
    networks: History<Network>,
}

/// Many sources that one attacker may own.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Network {
    /// An IPv6 /48, the usual assignment to one site (RFC 6177).
    Site(u64),
    /// A trusted proxy, behind which clients can invent user names.
    Proxy(IpAddr),
}

impl Network {
    fn of(source: &SourceKey) -> Option<Self> {
        match source {
            SourceKey::Address(IpAddr::V4(_)) | SourceKey::Server(_) => None,
            SourceKey::Address(IpAddr::V6(ip)) => {
                let [a, b, c, ..] = ip.segments();
                Some(Self::Site(
                    [a, b, c].iter().fold(0, |bits, part| bits << 16 | u64::from(*part)),
                ))
            }
            SourceKey::ProxiedUser(proxy, _) => Some(Self::Proxy(*proxy)),
        }
    }
}

impl Default for Sources {
    fn default() -> Self {
        Self {
            known: Cache::new(MAX_SOURCES),
            sources: History::default(),
            networks: History::default(),
        }
    }
}

impl Sources {
    /// Counts an attempt of `source`, whether or not it will be hashed.
    pub(super) fn attempt(&mut self, source: &SourceKey, now: Instant) {
        self.sources.attempt(source, now);
        if let Some(network) = Network::of(source) {
            self.networks.attempt(&network, now);
        }
    }

    /// Records the result of a login.
    pub(super) fn record(&mut self, source: &SourceKey, correct: bool, now: Instant) {
        let network = Network::of(source);
        if correct {
            self.known.insert(source.clone(), ());
            self.sources.failures.remove(source);
            if let Some(network) = network {
                self.networks.set_failures(&network, now, |failures| failures.saturating_sub(1));
            }
            return;
        }
        self.sources.set_failures(source, now, |failures| failures.saturating_add(1));
        if let Some(network) = network {
            self.networks.set_failures(&network, now, |failures| failures.saturating_add(1));
        }
    }

    /// Where `source` stands at `now`.
    pub(super) fn standing(&self, source: &SourceKey, now: Instant) -> Standing {
        let own_load = self.sources.load(source, now);
        let is_failing = self.sources.failures(source, now) >= MAX_FAILURES;
        if !is_failing && self.known.get(source).is_some() {
            return Standing { class: Class::Known, load: rounded(own_load) };
        }
        let network = Network::of(source);
        let network = network.map_or((0.0, 0), |network| {
            (self.networks.load(&network, now), self.networks.failures(&network, now))
        });
        let (network_load, network_failures) = network;
        let class = match is_failing || network_failures >= MAX_NETWORK_FAILURES {
            true => Class::Failing,
            false => Class::New,
        };
        Standing { class, load: rounded(own_load.max(network_load / NETWORK_LOAD_DIVISOR)) }
    }
}

/// Attempts and failures by source or network.
#[derive(Debug)]
struct History<K> {
    attempts: Cache<K, (f64, Instant)>,
    failures: Cache<K, (u32, Instant)>,
}

impl<K: Eq + Hash> Default for History<K> {
    fn default() -> Self {
        Self { attempts: Cache::new(MAX_SOURCES), failures: Cache::new(MAX_SOURCES) }
    }
}

impl<K: Clone + Eq + Hash> History<K> {
    fn attempt(&mut self, key: &K, now: Instant) {
        let load = self.load(key, now) + 1.0;
        self.attempts.insert(key.clone(), (load, now));
    }

    fn load(&self, key: &K, now: Instant) -> f64 {
        self.attempts.get(key).map_or(0.0, |(load, at)| {
            let age = now.saturating_duration_since(*at);
            load * (-age.div_duration_f64(LOAD_HALF_LIFE)).exp2()
        })
    }

    fn set_failures(&mut self, key: &K, now: Instant, change: impl FnOnce(u32) -> u32) {
        let failures = change(self.failures(key, now));
        self.failures.insert(key.clone(), (failures, now));
    }

    fn failures(&self, key: &K, now: Instant) -> u32 {
        let recent = |(_, at): &&(u32, Instant)| now.saturating_duration_since(*at) < FORGET_AFTER;
        self.failures.get(key).filter(recent).map_or(0, |(failures, _)| *failures)
    }
}

fn rounded(load: f64) -> u32 {
    load.round() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(address: &str) -> SourceKey {
        SourceKey::Address(address.parse().unwrap())
    }

    fn class(sources: &Sources, address: &str, now: Instant) -> Class {
        sources.standing(&source(address), now).class
    }

    #[test]
    fn results_decide_the_class_until_they_are_forgotten() {
        let (mut sources, now) = (Sources::default(), Instant::now());
        let (good, bad) = (source("10.0.0.1"), source("10.0.0.2"));
        assert_eq!(class(&sources, "10.0.0.1", now), Class::New);
        sources.record(&good, true, now);
        assert_eq!(class(&sources, "10.0.0.1", now), Class::Known);
        // One typing error changes nothing; a correct password makes up for any number.
        sources.record(&good, false, now);
        assert_eq!(class(&sources, "10.0.0.1", now), Class::Known);
        sources.record(&good, false, now);
        assert_eq!(class(&sources, "10.0.0.1", now), Class::Failing);
        sources.record(&good, true, now);
        assert_eq!(class(&sources, "10.0.0.1", now), Class::Known);
        for _ in 0..100 {
            sources.record(&bad, false, now);
        }
        let almost = now + FORGET_AFTER - Duration::from_secs(1);
        assert_eq!(class(&sources, "10.0.0.2", almost), Class::Failing);
        assert_eq!(class(&sources, "10.0.0.2", now + FORGET_AFTER), Class::New);
    }

    #[test]
    fn load_counts_attempts_and_halves() {
        let (mut sources, now) = (Sources::default(), Instant::now());
        let source = source("10.0.0.1");
        for _ in 0..40 {
            sources.attempt(&source, now);
        }
        let load = |after| sources.standing(&source, now + after).load;
        assert_eq!(load(Duration::ZERO), 40);
        assert_eq!(load(LOAD_HALF_LIFE), 20);
        assert_eq!(load(LOAD_HALF_LIFE * 10), 0);
    }

    #[test]
    fn fresh_networks_of_one_site_share_its_standing() {
        let (mut sources, now) = (Sources::default(), Instant::now());
        sources.record(&source("2001:db8:1:ffff::"), true, now);
        for number in 0..MAX_NETWORK_FAILURES + 1 {
            let fresh = source(&format!("2001:db8:1:{number:x}::"));
            sources.attempt(&fresh, now);
            sources.record(&fresh, false, now);
        }
        assert_eq!(class(&sources, "2001:db8:1:abcd::", now), Class::Failing);
        assert_eq!(sources.standing(&source("2001:db8:1:abcd::"), now).load, 2);
        assert_eq!(class(&sources, "2001:db8:1:ffff::", now), Class::Known, "it proved itself");
        assert_eq!(class(&sources, "2001:db8:2:abcd::", now), Class::New, "another site");
        // The address of a site's first network is also the prefix of the site.
        assert_eq!(sources.standing(&source("2001:db8:2::"), now).load, 0);
    }

    #[test]
    fn invented_names_behind_a_proxy_share_its_standing() {
        let (mut sources, now) = (Sources::default(), Instant::now());
        let proxied = |name: &str| SourceKey::ProxiedUser([10, 9, 9, 9].into(), name.into());
        for number in 0..MAX_NETWORK_FAILURES {
            sources.record(&proxied(&number.to_string()), false, now);
        }
        assert_eq!(sources.standing(&proxied("fresh"), now).class, Class::Failing);
        assert_eq!(class(&sources, "10.9.9.9", now), Class::New);
    }

    #[test]
    fn fresh_sources_push_out_neither_successes_nor_failures() {
        let (mut sources, now) = (Sources::default(), Instant::now());
        sources.record(&source("10.0.0.1"), true, now);
        sources.record(&source("10.0.0.2"), false, now);
        sources.record(&source("10.0.0.2"), false, now);
        for number in 0..4 * MAX_SOURCES {
            let [_, a, b, c] = (number as u32).to_be_bytes();
            sources.attempt(&SourceKey::Address([11, a, b, c].into()), now);
        }
        assert!(sources.sources.attempts.len() <= MAX_SOURCES);
        assert_eq!(class(&sources, "10.0.0.1", now), Class::Known);
        assert_eq!(class(&sources, "10.0.0.2", now), Class::Failing);
        for number in 0..4 * MAX_SOURCES {
            let [_, a, b, c] = (number as u32).to_be_bytes();
            sources.record(&SourceKey::Address([11, a, b, c].into()), false, now);
        }
        assert!(sources.sources.failures.len() <= MAX_SOURCES);
        assert_eq!(class(&sources, "10.0.0.1", now), Class::Known);
    }
}
