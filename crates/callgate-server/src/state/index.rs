//! Locks by the condition that separates them best, so that a login is compared with few of them.

use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
    sync::Arc,
};

use callgate::{clock::UnixTime, connection::ConnectionKind};
use ipnet::IpNet;

use super::{Candidate, IssuedAt, Lock, Target, Verdict};

/// The locks in force at one moment.
#[derive(Debug, Default)]
pub(super) struct Index {
    count: usize,
    all: Selection,
    /// Only those that need no decision.
    early: Selection,
}

/// Each lock is in one place.
#[derive(Debug, Default)]
struct Selection {
    users: ByText,
    groups: ByText,
    roles: ByText,
    authenticators: ByText,
    accounts: ByText,
    networks: Networks,
    rest: Vec<Arc<Lock>>,
}

type ByText = HashMap<Box<str>, Vec<Arc<Lock>>>;

#[derive(Debug, Default)]
struct Networks {
    prefixes: BTreeSet<u8>,
    locks: HashMap<IpNet, Vec<Arc<Lock>>>,
}

impl Index {
    pub(super) fn of<'l>(locks: impl Iterator<Item = &'l Arc<Lock>>) -> Self {
        let mut index = Self::default();
        for lock in locks {
            index.count += 1;
            index.all.insert(lock);
            if lock.target.is_early() {
                index.early.insert(lock);
            }
        }
        index
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// A lock for which address and kind suffice.
    pub(super) fn find_early(
        &self,
        ip: Option<IpAddr>,
        kind: ConnectionKind,
        now: UnixTime,
    ) -> Option<&Arc<Lock>> {
        let candidate: Candidate<'_> = Candidate {
            user: None,
            source_user: None,
            authenticator: None,
            account: None,
            ip,
            groups: None,
            roles: None,
            kind: Some(kind),
            issued_at: IssuedAt::Unknown,
        };
        let (verdict, lock) = self.early.find(&candidate, now)?;
        (verdict == Verdict::Yes).then_some(lock)
    }

    /// The lock that matches best: surely, or as far as can be said.
    pub(super) fn find<S: AsRef<str>>(
        &self,
        candidate: &Candidate<'_, S>,
        now: UnixTime,
    ) -> Option<(Verdict, &Arc<Lock>)> {
        self.all.find(candidate, now)
    }
}

impl Selection {
    fn insert(&mut self, lock: &Arc<Lock>) {
        let Target { user, authenticator, account, source, group, role, .. } = &lock.target;
        let texts = [
            (user, &mut self.users),
            (group, &mut self.groups),
            (role, &mut self.roles),
            (authenticator, &mut self.authenticators),
            (account, &mut self.accounts),
        ];
        // A name of a user or a network is more selective than the other conditions.
        if let (None, Some(network)) = (user, source) {
            self.networks.insert(*network, lock);
            return;
        }
        let named = texts.into_iter().find_map(|(text, map)| Some((text.as_deref()?, map)));
        match named {
            Some((text, map)) => map.entry(text.into()).or_default().push(Arc::clone(lock)),
            None => self.rest.push(Arc::clone(lock)),
        }
    }

    fn find<S: AsRef<str>>(
        &self,
        candidate: &Candidate<'_, S>,
        now: UnixTime,
    ) -> Option<(Verdict, &Arc<Lock>)> {
        let Candidate { user, source_user, authenticator, account, ip, groups, roles, .. } =
            candidate;
        let user_names = match (user, source_user) {
            (None, None) => None,
            (shown, own) => {
                Some(shown.iter().chain(own.iter().filter(|own| shown.as_ref() != Some(*own))))
            }
        };
        select(&self.users, user_names.map(|names| names.copied()))
            .chain(select(&self.groups, texts(*groups)))
            .chain(select(&self.roles, texts(*roles)))
            .chain(select(&self.authenticators, authenticator.map(std::iter::once)))
            .chain(select(&self.accounts, account.map(std::iter::once)))
            .chain(ip.iter().flat_map(|ip| self.networks.of(*ip)))
            .chain(&self.rest)
            .filter(|lock| !lock.is_over(now))
            .map(|lock| (lock.target.matches(candidate), lock))
            .filter(|(verdict, _)| *verdict != Verdict::No)
            .max_by_key(|(verdict, _)| *verdict)
    }
}

fn texts<S: AsRef<str>>(list: Option<&[S]>) -> Option<impl Iterator<Item = &str>> {
    list.map(|list| list.iter().map(AsRef::as_ref))
}

/// The locks of these names, or all of them if the names are unknown.
fn select<'i, 'n>(
    map: &'i ByText,
    names: Option<impl Iterator<Item = &'n str>>,
) -> impl Iterator<Item = &'i Arc<Lock>> {
    let all = names.is_none().then(|| map.values());
    // Most maps are empty, and hashing costs.
    let names = names.filter(|_| !map.is_empty()).into_iter().flatten();
    let named = names.filter_map(|name| map.get(name)).flatten();
    named.chain(all.into_iter().flatten().flatten())
}

impl Networks {
    fn insert(&mut self, network: IpNet, lock: &Arc<Lock>) {
        let network = network.trunc();
        self.prefixes.insert(network.prefix_len());
        self.locks.entry(network).or_default().push(Arc::clone(lock));
    }

