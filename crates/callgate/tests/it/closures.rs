//! A user-supplied function decides: its panics, its delays, and the requests it never sees.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use callgate::{
    Callgate, Refusal, Reply, User,
    clock::UnixTime,
    connection::ConnectionKind,
    keys::{AccountKey, AccountSigner, SignError, Signer},
    record::{Decision, Outcome, Reason},
    request::{AuthRequest, Credential},
};
use callgate_testkit::{Nkey, RequestBuilder};
use futures_util::future::join_all;
use serde_json::json;
use tokio::time::Instant;

use crate::support::{Bench, NOW, app_user, signer};

fn user_of(request: &AuthRequest) -> &str {
    match request.credential() {
        Credential::Password { user, .. } => user,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn panicking_function_refuses_only_its_own_request() {
    let bench = Bench::deciding(|request| {
        // Panics before the future is created, and inside it.
        assert_ne!(user_of(&request), "early", "a secret in a panic: hunter2");
        async move {
            tokio::task::yield_now().await;
            assert_ne!(user_of(&request), "late", "a secret in a panic: hunter2");
            Ok(app_user())
        }
    });
    let users = ["alice", "early", "bob", "late", "carol"];
    let requests = users.map(|user| (user, bench.request().password(user, "x").build()));
    let now = UnixTime::from_seconds(NOW);
    let replies = join_all(requests.iter().map(|(_, r)| bench.gate.handle(&r.payload, None, now)));
    for ((user, request), reply) in requests.iter().zip(replies.await) {
        let Reply::Answer(answer) = reply else { panic!("no answer for {user}") };
        let response = request.open_response(&answer);
        match *user {
            "early" | "late" => assert_eq!(response.error(), "temporarily unavailable"),
            _ => assert_eq!(response.user()["name"], *user),
        }
    }
    let decisions = bench.take_decisions();
    assert_eq!(decisions.len(), users.len());
    for decision in decisions.iter().filter(|d| d.outcome() == Outcome::Refused) {
        assert_eq!(decision.reason, Reason::BackendUnavailable);
        assert!(!decision.detail.contains("hunter2"), "{}", decision.detail);
    }
}

#[tokio::test(start_paused = true)]
async fn hanging_function_is_refused_before_the_server_timeout() {
    let bench = Bench::deciding(|_| std::future::pending());
    for timeout in [1, 2, 30] {
        let began = Instant::now();
        let request = bench.alice().auth_timeout(timeout);
        bench.refused(request, Reason::BackendUnavailable).await;
        let timeout = Duration::from_secs(u64::try_from(timeout).unwrap());
        assert!(began.elapsed() < timeout, "{:?}", began.elapsed());
        assert!(began.elapsed() >= timeout - Duration::from_millis(200));
    }
}

#[tokio::test(start_paused = true)]
async fn hanging_function_releases_its_resources_at_deadline() {
    let held = Arc::new(());
    let keep = Arc::clone(&held);
    let bench = Bench::deciding(move |_| {
        let hold = Arc::clone(&keep);
        async move {
            std::future::pending::<()>().await;
            drop(hold);
            Ok(app_user())
        }
    });
    bench.refused(bench.alice(), Reason::BackendUnavailable).await;
    assert_eq!(Arc::strong_count(&held), 2, "only the function itself still holds it");
}

#[tokio::test(start_paused = true)]
async fn answer_after_the_server_timeout_is_dropped() {
    let bench = Bench::deciding(|_| async {
        // Simulates a function that blocks the thread: no timeout can interrupt it.
        tokio::time::advance(Duration::from_secs(3)).await;
        Ok(app_user())
    });
    let decision = bench.dropped(bench.alice(), Reason::DeadlinePassed).await;
    assert_eq!(decision.user.as_deref(), Some("alice"));
    assert_eq!(decision.account, None, "no account was assigned");
}

#[tokio::test(start_paused = true)]
async fn deadline_is_passed_to_the_function() {
    let bench = Bench::deciding(|request| async move {
        let left = request.deadline() - Instant::now();
        assert!(left > Duration::from_millis(1_500) && left < Duration::from_secs(2), "{left:?}");
        Ok(app_user())
    });
    bench.admitted(bench.alice()).await;
}

/// The recorded reason depends on the credential; the function's texts stay in our own records.
#[tokio::test]
async fn clients_see_only_two_refusal_texts() {
    let bench = Bench::deciding(|request| async move {
        match request.credential() {
            Credential::Password { user, .. } if user == "down" => {
                Err(Refusal::Unavailable("the directory does not answer".to_owned()))
            }
            _ => Err(Refusal::deny("user is unknown")),
        }
    });
    let cases = [
        (bench.alice(), Reason::BadPassword),
        (bench.request().token("opaque"), Reason::BadToken),
        (bench.request().nkey(&Nkey::user()), Reason::BadSignature),
        (bench.request().verified_chain(&["leaf"]), Reason::NoBinding),
        (bench.request().password("down", "x"), Reason::BackendUnavailable),
    ];
    for (request, reason) in cases {
        let decision = bench.refused(request, reason).await;
        let texts = ["user is unknown", "the directory does not answer"];
        assert!(texts.contains(&&*decision.detail), "our own record has the full text");
    }
}

#[tokio::test]
async fn function_may_refuse_silently() {
    let bench = Bench::deciding(|_| async { Err(Refusal::Silent("a scanner".to_owned())) });
    let request = bench.alice().build();
    let (reply, decision) = bench.handle(&request.payload, None).await;
    assert_eq!((reply, decision.reason), (Reply::Silent, Reason::BadPassword));
    assert_eq!(decision.detail, "a scanner");
}

#[tokio::test]
async fn function_only_sees_requests_with_one_valid_credential() {
    let calls = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&calls);
    let bench = Bench::deciding(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        std::future::ready(Ok(app_user()))
    });
    let nkey_without_proof = bench.request().connect("nkey", Nkey::user().public());
    bench.refused(bench.request(), Reason::NoCredential).await;
    bench.refused(bench.alice().token("opaque"), Reason::AmbiguousCredential).await;
    bench.refused(nkey_without_proof, Reason::BadSignature).await;
    bench.dropped(bench.alice().corrupt_signature(), Reason::BadRequest).await;
    assert_eq!(calls.load(Ordering::Relaxed), 0);
}

