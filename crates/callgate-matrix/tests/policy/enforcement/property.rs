//! Random rules at every version of nats-server.

use std::collections::BTreeSet;

use callgate::{
    permissions::Access,
    subject::{SubjectPattern, SubscribePattern},
};
use callgate_testkit::nats_server::{Version, installed_versions};

use super::{
    era::Era,
    rules::{LoginCase, cases},
};
use crate::{
    site::{Book, Site},
    wire::{Received, Wire, publish, subscribe},
};

const CASES: usize = 60;
/// Subscriptions of a case whose messages are checked; each has a connection of its own, since a
/// connection's filter outlives the subscription that set it up.
const LISTENERS: usize = 3;

#[tokio::test]
async fn random_rules_are_enforced_as_predicted() {
    for version in installed_versions() {
        let bench = Bench::start(version).await;
        for (number, case) in cases(CASES).into_iter().enumerate() {
            let user = format!("case-{number}");
            bench.book.write(&user, case.permissions.clone());
            let mut wire = Wire::connect(&bench.site.server, &user).await;
            check_publishing(version, &case, &mut wire).await;
            check_subscribing(version, &case, &mut wire).await;
        }
    }
}

#[tokio::test]
async fn random_denies_match_the_version_table() {
    for version in installed_versions() {
        let bench = Bench::start(version).await;
        let mut witnessed = 0;
        for (number, case) in cases(CASES).into_iter().enumerate() {
            let user = format!("case-{number}");
            bench.book.write(&user, case.permissions.clone());
            for wanted in listeners(&case) {
                check_deliveries(&bench, &user, &case, wanted).await;
                witnessed += 1;
            }
        }
        assert!(witnessed > 30, "{version}: only {witnessed} subscriptions met a deny");
    }
}

struct Bench {
    version: Version,
    book: Book,
    site: Site,
}

impl Bench {
    async fn start(version: Version) -> Self {
        let book = Book::default();
        let site = Site::with_book(&version.to_string(), &book).await;
        Self { version, book, site }
    }
}

async fn check_publishing(version: Version, case: &LoginCase, wire: &mut Wire) {
    let access = Access::Limited(case.permissions.clone());
    let commands: Vec<_> =
        case.publish.iter().map(|subject| publish(subject.as_str(), "")).collect();
    for (subject, said) in case.publish.iter().zip(wire.ask(&commands).await) {
        let verdict = access.can_publish(subject);
        // Nothing has arrived here that could be answered.
        let expected = verdict.allowed;
        let in_set = case.permissions.publish_set().contains(subject);
        assert_eq!(in_set, expected, "{subject} in the set of {:#?}", case.permissions);
        assert_eq!(
            said.errors.is_empty(),
            expected,
            "{version}: publish {subject}: we say {verdict:?}, the server {said:?}; {:#?}",
            case.permissions
        );
    }
}

async fn check_subscribing(version: Version, case: &LoginCase, wire: &mut Wire) {
    let access = Access::Limited(case.permissions.clone());
    let commands: Vec<_> = case
        .subscribe
        .iter()
        .map(|wanted| format!("{}UNSUB 1\r\n", subscribe(&wanted.to_string(), 1)))
        .collect();
    for (wanted, said) in case.subscribe.iter().zip(wire.ask(&commands).await) {
        let verdict = access.can_subscribe(wanted);
        if let Ok(subject) = wanted.subject().as_str().parse() {
            let rules = &case.permissions.subscribe;
            let in_set = rules.subscribe_set(wanted.queue()).contains(&subject);
            assert_eq!(in_set, verdict.allowed, "{wanted} in the set of {rules:#?}");
        }
        assert_eq!(
            said.errors.is_empty(),
            verdict.allowed,
            "{version}: subscribe {wanted}: we say {verdict:?}, the server {said:?}; {:#?}",
            case.permissions
        );
    }
}

/// Wildcards that are open, under rules with denies.
fn listeners(case: &LoginCase) -> impl Iterator<Item = &SubscribePattern> {
    let access = Access::Limited(case.permissions.clone());
    let denies = !case.permissions.subscribe.deny.is_empty();
    let open = move |wanted: &&SubscribePattern| {
        denies && !wanted.subject().is_literal() && access.can_subscribe(wanted).allowed
    };
    case.subscribe.iter().filter(open).take(LISTENERS)
}

async fn check_deliveries(bench: &Bench, user: &str, case: &LoginCase, wanted: &SubscribePattern) {
    let Bench { version, site, .. } = bench;
    let mut wire = Wire::connect(&site.server, user).await;
    let said = wire.ask_one(subscribe(&wanted.to_string(), 1)).await;
    assert!(said.errors.is_empty(), "{version}: {wanted}: {said:?}");

    let mut admin = Wire::connect(&site.server, "admin").await;
    let subjects = all_subjects();
    let commands: String = subjects.iter().map(|subject| publish(subject, "")).collect();
    admin.ask_one(commands).await;
    let messages = wire.fence().await.messages;
    let got: BTreeSet<String> =
        messages.into_iter().map(|Received { subject, .. }| subject).collect();

    let denies = &case.permissions.subscribe.deny;
    let matched = |subject: &&String| wanted.subject().covers(&parse(subject));
    let withheld = |subject: &String| Era::of(*version).withholds(denies, wanted, &parse(subject));
    let expected: BTreeSet<String> =
        subjects.iter().filter(matched).filter(|subject| !withheld(subject)).cloned().collect();
    let wrong: Vec<_> = got.symmetric_difference(&expected).collect();
    assert!(wrong.is_empty(), "{version}: {wanted} under the denies {denies:?}: {wrong:?}");
}

fn parse(subject: &str) -> SubjectPattern {
    subject.parse().unwrap()
}

/// Every subject of up to four tokens that the rules may speak of.
fn all_subjects() -> Vec<String> {
    let letters = ["a", "b", "c"];
    let longer = |subjects: &Vec<String>| -> Vec<String> {
        let with = |subject: &String| letters.map(|letter| format!("{subject}.{letter}"));
        subjects.iter().flat_map(with).collect()
    };
    let one: Vec<String> = letters.map(str::to_owned).to_vec();
    let two = longer(&one);
    let three = longer(&two);
    let four = longer(&three);
    [one, two, three, four].concat()
}
