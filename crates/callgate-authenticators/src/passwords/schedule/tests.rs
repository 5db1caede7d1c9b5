//! Simulates clients and hashing threads on a clock of its own.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    net::{IpAddr, Ipv6Addr},
};

use super::*;

const WORKERS: usize = 2;
/// argon2id with expensive parameters.
const HASH: Duration = Duration::from_millis(60);
/// The default timeout of an authenticator, which is shorter than nats-server's.
const PATIENCE: Duration = Duration::from_secs(1);
const RETRY_AFTER: Duration = Duration::from_millis(100);
const LASTS: Duration = Duration::from_secs(20);

/// A client that logs in, and again after each answer if it is an attacker.
#[derive(Debug, Clone, Copy)]
struct Client {
    number: u32,
    kind: Kind,
    attempt: u32,
    sent: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Attacker,
    /// From an address that was never seen.
    Newcomer,
    /// From an address that has logged in before.
    Regular,
}

#[derive(Debug, Clone, Copy)]
struct Scenario {
    attackers: u32,
    connections: u32,
    /// The address of an attacker's attempt.
    address: fn(Client) -> IpAddr,
    /// Whether an attacker's password is correct.
    correct: fn(Client) -> bool,
}

/// Percentages.
#[derive(Debug)]
struct Result {
    newcomers: f64,
    regulars: f64,
    /// Of the time of the threads.
    hashing: f64,
}

#[derive(Debug)]
enum Event {
    Attempt(Client),
    Hashed(Client),
}

struct Simulation {
    scenario: Scenario,
    schedule: Schedule<Client>,
    events: BinaryHeap<Reverse<(Instant, usize)>>,
    /// The events by number.
    list: Vec<Option<Event>>,
    admitted: [u32; 2],
    sent: [u32; 2],
    hashes: u32,
}

impl Simulation {
    fn run(scenario: Scenario) -> Result {
        let begin = Instant::now();
        let (schedule, events) = (Schedule::default(), BinaryHeap::new());
        let (list, admitted, sent) = (Vec::new(), [0; 2], [0; 2]);
        let mut this = Self { scenario, schedule, events, list, admitted, sent, hashes: 0 };
        this.schedule.set_pace(HASH);
        for number in 0..scenario.attackers {
            for _ in 0..scenario.connections {
                let client = Client { number, kind: Kind::Attacker, attempt: 0, sent: begin };
                // Spread over one retry, as if the attack had been going on.
                this.plan(
                    begin + RETRY_AFTER * number / scenario.attackers,
                    Event::Attempt(client),
                );
            }
        }
        for number in 0..LASTS.as_millis() as u32 / 500 {
            let at = begin + Duration::from_millis(500) * number + Duration::from_millis(7);
            for kind in [Kind::Newcomer, Kind::Regular] {
                let client = Client { number, kind, attempt: 0, sent: at };
                this.plan(at, Event::Attempt(client));
                if kind == Kind::Regular {
                    this.schedule.record(&this.source(client), true, begin);
                }
            }
        }
        this.until(begin + LASTS);
        let percentage =
            |index: usize| f64::from(this.admitted[index]) * 100.0 / f64::from(this.sent[index]);
        let time = f64::from(this.hashes) * HASH.as_secs_f64();
        Result {
            newcomers: percentage(0),
            regulars: percentage(1),
            hashing: time * 100.0 / LASTS.as_secs_f64() / WORKERS as f64,
        }
    }

    fn plan(&mut self, at: Instant, event: Event) {
        self.events.push(Reverse((at, self.list.len())));
        self.list.push(Some(event));
    }

    fn until(&mut self, end: Instant) {
        while let Some(Reverse((now, number))) = self.events.pop() {
            if now > end {
                return;
            }
            match self.list[number].take().unwrap() {
                Event::Attempt(client) => self.attempt(client, now),
                Event::Hashed(client) => self.hashed(client, now),
            }
            self.start(now);
        }
    }

    fn attempt(&mut self, client: Client, now: Instant) {
        let client = Client { sent: now, attempt: client.attempt + 1, ..client };
        if client.kind != Kind::Attacker {
            self.sent[usize::from(client.kind == Kind::Regular)] += 1;
        }
        let source = self.source(client);
        match self.schedule.submit(&source, now + PATIENCE, client, WORKERS, now) {
            Ok(Accepted { shed, .. }) => shed.into_iter().for_each(|shed| self.retry(shed, now)),
            Err(Overloaded) => self.retry(client, now),
        }
    }

    fn start(&mut self, now: Instant) {
        while self.schedule.busy() < WORKERS {
            let Selection { start, shed } = self.schedule.next(now);
            shed.into_iter().for_each(|client| self.retry(client, now));
            let Some(client) = start else { return };
            self.plan(now + HASH, Event::Hashed(client));
        }
    }

    fn hashed(&mut self, client: Client, now: Instant) {
        self.hashes += 1;
        self.schedule.finished(Some(HASH));
        let correct = client.kind != Kind::Attacker || (self.scenario.correct)(client);
        self.schedule.record(&self.source(client), correct, now);
        if client.kind == Kind::Attacker {
            return self.retry(client, now);
        }
        let in_time = now - client.sent <= PATIENCE;
        self.admitted[usize::from(client.kind == Kind::Regular)] += u32::from(in_time);
    }