/// nats-server ignores connection types in the answer, and a leaf node brings all clients of its server.
#[tokio::test]
async fn leaf_and_unknown_connections_need_explicit_permission() {
    let bench = Bench::giving(User::in_account("APP").unrestricted());
    for kind in ["nats", "websocket", "mqtt"] {
        bench.admitted(bench.alice().client_type(kind)).await;
    }
    let others = [
        bench.alice().leaf_node(),
        bench.alice().leaf_node().client_type("nats"),
        bench.alice().client_type("quic"),
        bench.alice().client("type", json!(null)),
        bench.alice().client("kind", "Router"),
        bench.alice().client("kind", json!(null)),
    ];
    for request in others {
        bench.refused(request, Reason::ConnectionTypeNotAllowed).await;
    }
}

#[tokio::test]
async fn user_may_be_limited_to_connection_types() {
    let leaf = User::in_account("APP").only_over([ConnectionKind::LeafNode]);
    let bench = Bench::giving(leaf);
    bench.admitted(bench.alice().leaf_node()).await;
    bench.refused(bench.alice(), Reason::ConnectionTypeNotAllowed).await;
    let unknown = User::in_account("APP").only_over([ConnectionKind::Unknown]);
    let bench = Bench::giving(unknown);
    bench.refused(bench.alice().client_type("quic"), Reason::ConnectionTypeNotAllowed).await;
}

#[tokio::test]
async fn replacing_a_gate_affects_all_its_clones() {
    let bench = Bench::new(|builder| builder);
    let clone = bench.gate.clone();
    bench.admitted(bench.alice()).await;
    let next = callgate::Callgate::builder(crate::support::signer(&bench.issuer))
        .authorize(|_| async { Err(Refusal::deny("closed")) });
    bench.gate.replace(next).unwrap();
    let request = bench.alice().build();
    let reply = clone.handle(&request.payload, None, UnixTime::from_seconds(NOW)).await;
    let Reply::Answer(answer) = reply else { panic!("no answer") };
    assert_eq!(request.open_response(&answer).error(), "authorization failed");
    // An invalid builder changes nothing.
    let undecided = callgate::Callgate::builder(crate::support::signer(&bench.issuer));
    assert!(bench.gate.replace(undecided).is_err());
}

/// A signer that takes 600 ms per signature.
#[derive(Debug)]
struct Slow(AccountSigner);

impl Signer for Slow {
    fn public_key(&self) -> &AccountKey {
        self.0.public_key()
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64], SignError> {
        std::thread::sleep(Duration::from_millis(600));
        self.0.sign(message)
    }
}

#[tokio::test]
async fn answer_signed_after_the_deadline_is_not_sent() {
    let issuer = Nkey::account();
    let decisions = Arc::<Mutex<Vec<Decision>>>::default();
    let record = Arc::clone(&decisions);
    let gate = Callgate::builder(Slow(signer(&issuer)))
        .authorize(|_| async { Ok(app_user()) })
        .on_decision(move |decision| record.lock().unwrap().push(decision.clone()))
        .build()
        .unwrap();
    // The user JWT is signed within the timeout of one second, the answer around it too late.
    let request = RequestBuilder::new(&issuer.public(), NOW).password("alice", "x").auth_timeout(1);
    let now = UnixTime::from_seconds(NOW);
    assert_eq!(gate.handle(&request.build().payload, None, now).await, Reply::Silent);
    let decisions = decisions.lock().unwrap();
    let [decision] = decisions.as_slice() else { panic!("{decisions:?}") };
    assert_eq!((decision.reason, &decision.account), (Reason::DeadlinePassed, &None));
}
