use std::{
    collections::BTreeMap,
    time::{Instant, SystemTime},
};

use callgate::{
    authn::{Decline, GoneCause, Identity, Readiness, Reassessment, Standing},
    policy::encode,
    record::Reason,
    request::{AuthRequest, Credential},
};
use callgate_config::{Document, Format, Report, Sources};
use serde_json::{Value, json};

use super::*;
use crate::{
    directory::Directory,
    kind::{BucketEvent, BucketFacts, SharedResources},
    passwords::Cost,
};

/// Of `right`, by argon2-cffi, with cheap parameters.
const HASH: &str = "$argon2id$v=19$m=64,t=2,p=1$e6/13tu7V6o15jwnpJRyTg$kf0QnvWVm+l6eOpAEsRcMEGpMkeXS8f84yyFvMyZnUA";

type Built = DirectoryAuthenticator<BucketDirectory>;

fn build(toml: &str) -> Result<Built, Vec<String>> {
    let context = BuildContext::new("people", Sources::new("."), Arc::new(SharedResources::new(1)));
    let document = Document::parse(toml.as_bytes(), Format::Toml).unwrap();
    let (report, sources) = (Report::new(), Sources::new("."));
    let table = Table::root(&document, "kv", &report, &sources).with_keys(Type::Table(KEYS));
    let built = Settings::read(&context, table).map(|settings| settings.start(context.clone()));
    built.ok_or_else(|| report.faults().iter().map(ToString::to_string).collect())
}

fn owned() -> Built {
    build("bucket = \"users\"\noperator_owned = true").unwrap()
}

fn value(user: &str, entry: Value) -> BucketEvent {
    written(&encode(user), entry.to_string().as_bytes())
}

fn written(key: &str, value: &[u8]) -> BucketEvent {
    let (key, value) = (key.to_owned(), value.to_vec());
    BucketEvent::Value { key, value, revision: 0, written: SystemTime::UNIX_EPOCH }
}

fn removed(key: &str) -> BucketEvent {
    BucketEvent::Removed { key: key.to_owned(), revision: 0, by: None }
}

fn listing() -> BucketEvent {
    BucketEvent::Listing(BucketFacts { replicas: 1, is_clustered: false, max_age: None })
}

impl Built {
    fn apply(&self, events: impl IntoIterator<Item = BucketEvent>) {
        events.into_iter().for_each(|event| self.directory.users.apply(event));
    }

