//! Key sets that outlive the process.

use std::{fs, path::PathBuf};

use super::*;
use crate::state_dir::StateDir;

struct State(tempfile::TempDir);

impl State {
    fn new() -> Self {
        let state = Self(tempfile::tempdir().unwrap());
        state.dir().create().unwrap();
        state
    }

    fn dir(&self) -> StateDir {
        StateDir::new(self.0.path().join("state"), b"secret")
    }

    fn files(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.dir().path()).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    /// A store after a start of the process.
    fn start(&self, source: &Arc<Script>, timing: Timing, background: bool) -> KeyStore {
        let saved = Some(self.dir().file("keys"));
        let source: Arc<dyn KeySource> = Arc::clone(source) as _;
        let observer = Arc::new(|_| {});
        let store = KeyStore::kept_in(saved, source, &Algorithm::ALL, timing, observer, background);
        store.restore();
        store
    }
}

async fn wait_for(what: &str, is_true: impl Fn() -> bool) {
    callgate_testkit::eventually(what, Duration::from_secs(30), async || is_true().then_some(()))
        .await;
}

#[tokio::test]
async fn saved_keys_serve_while_the_source_is_down() {
    let (state, a) = (State::new(), key("a"));
    let script = Script::of(&[Ok(key_set(&[&a]))]);
    let first = state.start(&script, Timing::default(), true);
    wait_for("keys", || first.check().is_ok()).await;
    assert_eq!(first.age_remark(), None, "fetched by this process");
    drop(first);

    let down = Script::of(&[Err("down")]);
    let second = state.start(&down, Timing::default(), true);
    assert!(second.find(Some("a"), ED).await.is_ok());
    let remark = second.age_remark().unwrap();
    assert!(remark.contains("the script were fetched 0 h 0 min ago"), "{remark}");
    // The first success ends it.
    down.then(Ok(key_set(&[&key("b")])));
    wait_for("the new keys", || second.age_remark().is_none()).await;
    assert!(second.find(Some("b"), ED).await.is_ok());
    assert!(second.find(Some("a"), ED).await.is_err());
}

#[tokio::test]
async fn replaced_keys_never_come_back() {
    let (state, a, b) = (State::new(), key("a"), key("b"));
    for set in [&a, &b] {
        let store = state.start(&Script::of(&[Ok(key_set(&[set]))]), Timing::default(), true);
        wait_for("fetched keys", || store.check().is_ok() && store.age_remark().is_none()).await;
    }
    let store = state.start(&Script::of(&[Err("down")]), Timing::default(), true);
    assert!(store.find(Some("b"), ED).await.is_ok());
    assert!(store.find(Some("a"), ED).await.is_err());
    assert_eq!(state.files().len(), 1);
}

#[tokio::test]
async fn keys_older_than_allowed_are_not_used() {
    let (state, a) = (State::new(), key("a"));
    let now = callgate::clock::UnixTime::now().seconds();
    for (age, used) in [(3000, true), (4000, false)] {
        let saved = crate::state_dir::SavedKeys {
            fetched: callgate::clock::UnixTime::from_seconds(now - age),
            issuer: None,
            keys: key_set(&[&a]),
        };
        for file in state.files() {
            fs::remove_file(file).unwrap();
        }
        state.dir().file("keys").write(&saved).unwrap();
        let timing = Timing { keep: Duration::from_secs(3600), ..Timing::default() };
        let store = state.start(&Script::of(&[Err("down")]), timing, true);
        assert_eq!(store.check().is_ok(), used, "{age}");
        let remark = store.age_remark();
        assert_eq!(remark.is_some_and(|text| text.contains("0 h 50 min")), used);
    }
}

#[tokio::test]
async fn unusable_sets_are_neither_saved_nor_restored() {
    let (state, a) = (State::new(), key("a"));
    let script = Script::of(&[Ok("{\"keys\":[]}".to_owned())]);
    let store = state.start(&script, Timing::default(), true);
    wait_for("a fetch", || store.check().is_err_and(|why| why.to_string().contains("not usable")))
        .await;
    assert_eq!(state.files(), Vec::<PathBuf>::new());
    script.then(Ok(key_set(&[&a])));
    wait_for("keys", || store.check().is_ok()).await;
    drop(store);
    let [file] = &*state.files() else { panic!("one file") };
    let text = fs::read_to_string(file).unwrap();
    fs::write(file, text.replace("\\\"a\\\"", "\\\"b\\\"")).unwrap();
    let store = state.start(&Script::of(&[Err("down")]), Timing::default(), true);
    assert!(store.check().is_err());
}

#[tokio::test]
async fn without_background_work_newer_keys_are_fetched_first_and_not_saved() {
    let (state, a, b) = (State::new(), key("a"), key("b"));
    let store = state.start(&Script::of(&[Ok(key_set(&[&a]))]), Timing::default(), true);
    wait_for("keys", || store.check().is_ok()).await;
    drop(store);
    let explain = state.start(&Script::of(&[Ok(key_set(&[&b]))]), Timing::default(), false);
    assert!(explain.find(Some("a"), ED).await.is_err());
    assert!(explain.find(Some("b"), ED).await.is_ok());
    let down: Arc<dyn KeySource> = Script::of(&[Err("down")]);
    let saved = Some(state.dir().read_only().file("keys"));
    let observer = Arc::new(|_| {});
    let explain =
        KeyStore::kept_in(saved, down, &Algorithm::ALL, Timing::default(), observer, true);
    explain.restore();
    assert!(explain.find(Some("a"), ED).await.is_ok(), "`b` was not saved");
    assert!(explain.age_remark().is_some());
}
