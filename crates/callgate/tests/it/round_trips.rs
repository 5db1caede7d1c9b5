//! Round trips between our implementation and an independent one. User JWTs are interpreted with a second
//! implementation of nats-server's permission rules.

use std::sync::{Arc, Mutex};

use callgate::{
    User,
    keys::{AccountSigner, CurveKey as LibraryCurve, Seed, Signer},
    permissions::{Permissions, Rules},
    request::{AuthRequest, Credential},
    secret::Secret,
    subject::{SubjectPattern, SubscribePattern, is_invisible},
};
use callgate_testkit::{CurveKey, Nkey, RequestBuilder};
use proptest::{collection::vec, prelude::*};
use serde_json::Value;

use crate::support::{Bench, NOW, app_user, xkey};

fn run<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn token() -> impl Strategy<Value = String> {
    prop_oneof![3 => "[ab]", 1 => Just("*".to_owned()), 1 => "[A-Za-z0-9_-]{1,12}"]
}

fn pattern() -> impl Strategy<Value = String> {
    (vec(token(), 1..4), any::<bool>()).prop_map(|(mut tokens, full)| {
        tokens.extend(full.then(|| ">".to_owned()));
        tokens.join(".")
    })
}

fn subject() -> impl Strategy<Value = String> {
    vec("[ab]", 1..5).prop_map(|tokens| tokens.join("."))
}

/// A simple version of nats-server's subject matching (sublist.go).
fn matches(pattern: &str, subject: &str) -> bool {
    let subject: Vec<&str> = subject.split('.').collect();
    let mut length = 0;
    for (at, token) in pattern.split('.').enumerate() {
        length += 1;
        match token {
            ">" => return subject.len() > at,
            "*" if at < subject.len() => {}
            literal if subject.get(at) == Some(&literal) => {}
            _ => return false,
        }
    }
    length == subject.len()
}

/// True if nats-server lets a client with these rules publish to `subject` (client.go, `pubAllowed`). An
/// empty allow list allows everything.
fn server_allows(side: &Value, subject: &str) -> bool {
    let list = |name: &str| side[name].as_array().cloned().unwrap_or_default();
    let any = |list: &[Value]| list.iter().any(|rule| matches(rule.as_str().unwrap(), subject));
    let (allow, deny) = (list("allow"), list("deny"));
    (allow.is_empty() || any(&allow)) && !any(&deny)
}

fn rules<T>(allow: &[String], deny: &[String]) -> Rules<T>
where
    T: std::str::FromStr<Err: std::fmt::Debug>,
{
    let parsed = |list: &[String]| list.iter().map(|text| text.parse().unwrap()).collect();
    Rules { allow: parsed(allow), deny: parsed(deny) }
}

/// The user JWT claims for a user with these rules for publish and subscribe.
fn minted(allow: &[String], deny: &[String]) -> Value {
    let user = User::in_account("APP").with_permissions(Permissions {
        publish: rules::<SubjectPattern>(allow, deny),
        subscribe: rules::<SubscribePattern>(allow, deny),
        responses: None,
    });
    let bench = Bench::giving(user);
    run(bench.admitted(bench.alice()))
}

