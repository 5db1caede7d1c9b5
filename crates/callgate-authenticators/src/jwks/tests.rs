use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::future::{BoxFuture, join_all};
use serde_json::{Value, json};
use tokio::time::{advance, sleep};

use super::*;
use crate::{
    jws::Algorithm,
    test_issuer::{TestKey, key_set},
};

mod file;
mod saved;

const ED: Algorithm = Algorithm::EdDsa;

fn key(id: &str) -> TestKey {
    TestKey::new(id, ED)
}

fn parse(keys: &Value) -> Result<KeySet, KeySetError> {
    KeySet::parse(json!({ "keys": keys }).to_string().as_bytes(), &Algorithm::ALL)
}

fn with(mut jwk: Value, changes: Value) -> Value {
    for (name, value) in changes.as_object().unwrap() {
        jwk[name] = value.clone();
    }
    jwk
}

#[test]
fn duplicate_key_ids_are_refused() {
    let (a, b) = (key("same"), TestKey::new("same", Algorithm::Es256));
    let expected = KeySetError::DuplicateId("same".into());
    assert_eq!(parse(&json!([a.jwk(), b.jwk()])).unwrap_err(), expected);
    // An unsafe key was meant for signing too.
    let private = with(b.jwk(), json!({"d": "AAAA"}));
    assert_eq!(parse(&json!([a.jwk(), private])).unwrap_err(), expected);
    // It does not matter why the other key is left out.
    for other in [
        json!({"kty": "oct", "k": "AAAA", "kid": "same"}),
        json!({"kty": "unheard-of", "kid": "same"}),
        json!({"kid": "same"}),
        with(b.jwk(), json!({"crv": "P-521"})),
        with(b.jwk(), json!({"alg": "HS256"})),
        with(b.jwk(), json!({"key_ops": ["encrypt"]})),
        with(b.jwk(), json!({"use": "other"})),
        with(b.jwk(), json!({"use": 1})),
    ] {
        assert_eq!(parse(&json!([a.jwk(), other])).unwrap_err(), expected, "{other}");
        assert_eq!(parse(&json!([other, a.jwk()])).unwrap_err(), expected, "{other}");
    }
    let set = json!({"keys": [a.jwk(), b.jwk()]}).to_string();
    assert_eq!(KeySet::parse(set.as_bytes(), &[ED]).unwrap_err(), expected);
    // Keys for encryption do not count.
    let encrypts = with(b.jwk(), json!({"use": "enc"}));
    assert_eq!(parse(&json!([a.jwk(), encrypts])).unwrap().len(), 1);
}

#[test]
fn identical_key_may_be_listed_twice() {
    let (rsa, other) = (TestKey::new("same", Algorithm::Rs256), key("other"));
    for again in [
        rsa.jwk(),
        with(rsa.jwk(), json!({"x5t": "AAAA"})),
        with(rsa.jwk(), json!({"key_ops": ["verify"]})),
        with(rsa.jwk(), json!({"use": null})),
    ] {
        let set = parse(&json!([rsa.jwk(), other.jwk(), again])).unwrap();
        assert_eq!((set.len(), set.remarks()), (2, &[][..]), "{again}");
        assert!(set.find(Some("same"), Algorithm::Rs256).is_ok());
        assert!(set.find(None, Algorithm::Rs256).is_ok());
    }
    let unnamed = with(rsa.jwk(), json!({"kid": null}));
    let set = parse(&json!([unnamed, unnamed])).unwrap();
    assert!(set.find(None, Algorithm::Rs256).is_ok());
    // A key that is left out may be repeated too.
    let symmetric = json!({"kty": "oct", "k": "AAAA", "kid": "hmac"});
    assert_eq!(parse(&json!([rsa.jwk(), symmetric, symmetric])).unwrap().len(), 1);
    let private = with(rsa.jwk(), json!({"d": "AAAA"}));
    assert!(parse(&json!([rsa.jwk(), private])).is_err());
    assert!(parse(&json!([private, rsa.jwk()])).is_err());
}