    /// A well-behaved client is counted by its first attempt.
    fn retry(&mut self, client: Client, now: Instant) {
        if client.kind == Kind::Attacker {
            self.plan(now + RETRY_AFTER, Event::Attempt(client));
        }
    }

    fn source(&self, client: Client) -> SourceKey {
        SourceKey::Address(match client.kind {
            Kind::Attacker => (self.scenario.address)(client),
            Kind::Newcomer => address(1, client.number),
            Kind::Regular => address(2, client.number),
        })
    }
}

fn address(network: u8, number: u32) -> IpAddr {
    let [_, a, b, c] = number.to_be_bytes();
    [network, a, b, c].into()
}

const ATTACK: Scenario = Scenario {
    attackers: 200,
    connections: 4,
    address: |client| address(10, client.number),
    correct: |_| false,
};

#[test]
fn attacking_addresses_do_not_shut_out_occasional_clients() {
    for (attackers, connections) in [(30, 4), (200, 1), (200, 4), (1000, 1)] {
        let result = Simulation::run(Scenario { attackers, connections, ..ATTACK });
        let case = format!("{attackers} × {connections}: {result:?}");
        assert!(result.newcomers >= 95.0 && result.regulars >= 95.0, "{case}");
        assert!(result.hashing >= 90.0, "{case}");
    }
}

#[test]
fn fresh_networks_of_one_site_do_not_shut_out_other_clients() {
    let fresh = |client: Client| {
        let network = u128::from(client.number * 7919 + client.attempt) % 65_536;
        IpAddr::V6(Ipv6Addr::from_bits(0x2001_0db8_0001 << 80 | network << 64))
    };
    let result = Simulation::run(Scenario { address: fresh, ..ATTACK });
    assert!(result.newcomers >= 95.0 && result.regulars >= 95.0, "{result:?}");
    assert!(result.hashing >= 90.0, "{result:?}");
}

/// This attack looks like thousands of newcomers, so newcomers suffer; regulars keep their turns.
#[test]
fn fresh_addresses_without_end_do_not_shut_out_regular_clients() {
    let fresh = |client: Client| address(10, client.number * 1_000 + client.attempt);
    let result = Simulation::run(Scenario { address: fresh, ..ATTACK });
    assert!(result.regulars >= 95.0 && result.hashing >= 90.0, "{result:?}");
}

#[test]
fn correct_password_does_not_buy_precedence_for_a_flood() {
    for correct in [|_: Client| true, |client: Client| client.attempt.is_multiple_of(2)] {
        let result = Simulation::run(Scenario { correct, ..ATTACK });
        assert!(result.newcomers >= 95.0 && result.regulars >= 95.0, "{result:?}");
        assert!(result.hashing >= 90.0, "{result:?}");
    }
}

#[test]
fn estimate_refuses_no_better_ranked_source_while_others_wait() {
    let now = Instant::now();
    let mut schedule = Schedule::<u8>::default();
    schedule.set_pace(Duration::from_secs(1));
    let (bad, good) = (SourceKey::Address(address(10, 1)), SourceKey::Address(address(1, 1)));
    for _ in 0..10 {
        schedule.record(&bad, false, now);
    }
    let soon = now + Duration::from_secs(2);
    let later = now + Duration::from_secs(60);
    assert!(schedule.submit(&bad, later, 0, 1, now).is_ok());
    assert_eq!(schedule.next(now).start, Some(0));
    assert!(schedule.submit(&bad, later, 1, 1, now).is_ok());
    assert!(schedule.submit(&bad, later, 2, 1, now).is_ok());
    // By the estimate it ends after 2.5 seconds, but the running hash may end at any moment.
    assert_eq!(schedule.submit(&good, soon, 3, 1, now).unwrap().shed, Some(2));
    schedule.finished(None);
    assert_eq!(schedule.next(now).start, Some(3));
    schedule.finished(None);
    assert_eq!(schedule.next(now).start, Some(1));
    assert!(schedule.submit(&good, soon, 4, 1, now).is_err(), "nothing waits that could make room");
}

#[test]
fn waiting_jobs_are_refused_as_soon_as_they_are_too_late() {
    let now = Instant::now();
    let mut schedule = Schedule::<u8>::default();
    schedule.set_pace(Duration::from_secs(1));
    let source = |number| SourceKey::Address(address(1, number));
    let deadline = |seconds| now + Duration::from_secs(seconds);
    assert!(schedule.submit(&source(1), deadline(60), 1, 1, now).is_ok());
    assert_eq!(schedule.next(now).start, Some(1));
    assert!(schedule.submit(&source(2), deadline(60), 2, 1, now).is_ok());
    assert!(schedule.submit(&source(3), deadline(5), 3, 1, now).is_ok());
    // The running hash takes longer than expected; the last job is refused before its turn comes.
    schedule.finished(Some(Duration::from_secs(4)));
    let Selection { start, shed } = schedule.next(now + Duration::from_secs(4));
    assert_eq!((start, shed), (Some(2), vec![3]));
}