fn texts(list: &Value) -> Vec<String> {
    let list = list.as_array().cloned().unwrap_or_default();
    list.iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn request_fields_round_trip(
        // User names with invisible characters are refused.
        user in "\\PC{1,40}".prop_filter("seen", |user| !user.contains(is_invisible)),
        password in "\\PC{1,40}",
        host in "[0-9]{1,3}\\.[0-9]{1,3}\\.0\\.1",
        name in "\\PC{0,40}",
        cid in any::<u64>(),
        tags in vec("[a-z:]{1,10}", 0..4),
        sealed in any::<bool>(),
    ) {
        let seen = Arc::<Mutex<Option<Arc<AuthRequest>>>>::default();
        let (keep, key) = (Arc::clone(&seen), CurveKey::generate());
        let bench = Bench::new(|builder| {
            builder.xkey(xkey(&key)).insecure_allow_plaintext().authorize(move |request| {
                *keep.lock().unwrap() = Some(request);
                async { Ok(app_user()) }
            })
        });
        let request = RequestBuilder::new(&bench.issuer.public(), NOW)
            .password(&user, &password)
            .host(&host)
            .client("name", name.clone())
            .client("id", cid)
            .server_id("tags", tags.clone());
        let request = if sealed { request.sealed_for(&key.public()) } else { request };
        run(bench.admitted(request));
        let read = seen.lock().unwrap().take().unwrap();
        let Credential::Password { user: found, password: secret } = read.credential() else {
            panic!("{read:?}")
        };
        prop_assert_eq!((found, secret.expose()), (&user, password.as_str()));
        let (client, server) = (read.client(), read.server());
        prop_assert_eq!((&client.host, &client.name, client.id), (&host, &name, cid));
        prop_assert_eq!(&server.tags, &tags);
    }

    #[test]
    fn user_jwt_grants_exactly_the_configured_permissions(
        allow in vec(pattern(), 0..5),
        deny in vec(pattern(), 0..4),
        subject in subject(),
    ) {
        let user = minted(&allow, &deny);
        for side in ["pub", "sub"] {
            let (allowed, denied) = (texts(&user["nats"][side]["allow"]), texts(&user["nats"][side]["deny"]));
            if allow.is_empty() {
                prop_assert!(allowed.is_empty() && denied.contains(&">".to_owned()), "{user}");
            } else {
                prop_assert!(allow.iter().all(|rule| allowed.contains(rule)), "{allowed:?}");
                prop_assert!(allowed.iter().all(|rule| allow.contains(rule)), "{allowed:?}");
                prop_assert!(deny.iter().all(|rule| denied.contains(rule)), "{denied:?}");
            }
            let granted = allow.iter().any(|rule| matches(rule, &subject))
                && !deny.iter().any(|rule| matches(rule, &subject));
            prop_assert_eq!(server_allows(&user["nats"][side], &subject), granted, "{}", user);
        }
    }

    #[test]
    fn additional_deny_never_grants_access(
        allow in vec(pattern(), 0..4),
        deny in vec(pattern(), 0..3),
        more in pattern(),
        subjects in vec(subject(), 1..6),
    ) {
        let with_more: Vec<String> = deny.iter().cloned().chain([more]).collect();
        let (before, after) = (minted(&allow, &deny), minted(&allow, &with_more));
        for (side, subject) in subjects.iter().flat_map(|subject| [("pub", subject), ("sub", subject)]) {
            let allows = |user: &Value| server_allows(&user["nats"][side], subject);
            prop_assert!(!allows(&after) || allows(&before), "{side} {subject}: {before} {after}");
        }
    }

    #[test]
    fn sealed_messages_round_trip_in_both_directions(message in vec(any::<u8>(), 0..3_000)) {
        let (theirs, ours) = (CurveKey::generate(), LibraryCurve::generate().unwrap());
        let shared = ours.shared_with(&theirs.public().parse().unwrap()).unwrap();
        let ours_public = ours.public_key().to_string();
        let opened = theirs.open(&shared.seal(&message).unwrap(), &ours_public);
        prop_assert_eq!(opened.as_deref(), Some(message.as_slice()));
        let opened = shared.open(&theirs.seal(&message, &ours_public)).unwrap();
        prop_assert_eq!(opened.as_slice(), message.as_slice());
    }

    #[test]
    fn seed_is_found_in_surrounding_text(
        before in "[ -~]{0,30}\n",
        after in "\n[ -~]{0,30}",
        message in vec(any::<u8>(), 0..200),
    ) {
        let key = Nkey::account();
        let text = format!("{before}{}{after}", key.seed());
        prop_assume!(!before.contains("SA") && !after.contains("SA"));
        prop_assert!(Seed::find(&text).is_ok());
        let signer = AccountSigner::from_seed(&Secret::new(key.seed())).unwrap();
        let public = key.public();
        prop_assert_eq!(signer.public_key().as_str(), public.as_str());
        // Ed25519 signatures are deterministic, so both implementations must agree.
        prop_assert_eq!(signer.sign(&message).unwrap().to_vec(), key.sign(&message));
    }
}
