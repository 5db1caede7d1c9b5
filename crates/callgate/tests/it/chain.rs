//! The chain tries authenticators in order; only "not mine" continues with the next one.

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
    record::{Cause, Reason},
    request::AuthRequest,
};
use callgate_testkit::Nkey;
use data_encoding::BASE64URL_NOPAD;
use futures_util::{FutureExt, future::BoxFuture};
use serde_json::json;
use tokio::time::Instant;

use crate::support::Bench;

#[derive(Debug, Clone, Copy)]
enum Behavior {
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
    behavior: Behavior,
    calls: Arc<AtomicUsize>,
}

impl Authenticator for Fake {
    fn authenticate<'a>(
        &'a self,
        _request: &'a AuthRequest,
    ) -> BoxFuture<'a, Result<Identity, Decline>> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let answer = match self.behavior {
            Behavior::Alice => Ok(Identity::of_user("alice")),
            Behavior::NotMine => Err(Decline::NotMine),
            Behavior::Rejected => Err(Decline::rejected(Reason::UserDisabled, "disabled")),
            Behavior::Unavailable => Err(Decline::Unavailable("the directory is down".into())),
            Behavior::Overloaded => Err(Decline::Unavailable(Overloaded.into())),
            Behavior::Panics => panic!("hunter2"),
            Behavior::Hangs => return std::future::pending().boxed(),
        };
        std::future::ready(answer).boxed()
    }
}

const TIMEOUT: Duration = Duration::from_secs(1);

/// A gate with these authenticators, and the number of calls to each.
fn chain(behaviors: &[Behavior]) -> (Bench, Vec<Arc<AtomicUsize>>) {
    let calls: Vec<_> = behaviors.iter().map(|_| Arc::<AtomicUsize>::default()).collect();
    let fake = |(behavior, calls): (&Behavior, &Arc<AtomicUsize>)| {
        Arc::new(Fake { behavior: *behavior, calls: Arc::clone(calls) }) as _
    };
    (chain_of(behaviors.iter().zip(&calls).map(fake).collect()), calls)
}

/// A chain of authenticators named `step0`, `step1` and so on.
fn chain_of(authenticators: Vec<Arc<dyn Authenticator>>) -> Bench {
    let count = authenticators.len();
    let link = |(position, authenticator)| Link {
        name: format!("step{position}").into(),
        authenticator,
        timeout: TIMEOUT,
        required: true,
    };
    let links = authenticators.into_iter().enumerate().map(link).collect();
    Bench::new(|builder| builder.chain(Chain::new(links), policy(count)))
}

/// Every identified user may publish `a` in `APP`.
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

fn counts(calls: &[Arc<AtomicUsize>]) -> Vec<usize> {
    calls.iter().map(|calls| calls.load(Ordering::Relaxed)).collect()
}

#[tokio::test]
async fn not_mine_continues_with_the_next_authenticator() {
    let (bench, calls) =
        chain(&[Behavior::NotMine, Behavior::NotMine, Behavior::Alice, Behavior::Rejected]);
    let user = bench.admitted(bench.alice()).await;
    assert_eq!((&user["name"], &user["aud"]), (&"alice".into(), &"APP".into()));
    assert_eq!(counts(&calls), [1, 1, 1, 0]);
}

#[tokio::test(start_paused = true)]
async fn outcome_other_than_not_mine_is_final() {
    let cases = [
        (Behavior::Rejected, Reason::UserDisabled),
        (Behavior::Unavailable, Reason::BackendUnavailable),
        (Behavior::Overloaded, Reason::Overloaded),
        (Behavior::Panics, Reason::BackendUnavailable),
        (Behavior::Hangs, Reason::BackendUnavailable),
    ];
    for (behavior, reason) in cases {
        let (bench, calls) = chain(&[Behavior::NotMine, behavior, Behavior::Alice]);
        let decision = bench.refused(bench.alice(), reason).await;
        assert_eq!(counts(&calls), [1, 1, 0], "{behavior:?}: the credential is not passed on");
        assert_eq!(decision.authenticator.as_deref(), Some("step1"));
        assert_eq!(decision.user.as_deref(), Some("alice"), "the attempted user name");
        assert!(!decision.detail.contains("hunter2"), "{}", decision.detail);
    }
}

