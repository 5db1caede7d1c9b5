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
mod sets;

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