    fn list(&self, entries: impl IntoIterator<Item = (&'static str, Value)>) {
        self.apply([listing()]);
        self.apply(entries.into_iter().map(|(user, entry)| value(user, entry)));
        self.apply([BucketEvent::Listed]);
    }

    /// The user, or the reason; `unavailable` and `not mine` as text.
    async fn login(&self, credential: Credential) -> Result<Identity, String> {
        let request = AuthRequest::for_tests(credential)
            .due_at(tokio::time::Instant::now() + Duration::from_secs(60));
        self.authenticate(&request).await.map_err(|decline| match decline {
            Decline::NotMine => "not mine".to_owned(),
            Decline::Rejected(rejection) => rejection.reason.as_str().to_owned(),
            Decline::Unavailable(_) => "unavailable".to_owned(),
        })
    }

    async fn password(&self, user: &str, password: &str) -> Result<(), String> {
        let password = password.into();
        self.login(Credential::Password { user: user.to_owned(), password }).await.map(drop)
    }

    async fn token(&self, token: &str) -> Result<String, String> {
        self.login(Credential::Token(token.into())).await.map(|identity| identity.user)
    }
}

fn reason(reason: Reason) -> Result<(), String> {
    Err(reason.as_str().to_owned())
}

#[test]
fn settings_are_checked() {
    for (toml, expected) in [
        ("", "kv: `bucket` is missing"),
        ("bucket = \"a.b\"", "kv.bucket: the name of a bucket consists of"),
        ("bucket = \"\"", "kv.bucket"),
        ("bucket = \"a\"\ndomain = \"x y\"", "kv.domain: a domain consists of"),
        ("bucket = \"a\"\nmax_stale = \"0s\"", "kv.max_stale: must be greater than zero"),
        ("bucket = \"a\"\nmax_stale = \"never\"", "kv.max_stale"),
        ("bucket = \"a\"\nfall_through = true", "kv.fall_through: no authenticator follows"),
        ("bucket = \"a\"\nreplicas = 3", "kv.replicas: unknown key"),
    ] {
        let faults = build(toml).err().unwrap_or_else(|| panic!("{toml} is accepted"));
        assert!(faults.iter().any(|fault| fault.contains(expected)), "{toml}: {faults:?}");
    }
    assert!(build("bucket = \"a-b_1\"\ndomain = \"hub\"\nmax_stale = \"none\"").is_ok());
}

#[tokio::test]
async fn bucket_that_was_never_read_is_unavailable() {
    let people = owned();
    assert!(matches!(people.readiness(), Readiness::Waiting(_)));
    assert_eq!(people.password("alice", "x").await, Err("unavailable".to_owned()));
    // Half of a list is not enough.
    people.apply([listing(), value("alice", json!({ "pass": "x" }))]);
    assert_eq!(people.token("t").await, Err("unavailable".to_owned()));
    people.apply([BucketEvent::Lost("gone".to_owned()), BucketEvent::Listed]);
    assert_eq!(people.password("alice", "x").await, Err("unavailable".to_owned()));
    people.list([("alice", json!({ "pass": "x" }))]);
    assert_eq!(people.readiness(), Readiness::Ready);
    assert_eq!(people.password("alice", "x").await, Ok(()));
}

#[tokio::test]
async fn list_replaces_what_it_does_not_contain() {
    let people = owned();
    let token = |token: &str| json!({ "token": token });
    people.list([("alice", token("a")), ("bob", token("b"))]);
    people.apply([BucketEvent::Lost("gone".to_owned())]);
    assert_eq!(people.token("a").await, Ok("alice".to_owned()), "a lost watch changes nothing");
    people.list([("bob", token("new")), ("carol", token("a"))]);
    assert_eq!(people.token("a").await, Ok("carol".to_owned()));
    assert_eq!(people.token("b").await, Err("not mine".to_owned()));
    assert_eq!(people.token("new").await, Ok("bob".to_owned()));
    assert_eq!(people.password("alice", "x").await, reason(Reason::UnknownUser));
    people.list([]);
    assert_eq!(people.token("new").await, Err("not mine".to_owned()));
}

#[tokio::test]
async fn faulty_entry_refuses_by_every_credential() {
    let people = owned();
    people.list([("alice", json!({ "pass": "x", "token": "t", "rolls": [] }))]);
    assert_eq!(people.password("alice", "x").await, reason(Reason::UserDisabled));
    assert_eq!(people.password("alice", "wrong").await, reason(Reason::UserDisabled));
    assert_eq!(people.token("t").await, Err("user_disabled".to_owned()));
    people.apply([value("alice", json!({ "pass": "x", "token": "t" }))]);
    assert_eq!(people.token("t").await, Ok("alice".to_owned()));
    people.apply([written("alice", b"{")]);
    assert_eq!(people.token("t").await, Err("not mine".to_owned()));
    assert_eq!(people.password("alice", "x").await, reason(Reason::UserDisabled));
    people.apply([removed("alice")]);
    assert_eq!(people.password("alice", "x").await, reason(Reason::UnknownUser));
}

#[tokio::test]
async fn shared_token_works_again_for_the_last_holder() {
    let people = owned();
    let entry = || json!({ "token": "t" });
    people.list([("one", entry()), ("two", entry()), ("three", entry())]);
    assert_eq!(people.token("t").await, Err("not mine".to_owned()));
    people.apply([removed("one")]);
    assert_eq!(people.token("t").await, Err("not mine".to_owned()));
    people.apply([value("two", json!({ "token": "other" }))]);
    assert_eq!(people.token("t").await, Ok("three".to_owned()));
    people.apply([value("three", json!({ "pass": "x" }))]);
    assert_eq!(people.token("t").await, Err("not mine".to_owned()));
    assert_eq!(people.token("other").await, Ok("two".to_owned()));
}

#[tokio::test]
async fn changed_password_ends_a_remembered_verification() {
    let people = owned();
    people.list([("alice", json!({ "pass": HASH }))]);
    assert_eq!(people.password("alice", "right").await, Ok(()));
    let version = |people: &Built| {
        let users = &people.directory.users;
        let found = users.find(None, Instant::now(), |users| users.by_name("alice"));
        found.unwrap().unwrap().version
    };
    let before = version(&people);
    // The same content, listed again, keeps what was verified.
    people.list([("alice", json!({ "pass": HASH }))]);
    assert_eq!(version(&people), before);
    people.apply([value("alice", json!({ "pass": HASH, "disabled": true }))]);
    assert_ne!(version(&people), before);
    assert_eq!(people.password("alice", "right").await, reason(Reason::UserDisabled));
    people.apply([value("alice", json!({ "pass": "other" }))]);
    assert_eq!(people.password("alice", "right").await, reason(Reason::BadPassword));
}

#[test]
fn unknown_names_cost_what_the_entries_cost() {
    let people = owned();
    let costs = || {
        let mut found = BTreeMap::<Option<Cost>, u32>::new();
        for number in 0..200 {
            let dummy = people.directory.dummy_password(&format!("unknown-{number}"));
            *found.entry(dummy.cost()).or_default() += 1;
        }
        found
    };
    people.list([("alice", json!({ "pass": HASH })), ("bob", json!({ "pass": "clear" }))]);
    assert_eq!(costs().len(), 2);
    people.apply([removed("bob")]);
    assert_eq!(costs().into_keys().collect::<Vec<_>>().len(), 1);
    assert!(costs().into_keys().all(|cost| cost.is_some()));
    people.apply([value("alice", json!({ "pass": "clear" }))]);
    assert!(costs().into_keys().all(|cost| cost.is_none()));
}

#[test]
fn lost_watch_counts_only_with_max_stale() {
    let people = owned();
    people.list([("alice", json!({ "pass": "x" }))]);
    people.apply([BucketEvent::Lost("gone".to_owned())]);
    let (now, users) = (Instant::now(), &people.directory.users);
    let found = |max_stale, after| {
        let now = now + Duration::from_secs(after);
        users.find(max_stale, now, |users| users.by_name("alice")).is_ok()
    };
    let most = Some(Duration::from_secs(30));
    assert!(found(None, 1_000_000));
    assert!(found(most, 29));
    assert!(!found(most, 31));
    // Not another loss: the first one counts.
    people.apply([BucketEvent::Lost("again".to_owned())]);
    assert!(!found(most, 31));
    people.list([("alice", json!({ "pass": "x" }))]);
    assert!(found(most, 1_000_000));
}

#[tokio::test]
async fn bucket_ends_what_it_vouched_for_but_not_by_an_error() {
    let people = owned();
    people.list([("alice", json!({ "pass": "x" }))]);
    let password = Credential::Password { user: "alice".to_owned(), password: "x".into() };
    let identity = people.login(password).await.unwrap();
    let how =
        Reassessment { now: callgate::clock::UnixTime::from_seconds(0), withdrawn_keys: false };
    assert_eq!(people.reassess(&identity, &how), Standing::Current(Box::new(identity.clone())));
    let changes = people.changes();
    people.apply([written(&encode("alice"), b"{")]);
    assert!(changes.iter().all(|changes| changes.has_changed().unwrap()));
    assert_eq!(people.reassess(&identity, &how), Standing::Unknown);
    people.apply([value("alice", json!({ "pass": "y" }))]);
    assert_eq!(people.reassess(&identity, &how), Standing::Gone(GoneCause::CredentialChanged));
    people.apply([removed(&encode("alice"))]);
    assert_eq!(people.reassess(&identity, &how), Standing::Gone(GoneCause::UserRemoved));
}