#[test]
fn padded_key_numbers_are_accepted() {
    for algorithm in [Algorithm::Rs256, Algorithm::Es256, Algorithm::Es384, ED] {
        let key = TestKey::new("a", algorithm);
        let mut jwk = key.jwk();
        for name in ["n", "e", "x", "y"] {
            let Some(text) = jwk[name].as_str().map(str::to_owned) else { continue };
            jwk[name] = json!(format!("{text}{}", "=".repeat((4 - text.len() % 4) % 4)));
        }
        let set = parse(&json!([key.jwk(), jwk])).unwrap();
        let found = set.find(Some("a"), algorithm).unwrap();
        assert!(found.verifies(algorithm, b"x", &key.sign(algorithm, b"x")), "{algorithm:?}");
    }
    let wrong = with(key("a").jwk(), json!({"x": "AA=="}));
    assert!(parse(&json!([wrong])).is_err());
}

#[test]
fn null_members_of_a_key_are_absent() {
    let nulls = json!({"use": null, "alg": null, "key_ops": null, "kid": null, "d": null, "k": null,
        "x5c": null});
    for algorithm in [Algorithm::Rs256, Algorithm::Es256, ED] {
        let key = TestKey::new("a", algorithm);
        let set = parse(&json!([with(key.jwk(), nulls.clone())])).unwrap();
        assert_eq!((set.len(), set.remarks()), (1, &[][..]));
        assert!(set.find(None, algorithm).is_ok());
    }
    for required in ["kty", "crv", "x"] {
        let set = parse(&json!([with(key("a").jwk(), json!({required: null}))]));
        assert!(matches!(set, Err(KeySetError::Nothing(_))), "{required}");
    }
}

