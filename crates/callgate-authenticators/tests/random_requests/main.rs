//! Random requests to a complete callout: opening, the chain of authenticators, policy, minting. No
//! request causes a panic, each is decided exactly once and in time, and only good ones are admitted.
//!
//! `make test` sends 20,000 requests; `make random` sends a million with an optimised build. The
//! same seed (`CALLGATE_RANDOM_SEED`) gives the same requests.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "test code: a panic is how a test fails, and the counts are printed"
)]

mod dice;
mod requests;
mod world;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use callgate::{
    Reply,
    clock::UnixTime,
    record::{Decision, Outcome, Reason},
};
use callgate_testkit::Response;
use tokio::{task::JoinSet, time::Instant};

use dice::Dice;
use requests::{Expected, Players, Sent};
use world::{NOW, World};

tokio::task_local! {
    /// The decisions about the request that this task sends.
    static DECISIONS: Mutex<Vec<Decision>>;
}

/// The number of decisions for each reason.
type Counts = BTreeMap<&'static str, u64>;

/// A decision takes longer only if the machine was suspended.
const STALL: Duration = Duration::from_secs(1);

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().expect("a number"))
}

/// Sends one request and checks its decision and answer.
async fn send(world: &World, sent: Sent) -> (Reason, bool) {
    let Sent { payload, header, expected, request, patience } = sent;
    let began = Instant::now();
    let handled = async {
        let now = UnixTime::from_seconds(NOW);
        let reply = world.callout.handle(&payload, header.as_deref(), now).await;
        (reply, DECISIONS.with(|decisions| std::mem::take(&mut *decisions.lock().unwrap())))
    };
    let (reply, decisions) = DECISIONS.scope(Mutex::default(), handled).await;
    let took = began.elapsed();
    let [decision] = decisions.as_slice() else { panic!("not one decision: {decisions:?}") };
    // A late request is not answered; a suspended machine makes requests late.
    let stalled = took > STALL;
    assert!(
        decision.duration <= patience || reply == Reply::Silent,
        "{took:?} of {patience:?}: {decision:?}"
    );
    assert!(!format!("{decision:?}").contains(world::CANARY), "a secret: {decision:?}");
    expected.holds(decision, stalled);
    match (reply, decision.outcome()) {
        (Reply::Silent, Outcome::Dropped) => {}
        (Reply::Answer(answer), Outcome::Admitted | Outcome::Refused) => {
            let request = request.unwrap_or_else(|| panic!("an answer to noise: {decision:?}"));
            check_response(&request.open_response(&answer), decision);
        }
        (reply, _) => panic!("{reply:?} after {decision:?}"),
    }
    (decision.reason, stalled)
}

/// The answer agrees with the decision and grants no more than any user here may have.
fn check_response(response: &Response, decision: &Decision) {
    match response {
        Response::Refused(text) => {
            assert_eq!(decision.outcome(), Outcome::Refused, "{decision:?}");
            assert_eq!(text, decision.reason.public_text());
        }
        Response::Admitted(user) => {
            assert_eq!(decision.outcome(), Outcome::Admitted, "{decision:?}");
            let name = user["name"].as_str().unwrap();
            assert!(world::ADMITTED.contains(&name), "{user}");
            assert_eq!(user["aud"], "APP");
            assert_eq!(user["nats"]["pub"]["allow"][0], format!("t.{name}.>").as_str());
            assert!(user["exp"].as_i64().unwrap() <= NOW + 3600);
        }
    }
}

#[test]
fn random_requests_are_each_decided_once_and_in_time() {
    let all = number("CALLGATE_RANDOM_REQUESTS", 20_000);
    let seed = number("CALLGATE_RANDOM_SEED", 1);
    world::hush_expected_panics();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let (reasons, stalls) = runtime.block_on(async {
        let world = Arc::new(World::new(|decision| {
            DECISIONS.with(|decisions| decisions.lock().unwrap().push(decision.clone()));
        }));
        let players = Arc::new(Players::new(&world));
        let lanes = 16;
        let mut work = JoinSet::new();
        for lane in 0..lanes {
            let (world, players) = (Arc::clone(&world), Arc::clone(&players));
            let share = all / lanes + u64::from(lane < all % lanes);
            work.spawn(async move {
                let mut dice = Dice::new(seed.wrapping_mul(1_000_003).wrapping_add(lane));
                let (mut reasons, mut stalls) = (Counts::new(), 0);
                for _ in 0..share {
                    let (reason, stalled) = send(&world, players.request(&mut dice)).await;
                    *reasons.entry(reason.as_str()).or_default() += 1;
                    stalls += u64::from(stalled);
                }
                (reasons, stalls)
            });
        }
        let (mut reasons, mut stalls) = (Counts::new(), 0);
        while let Some(lane) = work.join_next().await {
            let (of_lane, stalls_of_lane) = lane.expect("no request panics");
            for (reason, count) in of_lane {
                *reasons.entry(reason).or_default() += count;
            }
            stalls += stalls_of_lane;
        }
        (reasons, stalls)
    });
    println!("{all} requests, {stalls} while the machine was suspended: {reasons:?}");
    assert_eq!(reasons.values().sum::<u64>(), all, "each request is counted once");
    // The requests reached every part of the callout.
    for reason in [
        Reason::Admitted,
        Reason::AmbiguousCredential,
        Reason::BackendUnavailable,
        Reason::BadPassword,
        Reason::BadRequest,
        Reason::BadToken,
        Reason::CannotDecrypt,
        Reason::NoBinding,
        Reason::NotEncrypted,
        Reason::StaleRequest,
        Reason::UnknownUser,
        Reason::UnsafeTemplateValue,
        Reason::WrongAudienceRequest,
    ] {
        assert!(reasons.contains_key(reason.as_str()), "{reason} is missing: {reasons:?}");
    }
}

impl Expected {
    fn holds(&self, decision: &Decision, stalled: bool) {
        let outcome = decision.outcome();
        match self {
            Self::Admitted if stalled => {}
            Self::Admitted => assert_eq!(outcome, Outcome::Admitted, "{decision:?}"),
            Self::NotAdmitted => assert_ne!(outcome, Outcome::Admitted, "{decision:?}"),
            Self::Dropped => assert_eq!(outcome, Outcome::Dropped, "{decision:?}"),
            Self::Anything => {}
        }
    }
}
