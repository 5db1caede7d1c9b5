//! A panic in user code (a signer, an observer, a deciding function or the drop of its future) affects one
//! request only.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use callgate::{
    Callgate, Reply,
    clock::UnixTime,
    keys::{AccountKey, AccountSigner, SignError, Signer},
    record::{Decision, Outcome, Reason},
};
use callgate_testkit::{Nkey, RequestBuilder, SignedRequest};
use data_encoding::BASE64URL_NOPAD;
use futures_util::future::join_all;
use tokio::time::Instant;

use crate::support::{Bench, NOW, app_user, signer};

const SECRET: &str = "hunter2";

/// Panics if the claims contain `word`, else signs them.
#[derive(Debug)]
struct PanickingSigner {
    signer: AccountSigner,
    word: &'static str,
}

impl Signer for PanickingSigner {
    fn public_key(&self) -> &AccountKey {
        self.signer.public_key()
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64], SignError> {
        let claims = message.split(|byte| *byte == b'.').nth(1).unwrap();
        let claims = String::from_utf8(BASE64URL_NOPAD.decode(claims).unwrap()).unwrap();
        assert!(!claims.contains(self.word), "a secret in a panic: {SECRET}");
        self.signer.sign(message)
    }
}

/// A gate with a [`PanickingSigner`], its issuer, and its decisions.
fn gate_panicking_on(word: &'static str) -> (Callgate, Nkey, Arc<Mutex<Vec<Decision>>>) {
    let issuer = Nkey::account();
    let decisions = Arc::<Mutex<Vec<Decision>>>::default();
    let record = Arc::clone(&decisions);
    let gate = Callgate::builder(PanickingSigner { signer: signer(&issuer), word })
        .authorize(|_| async { Ok(app_user()) })
        .on_decision(move |decision| record.lock().unwrap().push(decision.clone()))
        .build()
        .unwrap();
    (gate, issuer, decisions)
}

fn request_of(issuer: &Nkey, user: &str) -> SignedRequest {
    RequestBuilder::new(&issuer.public(), NOW).password(user, "x").build()
}

async fn handle(gate: &Callgate, request: &SignedRequest) -> Reply {
    gate.handle(&request.payload, None, UnixTime::from_seconds(NOW)).await
}

fn assert_recorded_as_panic(decision: &Decision, user: &str) {
    assert_eq!(decision.reason, Reason::BackendUnavailable);
    assert_eq!(decision.user.as_deref(), Some(user));
    assert!(decision.ids.is_some() && decision.account.is_none(), "{decision:?}");
    assert!(decision.detail.contains("panicked") && !decision.detail.contains(SECRET));
}

#[tokio::test]
async fn panicking_signer_refuses_only_its_own_request() {
    let (gate, issuer, decisions) = gate_panicking_on("boom");
    let users = ["alice", "boom", "bob"];
    let requests = users.map(|user| request_of(&issuer, user));
    let replies = join_all(requests.iter().map(|request| handle(&gate, request))).await;
    for ((user, request), reply) in users.iter().zip(&requests).zip(replies) {
        let Reply::Answer(answer) = reply else { panic!("no answer for {user}") };
        let response = request.open_response(&answer);
        match *user {
            "boom" => assert_eq!(response.error(), "temporarily unavailable"),
            _ => assert_eq!(response.user()["name"], *user),
        }
    }
    let decisions = decisions.lock().unwrap();
    assert_eq!(decisions.len(), users.len());
    let refused: Vec<_> = decisions.iter().filter(|d| d.outcome() == Outcome::Refused).collect();
    assert_eq!(refused.len(), 1);
    assert_recorded_as_panic(refused[0], "boom");
}

#[tokio::test]
async fn always_panicking_signer_leaves_requests_unanswered() {
    let (gate, issuer, decisions) = gate_panicking_on("");
    let request = request_of(&issuer, "alice");
    assert_eq!(handle(&gate, &request).await, Reply::Silent);
    let decisions = decisions.lock().unwrap();
    let [decision] = decisions.as_slice() else { panic!("{decisions:?}") };
    assert_recorded_as_panic(decision, "alice");
}

#[tokio::test]
async fn panicking_observer_affects_no_answer_or_observer() {
    let count = |calls: &AtomicUsize| {
        calls.fetch_add(1, Ordering::Relaxed);
    };
    let calls = [(); 2].map(|()| Arc::new(AtomicUsize::new(0)));
    let [before, after] = calls.clone();
    let bench = Bench::new(|builder| {
        builder
            .on_decision(move |_| count(&before))
            .on_decision(|decision| panic!("{SECRET} of {:?}", decision.user))
            .on_decision(move |_| count(&after))
    });
    bench.admitted(bench.alice()).await;
    bench.refused(bench.request(), Reason::NoCredential).await;
    bench.dropped(bench.alice().corrupt_signature(), Reason::BadRequest).await;
    assert_eq!(calls.map(|count| count.load(Ordering::Relaxed)), [3, 3]);
}

/// A guard inside a future that is dropped after the deadline.
struct PanicsWhenDropped;

impl Drop for PanicsWhenDropped {
    fn drop(&mut self) {
        panic!("{SECRET}");
    }
}

#[tokio::test(start_paused = true)]
async fn panic_while_dropping_the_future_refuses() {
    let bench = Bench::deciding(|_| async {
        let _late = PanicsWhenDropped;
        std::future::pending::<()>().await;
        Ok(app_user())
    });
    let began = Instant::now();
    let decision = bench.refused(bench.alice(), Reason::BackendUnavailable).await;
    assert!(!decision.detail.contains(SECRET), "{}", decision.detail);
    assert!(began.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn explanation_survives_decision_and_signer_panics() {
    let (gate, issuer, _) = gate_panicking_on("boom");
    let bench = Bench::deciding(|_| async { panic!("{SECRET}") });
    let now = UnixTime::from_seconds(NOW);
    for (gate, request) in [
        (&gate, request_of(&issuer, "boom")),
        (&bench.gate, bench.request().password("alice", "x").build()),
    ] {
        let explained = gate.explain(&request.payload, None, now).await.unwrap();
        let denial = explained.result.unwrap_err();
        assert_eq!(denial.reason, Reason::BackendUnavailable);
        assert!(!denial.detail.contains(SECRET), "{}", denial.detail);
    }
}
