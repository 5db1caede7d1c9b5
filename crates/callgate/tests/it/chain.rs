//! Authenticators asked in order: three answers with one meaning each.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use callgate::{
    authn::{Authenticator, Chain, Decline, Identity, Link, Overloaded},
    policy::{
        Policy,
        settings::{AuthenticatorPolicy, BindingSettings, PolicySettings, RoleSettings},
    },
    record::Reason,
    request::AuthRequest,
};
use callgate_testkit::Nkey;
use data_encoding::BASE64URL_NOPAD;
use futures_util::{FutureExt, future::BoxFuture};
use serde_json::json;
use tokio::time::Instant;

use crate::support::Bench;

#[derive(Debug, Clone, Copy)]
enum Says {
    Alice,
    NotMine,
    Rejected,
    Unavailable,
    Overloaded,
    Panics,
    Hangs,
}

#[derive(Debug)]
struct Fake {
    says: Says,
    asked: Arc<AtomicUsize>,
}

impl Authenticator for Fake {
    fn authenticate<'a>(
        &'a self,
        _request: &'a AuthRequest,
    ) -> BoxFuture<'a, Result<Identity, Decline>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let answer = match self.says {
            Says::Alice => Ok(Identity::of_user("alice")),
            Says::NotMine => Err(Decline::NotMine),
            Says::Rejected => Err(Decline::rejected(Reason::UserDisabled, "switched off")),
            Says::Unavailable => Err(Decline::Unavailable("the directory is down".into())),
            Says::Overloaded => Err(Decline::Unavailable(Overloaded.into())),
            Says::Panics => panic!("hunter2"),
            Says::Hangs => return std::future::pending().boxed(),
        };
        std::future::ready(answer).boxed()
    }
}

const TIMEOUT: Duration = Duration::from_secs(1);

/// A gate with these authenticators, and how often each was asked.
fn chain(says: &[Says]) -> (Bench, Vec<Arc<AtomicUsize>>) {
    let asked: Vec<_> = says.iter().map(|_| Arc::<AtomicUsize>::default()).collect();
    let link = |(place, says): (usize, &Says)| Link {
        name: format!("step{place}").into(),
        authenticator: Arc::new(Fake { says: *says, asked: Arc::clone(&asked[place]) }),
        timeout: TIMEOUT,
        required: true,
    };
    let links: Vec<_> = says.iter().enumerate().map(link).collect();
    let bench = Bench::new(|builder| builder.chain(Chain::new(links), policy(says.len())));
    (bench, asked)
}

/// Whoever is identified may publish `a` in `APP`.
fn policy(authenticators: usize) -> Arc<Policy> {
    let role = RoleSettings {
        publish: callgate::policy::settings::SideSettings {
            allow: vec!["a".to_owned()],
            deny: Vec::new(),
        },
        ..RoleSettings::default()
    };
    let binding = BindingSettings {
        authenticator: callgate::policy::settings::AuthenticatorSelector::Every,
        account: Some("APP".to_owned()),
        roles: vec!["writer".to_owned()],
        ..BindingSettings::default()
    };
    let named = |n| AuthenticatorPolicy { name: format!("step{n}"), ..Default::default() };
    let settings = PolicySettings {
        roles: [("writer".to_owned(), role)].into(),
        bindings: vec![binding],
        authenticators: (0..authenticators).map(named).collect(),
        ..PolicySettings::default()
    };
    Arc::new(Policy::build(settings).unwrap())
}

fn counts(asked: &[Arc<AtomicUsize>]) -> Vec<usize> {
    asked.iter().map(|asked| asked.load(Ordering::Relaxed)).collect()
}

#[tokio::test]
async fn not_mine_continues_with_the_next_authenticator() {
    let (bench, asked) = chain(&[Says::NotMine, Says::NotMine, Says::Alice, Says::Rejected]);
    let user = bench.admitted(bench.alice()).await;
    assert_eq!((&user["name"], &user["aud"]), (&"alice".into(), &"APP".into()));
    assert_eq!(counts(&asked), [1, 1, 1, 0]);
}

#[tokio::test(start_paused = true)]
async fn outcome_other_than_not_mine_is_final() {
    let cases = [
        (Says::Rejected, Reason::UserDisabled),
        (Says::Unavailable, Reason::BackendUnavailable),
        (Says::Overloaded, Reason::Overloaded),
        (Says::Panics, Reason::BackendUnavailable),
        (Says::Hangs, Reason::BackendUnavailable),
    ];
    for (says, reason) in cases {
        let (bench, asked) = chain(&[Says::NotMine, says, Says::Alice]);
        let decision = bench.refused(bench.alice(), reason).await;
        assert_eq!(counts(&asked), [1, 1, 0], "{says:?}: no credential travels on");
        assert_eq!(decision.authenticator.as_deref(), Some("step1"));
        assert_eq!(decision.user.as_deref(), Some("alice"), "the name that was tried");
        assert!(!decision.detail.contains("hunter2"), "{}", decision.detail);
    }
}

#[tokio::test(start_paused = true)]
async fn authenticator_timeout_is_capped_by_request_deadline() {
    let (bench, _) = chain(&[Says::Hangs]);
    for (patience, expected, told) in
        [(1, 900, "no answer before the server's deadline"), (10, 1_000, "no answer within 1s")]
    {
        let began = Instant::now();
        let request = bench.alice().auth_timeout(patience);
        let decision = bench.refused(request, Reason::BackendUnavailable).await;
        assert_eq!(decision.detail, told);
        let expected = Duration::from_millis(expected);
        assert!(began.elapsed() >= expected, "{:?}", began.elapsed());
        assert!(began.elapsed() < expected + Duration::from_millis(50), "{:?}", began.elapsed());
    }
}

