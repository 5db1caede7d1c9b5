use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use callgate::{
    authn::Decline,
    record::Reason,
    request::{AuthRequest, Credential},
};
use callgate_config::Sources;
use serde_json::json;
use tokio::{sync::Notify, time::Instant};

use super::*;
use crate::kind::{BuildContext, SharedResources};

fn context() -> BuildContext {
    BuildContext::new("team", Sources::new("."), Arc::new(SharedResources::new(1)))
}

fn backend(connections: usize) -> Arc<Backend<u8>> {
    Arc::new(Backend::new(&context(), "https://backend.example", connections))
}

fn request() -> AuthRequest {
    AuthRequest::for_tests(Credential::Token("t".into()))
}

fn unreachable(answer: &Result<u8, QueryError>) -> bool {
    matches!(answer, Err(QueryError::Unreachable(_)))
}

#[tokio::test(start_paused = true)]
async fn unreachable_backend_is_not_waited_for() {
    let backend = backend(4);
    let queries = Arc::<AtomicUsize>::default();
    let hang = async |backend: &Backend<u8>| {
        let queries = Arc::clone(&queries);
        let query = move |_| async move {
            queries.fetch_add(1, Ordering::SeqCst);
            std::future::pending().await
        };
        let started = Instant::now();
        let answer = backend.query(&[b"key"], &request(), query).await;
        assert!(unreachable(&answer), "{answer:?}");
        started.elapsed()
    };
    for _ in 0..5 {
        assert_eq!(hang(&backend).await.as_secs(), 1);
    }
    assert_eq!(hang(&backend).await, Duration::ZERO);
    assert_eq!(queries.load(Ordering::SeqCst), 5);
    tokio::time::advance(Duration::from_secs(1)).await;
    let answer = backend.query(&[b"key"], &request(), |_| async { Ok(7) }).await;
    assert_eq!(answer, Ok(7));
    assert_eq!(hang(&backend).await.as_secs(), 1);
}

/// The chain may drop a login exactly when its time is up.
#[tokio::test(start_paused = true)]
async fn dropped_queries_count_as_failures_only_at_their_deadline() {
    for (seconds, expected) in [(0, Duration::from_secs(1)), (1, Duration::ZERO)] {
        let backend = backend(4);
        for _ in 0..5 {
            let request = request();
            let query = backend.query(&[b"key"], &request, |_| std::future::pending());
            let mut query = Box::pin(query);
            assert!(futures_util::poll!(&mut query).is_pending());
            tokio::time::advance(Duration::from_secs(seconds)).await;
            drop(query);
        }
        let started = Instant::now();
        let query = |_| std::future::pending();
        assert!(unreachable(&backend.query(&[b"key"], &request(), query).await));
        assert_eq!(started.elapsed(), expected, "dropped after {seconds} s");
    }
}

#[tokio::test(start_paused = true)]
async fn bad_answers_are_no_outage() {
    let backend = backend(4);
    for _ in 0..20 {
        let query = |_| async { Err(QueryError::unusable("status 500")) };
        let answer = backend.query(&[b"key"], &request(), query).await;
        assert_eq!(answer, Err(QueryError::unusable("status 500")));
    }
}