#[test]
fn malformed_key_sets_are_refused() {
    let deep = format!(r#"{{"keys":[{}]}}"#, "[".repeat(1000));
    for text in [
        "",
        "null",
        "[]",
        "{}",
        r#"{"keys":{}}"#,
        r#"{"keys":[]}"#,
        r#"{"keys":[1]}"#,
        r#"{"keys":[],"keys":[]}"#,
        r#"{"keys":[{"kty":"oct","k":"AAAA"}]}"#,
        "<html>",
        &deep,
    ] {
        assert!(KeySet::parse(text.as_bytes(), &Algorithm::ALL).is_err(), "{text:.40}");
    }
    let many: Vec<_> = (0..257).map(|n| json!({"kty": "x", "kid": n.to_string()})).collect();
    assert_eq!(parse(&json!(many)).unwrap_err(), KeySetError::TooMany);
}

#[test]
fn unusable_keys_are_left_out_with_a_remark() {
    let good = key("good");
    let rsa = || TestKey::new("other", Algorithm::Rs256).jwk();
    let ec = || TestKey::new("other", Algorithm::Es256).jwk();
    for other in [
        json!({"kty": "oct", "k": "AAAA", "kid": "other"}),
        json!({"kty": "unheard-of", "kid": "other"}),
        json!({"kid": "other"}),
        json!({"kty": 1}),
        with(rsa(), json!({"use": "enc"})),
        with(rsa(), json!({"use": 1})),
        with(rsa(), json!({"key_ops": ["encrypt"]})),
        with(rsa(), json!({"key_ops": "verify"})),
        with(rsa(), json!({"alg": "HS256"})),
        with(rsa(), json!({"alg": "none"})),
        with(rsa(), json!({"alg": "RSA-OAEP"})),
        with(rsa(), json!({"alg": "ES256"})),
        with(rsa(), json!({"d": "AAAA"})),
        with(rsa(), json!({"e": "AQ"})),
        with(rsa(), json!({"n": "AQAB"})),
        with(rsa(), json!({"n": "AQAB="})),
        with(rsa(), json!({"kid": "k".repeat(257)})),
        with(rsa(), json!({"kid": 1})),
        with(ec(), json!({"crv": "P-384"})),
        with(ec(), json!({"crv": "P-521"})),
        with(ec(), json!({"crv": "secp256k1"})),
        with(ec(), json!({"y": ec()["x"]})),
        with(ec(), json!({"kty": "RSA"})),
    ] {
        let set = parse(&json!([good.jwk(), other])).unwrap();
        assert_eq!((set.len(), set.remarks().len()), (1, 1), "{other}");
    }
}

#[test]
fn issuer_and_key_must_allow_the_algorithm() {
    let rsa = TestKey::new("rsa", Algorithm::Rs256);
    let set = parse(&json!([rsa.jwk()])).unwrap();
    assert!(set.find(Some("rsa"), Algorithm::Ps256).is_ok());
    for other in [Algorithm::Es256, Algorithm::EdDsa] {
        assert_eq!(set.find(Some("rsa"), other).unwrap_err(), NoKey::WrongAlgorithm);
    }
    let bound = parse(&json!([with(rsa.jwk(), json!({"alg": "RS256"}))])).unwrap();
    assert_eq!(bound.find(Some("rsa"), Algorithm::Ps256).unwrap_err(), NoKey::WrongAlgorithm);
    let text = json!({"keys": [rsa.jwk()]}).to_string();
    let only = KeySet::parse(text.as_bytes(), &[Algorithm::Rs256]).unwrap();
    assert_eq!(only.find(Some("rsa"), Algorithm::Rs512).unwrap_err(), NoKey::WrongAlgorithm);
    assert!(KeySet::parse(text.as_bytes(), &[Algorithm::Es256]).is_err());
}

#[test]
fn token_without_key_id_needs_exactly_one_matching_key() {
    let (a, b) = (key("a"), key("b"));
    let rsa = TestKey::new("rsa", Algorithm::Rs256);
    let one = parse(&json!([a.jwk(), rsa.jwk()])).unwrap();
    assert!(one.find(None, ED).is_ok());
    assert_eq!(one.find(None, Algorithm::Es256).unwrap_err(), NoKey::Unknown);
    let two = parse(&json!([a.jwk(), b.jwk()])).unwrap();
    assert_eq!(two.find(None, ED).unwrap_err(), NoKey::Ambiguous);
}

/// A source with scripted answers, of which the last one stays.
#[derive(Debug, Default)]
struct Script {
    answers: Mutex<VecDeque<Result<String, &'static str>>>,
    fetches: AtomicUsize,
    slow: AtomicBool,
}

impl Script {
    fn of(answers: &[Result<String, &'static str>]) -> Arc<Self> {
        let script = Self::default();
        script.answers.lock().unwrap().extend(answers.iter().cloned());
        Arc::new(script)
    }

    fn fetches(&self) -> usize {
        self.fetches.load(Ordering::SeqCst)
    }

    fn then(&self, answer: Result<String, &'static str>) {
        *self.answers.lock().unwrap() = VecDeque::from([answer]);
    }
}

impl KeySource for Script {
    fn fetch(&self) -> BoxFuture<'_, Result<Fetched, KeySourceError>> {
        Box::pin(async {
            self.fetches.fetch_add(1, Ordering::SeqCst);
            if self.slow.load(Ordering::SeqCst) {
                sleep(Duration::from_secs(3)).await;
            }
            let mut answers = self.answers.lock().unwrap();
            let answer = match answers.len() {
                0 | 1 => answers.front().cloned().unwrap_or(Err("no answer is scripted")),
                _ => answers.pop_front().unwrap(),
            };
            Ok(Fetched { body: answer?.into_bytes(), max_age: None })
        })
    }

    fn describe(&self) -> String {
        "the script".to_owned()
    }
}

fn store(source: &Arc<Script>, background: bool) -> Arc<KeyStore> {
    let source: Arc<dyn KeySource> = Arc::clone(source) as _;
    let observer = Arc::new(|_| {});
    Arc::new(KeyStore::new(source, &Algorithm::ALL, Timing::default(), observer, background))
}

#[tokio::test(start_paused = true)]
async fn flood_of_made_up_ids_causes_one_fetch_per_cool_down() {
    let a = key("a");
    let script = Script::of(&[Ok(key_set(&[&a]))]);
    let store = store(&script, false);
    assert!(store.find(Some("a"), ED).await.is_ok());
    advance(Timing::default().cool_down).await;
    script.slow.store(true, Ordering::SeqCst);
    let before = script.fetches();
    let ids: Vec<_> = (0..500).map(|n| format!("made-up-{n}")).collect();
    let answers = join_all(ids.iter().map(|id| store.find(Some(id), ED))).await;
    assert!(answers.iter().all(|answer| matches!(answer, Err(LookupError::Unknown(_)))));
    assert_eq!(script.fetches() - before, 1);
    for n in 0..500 {
        assert!(store.find(Some(&format!("more-{n}")), ED).await.is_err());
    }
    assert_eq!(script.fetches() - before, 1);
    assert!(store.find(Some("a"), ED).await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn simultaneous_lookups_of_a_new_key_share_one_fetch() {
    const CLIENTS: usize = 8;
    let (a, b) = (key("a"), key("b"));
    // Many rounds on several threads: a lookup just before another one's fetch was once refused.
    for round in 0..10_000 {
        let script = Script::of(&[Ok(key_set(&[&a])), Ok(key_set(&[&a, &b]))]);
        let store = store(&script, false);
        store.preload(script.fetch().await.unwrap().body.as_slice()).unwrap();
        let start = Arc::new(tokio::sync::Barrier::new(CLIENTS));
        let clients = (0..CLIENTS).map(|_| {
            let (store, start) = (Arc::clone(&store), Arc::clone(&start));
            tokio::spawn(async move {
                start.wait().await;
                store.find(Some("b"), ED).await.map(drop)
            })
        });
        for answer in join_all(clients).await {
            assert_eq!(answer.unwrap(), Ok(()), "round {round}");
        }
        assert_eq!(script.fetches(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn failing_source_is_fetched_no_more_often_and_old_keys_stay() {
    let a = key("a");
    let script = Script::of(&[Ok(key_set(&[&a])), Err("connection refused")]);
    let store = store(&script, false);
    assert!(store.find(Some("a"), ED).await.is_ok());
    for _ in 0..10 {
        let unknown = store.find(Some("b"), ED).await;
        // After a failed fetch, the token is not to blame.
        if script.fetches() > 1 {
            assert!(matches!(unknown, Err(LookupError::Unavailable(_))), "{unknown:?}");
        }
        assert!(store.find(Some("a"), ED).await.is_ok());
        advance(Duration::from_secs(2)).await;
    }
    assert!(script.fetches() <= 3, "{}", script.fetches());
}

#[tokio::test(start_paused = true)]
async fn malformed_answer_leaves_the_old_keys_in_force() {
    let a = key("a");
    let script = Script::of(&[Ok(key_set(&[&a]))]);
    let store = store(&script, false);
    assert!(store.find(Some("a"), ED).await.is_ok());
    for garbage in ["<html>", "{}", r#"{"keys":[]}"#, r#"{"keys":[{"kty":"oct","k":"AAAA"}]}"#] {
        script.then(Ok(garbage.to_owned()));
        advance(Timing::default().cool_down * 10).await;
        assert!(store.find(Some("b"), ED).await.is_err());
        assert!(store.find(Some("a"), ED).await.is_ok(), "{garbage}");
    }
    assert_eq!(script.fetches(), 5);
}

#[tokio::test(start_paused = true)]
async fn first_token_with_a_new_key_id_triggers_a_fetch() {
    let (a, b) = (key("a"), key("b"));
    let script = Script::of(&[Ok(key_set(&[&a])), Ok(key_set(&[&b]))]);
    let store = store(&script, false);
    let old = store.find(Some("a"), ED).await.unwrap();
    advance(Timing::default().cool_down).await;
    assert!(store.find(Some("b"), ED).await.is_ok());
    // A withdrawn key is no longer valid.
    assert_eq!(store.still_has(&old), Ok(false));
    assert!(matches!(store.find(Some("a"), ED).await, Err(LookupError::Unknown(_))));
}

#[tokio::test(start_paused = true)]
async fn first_token_of_a_replaced_key_triggers_a_fetch() {
    for (id, named) in [("same", Some("same")), ("", None)] {
        let unnamed = |key: &TestKey| {
            let mut jwk = key.jwk();
            named.is_none().then(|| jwk.as_object_mut().unwrap().remove("kid"));
            json!({ "keys": [jwk] }).to_string()
        };
        let (old, new) = (key(id), key(id));
        let script = Script::of(&[Ok(unnamed(&old)), Ok(unnamed(&new))]);
        let store = store(&script, false);
        let tried = store.find(named, ED).await.unwrap();
        advance(Timing::default().cool_down).await;
        let clients = (0..100).map(|_| store.find_successor(&tried, named, ED));
        let found = join_all(clients).await;
        let message = b"signed by the new key";
        let signature = new.sign(ED, message);
        for successor in found {
            assert!(successor.unwrap().unwrap().verifies(ED, message, &signature), "{named:?}");
        }
        assert_eq!(script.fetches(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn key_type_may_change_under_the_same_id() {
    let (old, new) = (key("same"), TestKey::new("same", Algorithm::Es256));
    let script = Script::of(&[Ok(key_set(&[&old])), Ok(key_set(&[&new]))]);
    let store = store(&script, false);
    let tried = store.find(Some("same"), ED).await.unwrap();
    advance(Timing::default().cool_down).await;
    assert!(store.find(Some("same"), Algorithm::Es256).await.is_ok());
    // Tokens of the old key get the error of the new set.
    let gone = LookupError::WrongAlgorithm("same".into(), ED);
    assert_eq!(store.find_successor(&tried, Some("same"), ED).await.unwrap_err(), gone);
}

#[tokio::test(start_paused = true)]
async fn flood_of_bad_signatures_causes_one_fetch_per_cool_down() {
    let (a, b) = (key("a"), key("b"));
    let script = Script::of(&[Ok(key_set(&[&a]))]);
    let store = store(&script, false);
    let found = store.find(Some("a"), ED).await.unwrap();
    advance(Timing::default().cool_down).await;
    script.slow.store(true, Ordering::SeqCst);
    let began = tokio::time::Instant::now();
    let flood = || (0..500).map(|_| store.find_successor(&found, Some("a"), ED));
    assert!(join_all(flood()).await.into_iter().all(|answer| matches!(answer, Ok(None))));
    assert_eq!((script.fetches(), began.elapsed()), (2, Duration::from_secs(3)));
    assert!(join_all(flood()).await.into_iter().all(|answer| matches!(answer, Ok(None))));
    assert_eq!((script.fetches(), began.elapsed()), (2, Duration::from_secs(3)));
    // The fetch that the flood causes brings the rotation.
    script.then(Ok(key_set(&[&a, &b])));
    advance(Timing::default().cool_down).await;
    assert!(matches!(store.find_successor(&found, Some("a"), ED).await, Ok(None)));
    assert!(store.find(Some("b"), ED).await.is_ok());
    assert_eq!(script.fetches(), 3);
    // When the source fails, the keys in force stay.
    script.then(Err("connection refused"));
    advance(Timing::default().cool_down).await;
    assert!(matches!(store.find_successor(&found, Some("a"), ED).await, Ok(None)));
    assert!(store.find(Some("a"), ED).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn another_key_with_the_same_id_is_not_the_same_key() {
    let (a, other) = (key("a"), key("a"));
    let script = Script::of(&[Ok(key_set(&[&a]))]);
    let store = store(&script, false);
    let old = store.find(Some("a"), ED).await.unwrap();
    assert_eq!(store.still_has(&old), Ok(true));
    store.preload(key_set(&[&a, &key("b")]).as_bytes()).unwrap();
    assert_eq!(store.still_has(&old), Ok(true));
    store.preload(key_set(&[&other]).as_bytes()).unwrap();
    assert_eq!(store.still_has(&old), Ok(false));
}

#[tokio::test(start_paused = true)]
async fn flood_cannot_delay_scheduled_refreshes() {
    let (a, b) = (key("a"), key("b"));
    let script = Script::of(&[Ok(key_set(&[&a]))]);
    let store = store(&script, true);
    assert!(store.find(Some("a"), ED).await.is_ok());
    // The attacker takes every slot of the cool-down, and the source then answers with an error.
    script.then(Err("overloaded"));
    for n in 0..12 {
        let _ = store.find(Some(&format!("made-up-{n}")), ED).await;
        sleep(Timing::default().cool_down).await;
    }
    script.then(Ok(key_set(&[&a, &b])));
    // Without lookups of `b`, only the schedule can bring it.
    sleep(Timing::default().refresh_max).await;
    let before = script.fetches();
    assert!(store.find(Some("b"), ED).await.is_ok());
    assert_eq!(script.fetches(), before);
}

#[tokio::test(start_paused = true)]
async fn new_id_is_found_after_the_cool_down() {
    let (a, b) = (key("a"), key("b"));
    let script = Script::of(&[Ok(key_set(&[&a]))]);
    let store = store(&script, false);
    assert!(store.find(Some("a"), ED).await.is_ok());
    let cool_down = Timing::default().cool_down;
    // An attacker who wants to keep it refused looks it up whenever possible.
    for round in 0..5 {
        advance(cool_down).await;
        assert!(store.find(Some("b"), ED).await.is_err());
        assert_eq!(script.fetches(), round + 2);
    }
    script.then(Ok(key_set(&[&a, &b])));
    advance(cool_down - Duration::from_millis(1)).await;
    assert!(store.find(Some("b"), ED).await.is_err());
    assert_eq!(script.fetches(), 6);
    advance(Duration::from_millis(1)).await;
    assert!(store.find(Some("b"), ED).await.is_ok());
    assert_eq!(script.fetches(), 7);
}

#[tokio::test(start_paused = true)]
async fn known_unknown_id_does_not_wait_for_the_source() {
    let a = key("a");
    let script = Script::of(&[Ok(key_set(&[&a]))]);
    let store = store(&script, false);
    assert!(store.find(Some("a"), ED).await.is_ok());
    advance(Timing::default().cool_down).await;
    assert!(store.find(Some("b"), ED).await.is_err());
    // The scheduled attempt hangs.
    script.slow.store(true, Ordering::SeqCst);
    store.refresher.spawn_attempt();
    let began = tokio::time::Instant::now();
    assert!(matches!(store.find(Some("b"), ED).await, Err(LookupError::Unknown(_))));
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn keys_without_refresh_are_valid_for_a_day() {
    let a = key("a");
    let script = Script::of(&[Ok(key_set(&[&a])), Err("connection refused")]);
    let store = store(&script, true);
    let found = store.find(Some("a"), ED).await.unwrap();
    sleep(Duration::from_secs(23 * 3600)).await;
    assert!(store.find(Some("a"), ED).await.is_ok());
    sleep(Duration::from_secs(2 * 3600)).await;
    let answer = store.find(Some("a"), ED).await.unwrap_err().to_string();
    assert!(answer.contains("connection refused"), "{answer}");
    assert!(store.still_has(&found).is_err() && store.check().is_err());
    script.then(Ok(key_set(&[&a])));
    sleep(Timing::default().retry_max).await;
    assert!(store.find(Some("a"), ED).await.is_ok() && store.check().is_ok());
}

#[tokio::test(start_paused = true)]
async fn source_that_is_down_at_start_is_retried_and_named() {
    let a = key("a");
    let script = Script::of(&[Err("connection refused")]);
    let store = store(&script, true);
    sleep(Duration::from_secs(60)).await;
    let text = store.check().unwrap_err().to_string();
    assert_eq!(text, "waiting for the script: connection refused");
    assert!((5..=10).contains(&script.fetches()), "{}", script.fetches());
    script.then(Ok(key_set(&[&a])));
    sleep(Duration::from_secs(61)).await;
    assert!(store.check().is_ok());
}

#[tokio::test(start_paused = true)]
async fn cancelled_lookup_does_not_cancel_the_fetch() {
    let a = key("a");
    let script = Script::of(&[Ok(key_set(&[&a]))]);
    script.slow.store(true, Ordering::SeqCst);
    let store = store(&script, false);
    let first = tokio::time::timeout(Duration::from_secs(1), store.find(Some("a"), ED)).await;
    assert!(first.is_err());
    assert!(store.find(Some("a"), ED).await.is_ok());
    assert_eq!(script.fetches(), 1);
}

#[tokio::test(start_paused = true)]
async fn dropped_store_stops_fetching() {
    let script = Script::of(&[Err("connection refused")]);
    let store = store(&script, true);
    sleep(Duration::from_secs(5)).await;
    drop(store);
    let fetches = script.fetches();
    sleep(Duration::from_secs(3600)).await;
    assert_eq!(script.fetches(), fetches);
}