#[tokio::test]
async fn unclaimed_credential_is_refused_by_its_kind() {
    let (bench, asked) = chain(&[Says::NotMine, Says::NotMine]);
    let cases = [
        (bench.alice(), Reason::UnknownUser),
        (bench.request().token("opaque"), Reason::BadToken),
        (bench.request().nkey(&Nkey::user()), Reason::BadSignature),
        (bench.request().verified_chain(&["leaf"]), Reason::UnknownUser),
    ];
    for (n, (request, reason)) in cases.into_iter().enumerate() {
        let decision = bench.refused(request, reason).await;
        assert_eq!(decision.authenticator, None);
        assert_eq!(counts(&asked), [n + 1, n + 1]);
    }
}

/// Takes tokens of this issuer; none of the tests has one.
#[derive(Debug)]
struct TokensOf(&'static str);

impl Authenticator for TokensOf {
    fn authenticate<'a>(
        &'a self,
        _request: &'a AuthRequest,
    ) -> BoxFuture<'a, Result<Identity, Decline>> {
        std::future::ready(Err(Decline::NotMine)).boxed()
    }

    fn issuer(&self) -> Option<String> {
        Some(self.0.to_owned())
    }
}

#[tokio::test]
async fn unclaimed_token_error_names_its_issuer() {
    let claims = |claims: &str| {
        let encode = |text: &str| BASE64URL_NOPAD.encode(text.as_bytes());
        format!("{}.{}.AAAA", encode(r#"{"alg":"ES256"}"#), encode(claims))
    };
    let of = |issuer: &str| claims(&json!({ "iss": issuer }).to_string());
    let unknown = "no authenticator accepts this token";
    let all = ["https://a.example/", "https://b.example/x", "https://c.example", "d"];
    for (known, token, told) in [
        (
            &all[..1],
            of("https://a.example"),
            ": its issuer is `https://a.example`, accepted are \
            `https://a.example/` (`step0`)",
        ),
        (
            &all,
            of("http://B.example/x"),
            ": its issuer is `http://B.example/x`, accepted are \
            `https://b.example/x` (`step1`)",
        ),
        (
            &all[1..3],
            of("https://e.example"),
            ": its issuer is `https://e.example`, accepted are \
            `https://b.example/x` (`step0`), `https://c.example` (`step1`)",
        ),
        (
            &all,
            of("e"),
            ": its issuer is `e`, accepted are `https://a.example/` (`step0`), \
            `https://b.example/x` (`step1`), `https://c.example` (`step2`) and others",
        ),
        (&[], of("e"), ": its issuer is `e`"),
        // It comes from outside: short, and in one line.
        (&[], of("a\n\u{202e}`b"), ": its issuer is `a\\n\\u{202e}`b`"),
        (&[], of(&"x".repeat(101)), &format!(": its issuer is `{}…`", "x".repeat(100))),
        // What names nobody, or cannot be read in one way only.
        (&all, claims("{}"), ""),
        (&all, claims(r#"{"iss":["https://a.example"]}"#), ""),
        (&all, claims(r#"{"iss":"a","iss":"b"}"#), ""),
        (&all, claims("no json"), ""),
        (&all, "opaque".to_owned(), ""),
    ] {
        let link = |(place, issuer): (usize, &&'static str)| Link {
            name: format!("step{place}").into(),
            authenticator: Arc::new(TokensOf(issuer)),
            timeout: TIMEOUT,
            required: true,
        };
        let links: Vec<_> = known.iter().enumerate().map(link).collect();
        let bench = Bench::new(|builder| builder.chain(Chain::new(links), policy(known.len())));
        let decision = bench.refused(bench.request().token(&token), Reason::BadToken).await;
        assert_eq!(decision.detail, format!("{unknown}{told}"));
    }
}

#[tokio::test]
async fn empty_chain_knows_no_users() {
    let (bench, _) = chain(&[]);
    bench.refused(bench.alice(), Reason::UnknownUser).await;
}

#[tokio::test]
async fn maximum_timeout_does_not_overflow() {
    let asked = Arc::<AtomicUsize>::default();
    let link = Link {
        name: "step0".into(),
        authenticator: Arc::new(Fake { says: Says::Alice, asked }),
        timeout: Duration::MAX,
        required: true,
    };
    let bench = Bench::new(|builder| builder.chain(Chain::new(vec![link]), policy(1)));
    bench.admitted(bench.alice()).await;
}

/// `explain` goes the same way, tells every step, and records nothing.
#[tokio::test]
async fn explanation_lists_each_authenticator_and_its_outcome() {
    use crate::support::NOW;
    use callgate::clock::UnixTime;
    let (bench, _) = chain(&[Says::NotMine, Says::Alice, Says::Rejected]);
    let request = bench.alice().build();
    let now = UnixTime::from_seconds(NOW);
    let explained = bench.gate.explain(&request.payload, None, now).await.unwrap();
    assert_eq!(explained.result.unwrap().account(), "APP");
    let asked = explained.steps.unwrap().tried;
    let asked: Vec<_> = asked.iter().map(|(name, said)| format!("{name}: {said}")).collect();
    assert_eq!(asked, ["step0: not mine", "step1: identified `alice`"]);
    assert!(bench.take_decisions().is_empty());
}