#[tokio::test]
async fn identical_logins_share_one_query_within_the_connections() {
    let backend = backend(1);
    let queries = Arc::<AtomicUsize>::default();
    let released = Arc::<Notify>::default();
    let login = |key: &'static [u8]| {
        let (backend, queries) = (Arc::clone(&backend), Arc::clone(&queries));
        let released = Arc::clone(&released);
        tokio::spawn(async move {
            let query = move |_| async move {
                queries.fetch_add(1, Ordering::SeqCst);
                released.notified().await;
                Ok(1)
            };
            backend.query(&[key], &request(), query).await
        })
    };
    let mut logins: Vec<_> = (0..50).map(|_| login(b"same")).collect();
    tokio::task::yield_now().await;
    logins.push(login(b"other"));
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(queries.load(Ordering::SeqCst), 1);
    released.notify_one();
    while queries.load(Ordering::SeqCst) < 2 {
        tokio::task::yield_now().await;
    }
    released.notify_one();
    for login in logins {
        assert_eq!(login.await.unwrap(), Ok(1));
    }
    assert_eq!(queries.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn query_without_time_is_not_sent() {
    let backend = backend(1);
    let late = request().due_at(Instant::now());
    let query = |_| async { panic!("the query was sent") };
    assert!(unreachable(&backend.query(&[b"key"], &late, query).await));
}

#[tokio::test]
async fn explain_learns_what_was_queried() {
    let backend = backend(1);
    let query = async || backend.query(&[b"key"], &request(), |_| async { Ok(1) }).await;
    assert_eq!(query().await, Ok(1));
    let (answer, notes) = notes::collect(false, query()).await;
    assert_eq!(answer, Ok(1));
    assert_eq!(&*notes[0].authenticator, "team");
    assert!(notes[0].text.starts_with("https://backend.example: queried"), "{notes:?}");
    let (answer, notes) = notes::collect(true, query()).await;
    assert!(unreachable(&answer));
    assert_eq!(notes[0].text, "https://backend.example: would be asked");
}

#[test]
fn unavailable_is_never_another_answer() {
    for error in [QueryError::unreachable("x"), QueryError::unusable("x")] {
        assert!(matches!(Decline::from(error), Decline::Unavailable(_)));
    }
    let rejected = QueryError::rejected(Reason::BadPassword, "x");
    assert!(matches!(Decline::from(rejected), Decline::Rejected(_)));
    assert!(matches!(Decline::from(QueryError::NotMine), Decline::NotMine));
}

#[test]
fn credentials_that_no_backend_may_see_are_rejected() {
    let long = "x".repeat(1025);
    for (user, password, reason) in [
        ("alice", "", Reason::BadPassword),
        ("", "secret", Reason::BadPassword),
        ("alice", "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.", Reason::BadPassword),
        ("alice", long.as_str(), Reason::BadPassword),
        ("alice", "a\0b", Reason::BadPassword),
        (&long[..513], "secret", Reason::UnknownUser),
        ("al\nice", "secret", Reason::UnknownUser),
        ("al\u{200b}ice", "secret", Reason::UnknownUser),
        ("alice\0", "secret", Reason::UnknownUser),
    ] {
        let rejection = precheck(user, &password.into(), Nul::Refused).unwrap_err();
        assert_eq!(rejection.reason, reason, "{user:?} {password:?}");
        assert!(!rejection.detail.contains("secret"));
    }
    assert!(precheck("alice", &"secret".into(), Nul::Refused).is_ok());
    assert!(precheck("alice", &"a\0b".into(), Nul::Allowed).is_ok());
}

#[test]
fn outside_data_is_bounded() {
    let now = callgate::clock::UnixTime::from_seconds(1000);
    let alice = || Outside { user: "alice".to_owned(), ..Outside::default() };
    let many = |length: usize, text: usize| vec!["x".repeat(text); length];
    let claims = json!({ "a": "x".repeat(64 * 1024) }).as_object().unwrap().clone();
    for outside in [
        Outside::default(),
        Outside { user: "x".repeat(513), ..alice() },
        Outside { user: "al\u{202e}ice".to_owned(), ..alice() },
        Outside { groups: many(1001, 1), ..alice() },
        Outside { groups: many(1, 257), ..alice() },
        Outside { claims, ..alice() },
        Outside { account: Some(String::new()), ..alice() },
    ] {
        assert!(matches!(outside.identity(now), Err(QueryError::Unusable(_))));
    }
    let identity = Outside { groups: many(1000, 256), ..alice() }.identity(now).unwrap();
    assert!(!identity.proposal.unrestricted_if_alone);
    assert_eq!(identity.proposal.origin, callgate::authn::Origin::Outside);
    let rejected = |outside: Outside, reason| {
        assert!(
            matches!(outside.identity(now), Err(QueryError::Rejected(it)) if it.reason == reason)
        );
    };
    rejected(Outside { disabled: true, ..alice() }, Reason::UserDisabled);
    rejected(Outside { expires: Some(now), ..alice() }, Reason::UserExpired);
}

#[test]
fn permissions_from_outside_have_no_templates() {
    let read = permissions(&json!({ "pub": { "allow": ["app.>"] }, "sub": ["a"] })).unwrap();
    assert_eq!((read.publish.allow.len(), read.subscribe.allow.len()), (1, 1));
    assert_eq!(permissions(&json!({})).unwrap(), Default::default());
    for bad in [
        json!(null),
        json!([]),
        json!({ "pub": ["app.{{ user }}.>"] }),
        json!({ "pub": ["a..b"] }),
        json!({ "publish": ["a"], "pub": ["b"] }),
        json!({ "pub": null }),
        json!({ "unknown": ["a"] }),
        json!({ "subs": 1 }),
    ] {
        assert!(permissions(&bad).is_err(), "{bad}");
    }
}

#[test]
fn only_loopback_addresses_need_no_encryption() {
    for host in ["localhost", "LOCALHOST", "127.0.0.1", "127.1.2.3", "::1", "[::1]"] {
        assert!(is_loopback(host), "{host}");
    }
    for host in ["", "localhost.example", "10.0.0.1", "127.0.0.1.example", "::2", "128.0.0.1"] {
        assert!(!is_loopback(host), "{host}");
    }
}