#[tokio::test(start_paused = true)]
async fn authenticator_timeout_is_capped_by_request_deadline() {
    let (bench, _) = chain(&[Behavior::Hangs]);
    for (timeout, expected, detail) in
        [(1, 900, "no answer before the server's deadline"), (10, 1_000, "no answer within 1s")]
    {
        let began = Instant::now();
        let request = bench.alice().auth_timeout(timeout);
        let decision = bench.refused(request, Reason::BackendUnavailable).await;
        assert_eq!(decision.detail, detail);
        let expected = Duration::from_millis(expected);
        assert!(began.elapsed() >= expected, "{:?}", began.elapsed());
        assert!(began.elapsed() < expected + Duration::from_millis(50), "{:?}", began.elapsed());
    }
}

#[tokio::test]
async fn unclaimed_credential_is_refused_by_its_kind() {
    let (bench, calls) = chain(&[Behavior::NotMine, Behavior::NotMine]);
    let cases = [
        (bench.alice(), Reason::UnknownUser),
        (bench.request().token("opaque"), Reason::BadToken),
        (bench.request().nkey(&Nkey::user()), Reason::BadSignature),
        (bench.request().verified_chain(&["leaf"]), Reason::UnknownUser),
    ];
    for (n, (request, reason)) in cases.into_iter().enumerate() {
        let decision = bench.refused(request, reason).await;
        assert_eq!(decision.authenticator, None);
        assert_eq!(counts(&calls), [n + 1, n + 1]);
    }
}

/// An authenticator for this issuer that accepts no token.
#[derive(Debug, Default)]
struct TokensOf {
    issuer: &'static str,
    calls: AtomicUsize,
}

impl Authenticator for TokensOf {
    fn authenticate<'a>(
        &'a self,
        _request: &'a AuthRequest,
    ) -> BoxFuture<'a, Result<Identity, Decline>> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        std::future::ready(Err(Decline::NotMine)).boxed()
    }

    fn only_issuer(&self) -> Option<&str> {
        Some(self.issuer)
    }
}