    fn of(&self, ip: IpAddr) -> impl Iterator<Item = &Arc<Lock>> {
        let canonical = ip.to_canonical();
        let mapped = (canonical != ip).then_some(ip);
        let addresses = std::iter::once(canonical).chain(mapped);
        addresses.flat_map(move |ip| {
            let network = move |prefix: &u8| Some(IpNet::new(ip, *prefix).ok()?.trunc());
            let networks = self.prefixes.iter().filter_map(network);
            networks.filter_map(|network| self.locks.get(&network)).flatten()
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use serde_json::{Value, json};

    use super::*;

    fn lock(id: &str, target: Value) -> Arc<Lock> {
        let value = json!({ "v": 1, "target": target }).to_string();
        Arc::new(Lock::read(id, value.as_bytes()).unwrap())
    }

    fn of(locks: &[Arc<Lock>]) -> Index {
        Index::of(locks.iter())
    }

    const NOW: UnixTime = UnixTime::from_seconds(1_800_000_000);

    fn alice<'a>(groups: &'a [String], roles: &'a [String]) -> Candidate<'a> {
        Candidate {
            user: Some("hr-alice"),
            source_user: Some("alice"),
            authenticator: Some("staff"),
            account: Some("APP"),
            ip: Some("10.1.2.3".parse().unwrap()),
            groups: Some(groups),
            roles: Some(roles),
            kind: Some(ConnectionKind::Nats),
            issued_at: IssuedAt::Known(None),
        }
    }

    #[test]
    fn lock_of_every_kind_is_found() {
        let (groups, roles) = (["g".to_owned()], ["r".to_owned()]);
        let alice = alice(&groups, &roles);
        for target in [
            json!({ "user": "alice" }),
            json!({ "user": "hr-alice", "source": "10.0.0.0/8" }),
            json!({ "group": "g" }),
            json!({ "role": "r", "group": "g" }),
            json!({ "authenticator": "staff" }),
            json!({ "account": "APP", "authenticator": "staff" }),
            json!({ "source": "10.1.2.0/24", "account": "APP" }),
            json!({ "source": "10.1.2.3" }),
            json!({ "kind": "nats" }),
            json!({ "everyone": true }),
            json!({ "issued_before": "1970-01-01T00:00:00Z" }),
        ] {
            let index = of(&[lock("other", json!({ "user": "bob" })), lock("it", target.clone())]);
            let found = index.find(&alice, NOW).map(|(verdict, lock)| (verdict, &*lock.id));
            assert_eq!(found, Some((Verdict::Yes, "it")), "{target}");
        }
        for target in [json!({ "user": "bob" }), json!({ "user": "alice", "account": "OTHER" })] {
            assert!(of(&[lock("it", target.clone())]).find(&alice, NOW).is_none(), "{target}");
        }
    }

    #[test]
    fn sure_match_is_preferred_to_a_possible_one() {
        let shown: Candidate<'_> = Candidate {
            source_user: None,
            authenticator: None,
            groups: None,
            roles: None,
            issued_at: IssuedAt::Unknown,
            ..alice(&[], &[])
        };
        let possible = lock("possible", json!({ "group": "g" }));
        let sure = lock("sure", json!({ "account": "APP" }));
        let found = |locks: &[Arc<Lock>]| {
            of(locks).find(&shown, NOW).map(|(verdict, lock)| (verdict, lock.id.to_string()))
        };
        assert_eq!(found(&[Arc::clone(&possible)]), Some((Verdict::Unknown, "possible".into())));
        assert_eq!(found(&[possible, sure]), Some((Verdict::Yes, "sure".into())));
    }

    #[test]
    fn only_address_and_kind_are_found_early() {
        let ip = Some("10.1.2.3".parse().unwrap());
        for (target, found) in [
            (json!({ "source": "10.0.0.0/8" }), true),
            (json!({ "source": "10.0.0.0/8", "kind": "nats" }), true),
            (json!({ "source": "10.0.0.0/8", "kind": "mqtt" }), false),
            (json!({ "kind": "nats" }), true),
            (json!({ "source": "10.0.0.0/8", "user": "alice" }), false),
            (json!({ "everyone": true }), false),
        ] {
            let index = of(&[lock("it", target.clone())]);
            let early = index.find_early(ip, ConnectionKind::Nats, NOW);
            assert_eq!(early.is_some(), found, "{target}");
        }
    }

    #[test]
    fn ten_thousand_locks_do_not_slow_down_a_login() {
        let locks: Vec<_> = (0..10_000)
            .map(|number| match number % 3 {
                0 => lock("u", json!({ "user": format!("user{number}") })),
                1 => lock("g", json!({ "group": format!("group{number}") })),
                _ => lock(
                    "s",
                    json!({ "source": format!("172.16.{}.{}", number / 256, number % 256) }),
                ),
            })
            .collect();
        let index = of(&locks);
        let (groups, roles) = (["g".to_owned()], ["r".to_owned()]);
        let alice = alice(&groups, &roles);
        // Comparing all of them takes thousands of times as long as one, and a look-up a few times.
        let one = of(&locks[..1]);
        let time = |index: &Index| {
            let best = (0..20).map(|_| {
                let start = Instant::now();
                (0..100).for_each(|_| assert!(index.find(&alice, NOW).is_none()));
                start.elapsed()
            });
            best.min().unwrap()
        };
        let (few, many) = (time(&one), time(&index));
        assert!(many < few * 100, "{few:?} and {many:?}");
    }
}
