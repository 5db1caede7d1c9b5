//! The server ends sessions on time. (Unit tests with a manual clock check time windows.)

use std::{collections::BTreeSet, time::Duration};

use callgate::{
    authn::Identity,
    clock::UnixTime,
    policy::{
        Policy,
        settings::{RoleSettings, SessionSettings},
    },
    record::{Decision, Reason},
};
use callgate_testkit::wait::PATIENCE;
use futures_util::future::join_all;

use crate::{
    site::{Site, member, policy_of},
    wire::Wire,
};

const SHORT: Duration = Duration::from_secs(3);
const LONG: Duration = Duration::from_secs(600);

async fn site(people: Vec<Identity>, session: SessionSettings) -> Site {
    let lasting = |duration| RoleSettings { expires_after: duration, ..RoleSettings::default() };
    let roles =
        [("short", lasting(Some(SHORT))), ("long", lasting(Some(LONG))), ("none", lasting(None))];
    let mut settings = policy_of(roles);
    settings.session = session;
    Site::with_policy("2.15", "", people, Policy::build(settings).unwrap()).await
}

fn session(max_lifetime: Option<Duration>, jitter: f64) -> SessionSettings {
    SessionSettings { max_lifetime, jitter }
}

/// Logs in, and waits until the server ends the session; returns the decision and the end.
async fn outlive(site: &Site, user: &str) -> (Decision, UnixTime) {
    let mut wire = Wire::connect(&site.server, user).await;
    let end = async {
        while let Some(line) = wire.line().await {
            if line.contains("User Authentication Expired") {
                return UnixTime::now();
            }
        }
        panic!("{user}: the connection ended in another way");
    };
    let ended = tokio::time::timeout(PATIENCE, end).await;
    let ended = ended.unwrap_or_else(|_| panic!("{user}: the session does not end"));
    (site.decision(user).await, ended)
}

/// The earliest of credential, role and session.
#[tokio::test]
async fn session_ends_at_the_earliest_expiry() {
    let now = UnixTime::now();
    let with_credential = |user: &str, role: &str, lasting: Duration| Identity {
        expires_at: Some(now.plus(lasting)),
        ..member(user, &[role])
    };
    let people = vec![
        with_credential("credential", "long", SHORT),
        with_credential("role", "short", LONG),
        with_credential("both-roles", "short", LONG),
    ];
    let long = site(people, session(Some(LONG), 0.0)).await;
    let short = site(vec![member("session", &["long"])], session(Some(SHORT), 0.0)).await;
    let all = [(&long, "credential"), (&long, "role"), (&long, "both-roles"), (&short, "session")];
    let ends = join_all(all.map(|(site, user)| outlive(site, user))).await;
    for ((_, user), (decision, ended)) in all.iter().zip(ends) {
        let stated = decision.expires_at.expect("an end");
        let begun = stated.seconds_since(now);
        assert!((3..=8).contains(&begun), "{user}: stated to end {begun} s after the start");
        let late = ended.seconds_since(stated);
        assert!((0..=4).contains(&late), "{user}: it ended {late} s after its end");
    }
}

#[tokio::test]
async fn jitter_only_shortens_sessions() {
    let user = |number: usize| format!("user-{number}");
    let people = (0..20).map(|number| member(&user(number), &["none"])).collect();
    let site = site(people, session(Some(LONG), 0.5)).await;
    let mut lifetimes = BTreeSet::new();
    for number in 0..20 {
        let before = UnixTime::now();
        Wire::connect(&site.server, &user(number)).await;
        let decision = site.decision(&user(number)).await;
        let lifetime = decision.expires_at.expect("an end").seconds_since(before);
        assert!((300..=601).contains(&lifetime), "{lifetime}");
        lifetimes.insert(lifetime);
    }
    assert!(lifetimes.len() > 10, "twenty sessions share {} lifetimes", lifetimes.len());
}

#[tokio::test]
async fn expired_credential_is_refused_unlimited_one_is_not() {
    let past = UnixTime::from_seconds(UnixTime::now().seconds() - 1);
    let late = Identity { expires_at: Some(past), ..member("late", &["none"]) };
    let site = site(vec![late, member("stays", &["none"])], session(None, 0.1)).await;
    assert_eq!(site.refusal("late").await, Reason::TokenExpired);
    Wire::connect(&site.server, "stays").await;
    assert_eq!(site.decision("stays").await.expires_at, None);
}