fn token_with(claims: &str) -> String {
    let encode = |text: &str| BASE64URL_NOPAD.encode(text.as_bytes());
    format!("{}.{}.AAAA", encode(r#"{"alg":"ES256"}"#), encode(claims))
}

#[tokio::test]
async fn token_is_shown_only_to_authenticators_of_its_issuer() {
    let of = |issuer| Arc::new(TokensOf { issuer, ..TokensOf::default() });
    let tokens = [of("https://a.example"), of("https://b.example"), of("https://b.example")];
    let any = Arc::new(Fake { behavior: Behavior::NotMine, calls: Arc::default() });
    let mut authenticators: Vec<Arc<dyn Authenticator>> =
        tokens.iter().map(|it| Arc::clone(it) as _).collect();
    authenticators.push(Arc::clone(&any) as _);
    let bench = chain_of(authenticators);
    let asked = || {
        let of_tokens = tokens.iter().map(|it| it.calls.swap(0, Ordering::Relaxed));
        of_tokens.chain([any.calls.swap(0, Ordering::Relaxed)]).collect::<Vec<_>>()
    };
    for (token, expected) in [
        (token_with(r#"{"iss":"https://a.example"}"#), [1, 0, 0, 1]),
        (token_with(r#"{"iss":"https://b.example"}"#), [0, 1, 1, 1]),
        (token_with(r#"{"iss":"https://b.example/"}"#), [0, 0, 0, 1]),
        // A token whose issuer cannot be read is shown to all.
        (token_with("{}"), [1, 1, 1, 1]),
        (token_with(r#"{"iss":["https://a.example"]}"#), [1, 1, 1, 1]),
        (token_with(r#"{"iss":"https://a.example","iss":"https://b.example"}"#), [1, 1, 1, 1]),
        ("opaque".to_owned(), [1, 1, 1, 1]),
    ] {
        bench.refused(bench.request().token(&token), Reason::BadToken).await;
        assert_eq!(asked(), expected, "{token}");
    }
}

#[tokio::test]
async fn unclaimed_token_error_names_its_issuer() {
    let of = |issuer: &str| token_with(&json!({ "iss": issuer }).to_string());
    let unknown = "no authenticator accepts this token";
    let all = ["https://a.example/", "https://b.example/x", "https://c.example", "d"];
    let service = Nkey::user().public();
    let unreadable = ": it is not a readable JWT";
    for (known, token, suffix, cause) in [
        (
            &all[..1],
            of("https://a.example"),
            ": its issuer is `https://a.example`, accepted are \
            `https://a.example/` (`step0`)",
            Cause::Issuer,
        ),
        (
            &all,
            of("http://B.example/x"),
            ": its issuer is `http://B.example/x`, accepted are \
            `https://b.example/x` (`step1`)",
            Cause::Issuer,
        ),
        (
            &all[1..3],
            of("https://e.example"),
            ": its issuer is `https://e.example`, accepted are \
            `https://b.example/x` (`step0`), `https://c.example` (`step1`)",
            Cause::Issuer,
        ),
        (
            &all,
            of("e"),
            ": its issuer is `e`, accepted are `https://a.example/` (`step0`), \
            `https://b.example/x` (`step1`), `https://c.example` (`step2`) and others",
            Cause::Issuer,
        ),
        (&[], of("e"), ": its issuer is `e`", Cause::Issuer),
        // Untrusted input is escaped and truncated.
        (&[], of("a\n\u{202e}`b"), ": its issuer is `a\\n\\u{202e}`b`", Cause::Issuer),
        (
            &[],
            of(&"x".repeat(101)),
            &format!(": its issuer is `{}…`", "x".repeat(100)),
            Cause::Issuer,
        ),
        // The issuer is missing, ambiguous or unreadable.
        (&all, token_with("{}"), ": it names no issuer (`iss`)", Cause::Issuer),
        (
            &all,
            token_with(r#"{"iss":["https://a.example"]}"#),
            ": its `iss` is not a string",
            Cause::Issuer,
        ),
        (&all, token_with(r#"{"iss":"a","iss":"b"}"#), unreadable, Cause::Malformed),
        (&all, token_with("no json"), unreadable, Cause::Malformed),
        (&all, "opaque".to_owned(), unreadable, Cause::Malformed),
        // The key of a service is not compared with the issuers of other authenticators.
        (
            &all,
            of(&service),
            &format!(
                ": its issuer is the nkey `{service}`, which is not registered as the key of a service"
            ),
            Cause::Issuer,
        ),
    ] {
        let of = |issuer: &&'static str| Arc::new(TokensOf { issuer, ..TokensOf::default() }) as _;
        let bench = chain_of(known.iter().map(of).collect());
        let decision = bench.refused(bench.request().token(&token), Reason::BadToken).await;
        assert_eq!(decision.detail, format!("{unknown}{suffix}"));
        assert_eq!(decision.cause, Some(cause), "{suffix}");
    }
}

#[tokio::test]
async fn empty_chain_knows_no_users() {
    let (bench, _) = chain(&[]);
    bench.refused(bench.alice(), Reason::UnknownUser).await;
}

#[tokio::test]
async fn maximum_timeout_does_not_overflow() {
    let calls = Arc::<AtomicUsize>::default();
    let link = Link {
        name: "step0".into(),
        authenticator: Arc::new(Fake { behavior: Behavior::Alice, calls }),
        timeout: Duration::MAX,
        required: true,
    };
    let bench = Bench::new(|builder| builder.chain(Chain::new(vec![link]), policy(1)));
    bench.admitted(bench.alice()).await;
}

/// `explain` uses the same code path, lists every step, and records no decision.
#[tokio::test]
async fn explanation_lists_each_authenticator_and_its_outcome() {
    use crate::support::NOW;
    use callgate::clock::UnixTime;
    let (bench, _) = chain(&[Behavior::NotMine, Behavior::Alice, Behavior::Rejected]);
    let request = bench.alice().build();
    let now = UnixTime::from_seconds(NOW);
    let explained = bench.gate.explain(&request.payload, None, now).await.unwrap();
    assert_eq!(explained.result.unwrap().account(), "APP");
    let asked = explained.steps.unwrap().tried;
    let asked: Vec<_> = asked.iter().map(|(name, said)| format!("{name}: {said}")).collect();
    assert_eq!(asked, ["step0: not mine", "step1: identified `alice`"]);
    assert!(bench.take_decisions().is_empty());
}
