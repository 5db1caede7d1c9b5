use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use callgate::{
    keys::{KeyKind, KeyPair},
    policy::permissions::{Permissions, Responses},
};

use super::*;
use crate::{
    kind::{CacheSettings, Observer, Shared},
    settings::{Document, Format, Report, Sources},
};

/// The file of nats-by-example, `examples/auth/callout`.
const NATS_BY_EXAMPLE: &str = r#"{
  "sys": { "pass": "sys", "account": "SYS" },
  "alice": { "pass": "alice", "account": "APP" },
  "bob": { "pass": "bob", "account": "APP",
           "permissions": { "pub": { "allow": ["bob.>"] }, "sub": { "allow": ["bob.>"] },
                            "resp": { "max": 1 } } } }"#;

/// Of `right`, by argon2-cffi, with parameters that take no time.
const HASH: &str = "$argon2id$v=19$m=64,t=2,p=1$e6/13tu7V6o15jwnpJRyTg$kf0QnvWVm+l6eOpAEsRcMEGpMkeXS8f84yyFvMyZnUA";
/// Of `right`, with other parameters.
const OTHER_HASH: &str = "$argon2id$v=19$m=64,t=1,p=1$rTWG8D4HgDDmnPO+F+Jcyw$vgKQSViUovo5Kgj27Q/csdbrn+kuZRWYE0GTomc70kg";

struct Folder(tempfile::TempDir);

impl Folder {
    fn with(users: &str) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        folder.write(users);
        folder
    }

    fn path(&self) -> std::path::PathBuf {
        self.0.path().join("users.json")
    }

    fn write(&self, users: &str) {
        fs::write(self.path(), users).unwrap();
        self.set_mode(0o600);
    }

    fn set_mode(&self, mode: u32) {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(self.path(), fs::Permissions::from_mode(mode)).unwrap();
    }

    fn context(&self) -> BuildContext {
        let shared = Arc::new(Shared::new(1));
        BuildContext::new("staff", Sources::new(self.0.path()), shared)
    }
}

/// Builds from `[authenticators.users]`; gives faults and warnings too.
fn build_from(toml: &str, context: &BuildContext) -> (Option<UsersFile>, Vec<String>, Vec<String>) {
    let document = Document::parse(toml.as_bytes(), Format::Toml).unwrap();
    let (report, sources) = (Report::new(), context.sources.clone());
    let table = Table::root(&document, "authenticators[0].users", &report, &sources);
    let built =
        Settings::read(context, table).map(|settings| UsersFile::start(context.clone(), settings));
    let texts = |list: Vec<crate::settings::Fault>| list.iter().map(ToString::to_string).collect();
    (built, texts(report.faults()), texts(report.warnings()))
}

const TABLE: &str = "file = \"users.json\"";

fn build(context: &BuildContext) -> UsersFile {
    let (built, faults, _) = build_from(TABLE, context);
    built.unwrap_or_else(|| panic!("{faults:?}"))
}

fn faults_of(users: &str) -> Vec<String> {
    build_from(TABLE, &Folder::with(users).context()).1
}

fn password(user: &str, password: &str) -> AuthRequest {
    let password = password.into();
    AuthRequest::for_tests(Credential::Password { user: user.to_owned(), password })
        .due_at(tokio::time::Instant::now() + Duration::from_secs(60))
}

async fn answer(users: &UsersFile, request: AuthRequest) -> Result<Identity, Option<Reason>> {
    users.authenticate(&request).await.map_err(|decline| match decline {
        Decline::NotMine => None,
        Decline::Rejected(rejection) => Some(rejection.reason),
        Decline::Unavailable(error) => panic!("unavailable: {error}"),
    })
}

async fn outcome(users: &UsersFile, user: &str, word: &str) -> Result<(), Option<Reason>> {
    answer(users, password(user, word)).await.map(|identity| assert_eq!(identity.user, user))
}

#[test]
fn a_users_file_that_lies_open_is_warned_about() {
    let hashed = format!(r#"{{ "al": {{ "pass": "{HASH}" }} }}"#);
    for (users, mode, words) in [
        (NATS_BY_EXAMPLE, 0o644, Some("others may read it")),
        (r#"{ "al": { "token": "t" } }"#, 0o640, Some("others may read it")),
        (hashed.as_str(), 0o644, None),
        (hashed.as_str(), 0o664, Some("may be written by others")),
    ] {
        let folder = Folder::with(users);
        folder.set_mode(mode);
        let (_, faults, warnings) = build_from(TABLE, &folder.context());
        assert!(faults.is_empty(), "{faults:?}");
        assert_eq!(warnings.len(), usize::from(words.is_some()), "{users} {mode:o}: {warnings:?}");
        assert!(warnings.iter().all(|warning| words.is_some_and(|words| warning.contains(words))));
    }
}

#[tokio::test]
async fn the_users_of_nats_by_example_load_as_they_are() {
    let folder = Folder::with(NATS_BY_EXAMPLE);
    let (built, faults, warnings) = build_from(TABLE, &folder.context());
    assert_eq!((faults, warnings), (vec![], vec![]));
    let users = built.unwrap();
    let alice = answer(&users, password("alice", "alice")).await.unwrap();
    assert_eq!(alice.proposal.account.as_deref(), Some("APP"));
    assert!(alice.proposal.unrestricted_if_alone);
    assert_eq!(alice.proposal.origin, callgate::authn::Origin::Operator);
    let bob = answer(&users, password("bob", "bob")).await.unwrap();
    assert!(!bob.proposal.unrestricted_if_alone);
    let permissions = bob.proposal.permissions.unwrap();
    assert_eq!(permissions.publish.allow, ["bob.>".parse().unwrap()]);
    assert_eq!(permissions.subscribe.allow, ["bob.>".parse().unwrap()]);
    assert_eq!(permissions.responses, Some(Responses::default()));
    assert_eq!(outcome(&users, "bob", "alice").await, Err(Some(Reason::BadPassword)));
    assert_eq!(outcome(&users, "mallory", "alice").await, Err(Some(Reason::UnknownUser)));
}

#[tokio::test]
async fn only_an_entry_without_permissions_and_roles_is_unrestricted() {
    let folder = Folder::with(
        r#"{ "both-absent": { "pass": "x" },
             "empty-permissions": { "pass": "x", "permissions": {} },
             "empty-roles": { "pass": "x", "roles": [] } }"#,
    );
    let users = build(&folder.context());
    let proposal = async |user| answer(&users, password(user, "x")).await.unwrap().proposal;
    assert!(proposal("both-absent").await.unrestricted_if_alone);
    let empty = proposal("empty-permissions").await;
    assert!(!empty.unrestricted_if_alone);
    assert_eq!((empty.permissions, empty.roles), (Some(Permissions::default()), None));
    let empty = proposal("empty-roles").await;
    assert!(!empty.unrestricted_if_alone);
    assert_eq!((empty.permissions, empty.roles), (None, Some(vec![])));
}

#[tokio::test]
async fn everything_an_entry_says_reaches_policy() {
    let folder = Folder::with(
        r#"{ "alice": { "password": "x", "account": "APP", "roles": ["reader"],
             "source": ["10.0.0.0/8", "192.0.2.1"], "connection_types": ["nats", "LEAFNODE"],
             "expires": "2099-01-01T02:00:00+02:00", "expires_after": "8h", "disabled": false } }"#,
    );
    let mut context = folder.context();
    context.roles = Arc::new(BTreeSet::from(["reader".to_owned()]));
    let users = build(&context);
    let identity = answer(&users, password("alice", "x")).await.unwrap();
    assert_eq!(identity.expires_at, Some(UnixTime::from_seconds(4_070_908_800)));
    let proposal = identity.proposal;
    assert_eq!(proposal.roles, Some(vec!["reader".to_owned()]));
    assert_eq!(proposal.expires_after, Some(Duration::from_secs(8 * 3600)));
    assert_eq!(proposal.connection_types.unwrap().to_string(), "nats, leafnode");
    let source: Vec<_> = proposal.source.unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(source, ["10.0.0.0/8", "192.0.2.1/32"]);
}

#[test]
fn every_fault_of_every_entry_is_told_at_once() {
    let key = KeyPair::generate(KeyKind::User).unwrap();
    let (key, seed) = (key.public_key(), key.seed());
    let seed = seed.expose();
    let users = format!(
        r#"{{ "a": {{}},
             "b": {{ "pass": "" }},
             "c": {{ "pass": "x", "password": "y" }},
             "d": {{ "pass": "x", "password_plain": "y" }},
             "e": {{ "pass": "$6$salt$secrethash" }},
             "f": {{ "pass": null }},
             "g": {{ "pass": "x", "roles": ["raeder"] }},
             "h": {{ "pass": "x", "permisions": {{}} }},
             "i": {{ "token": "secrettoken" }},
             "j": {{ "token": "secrettoken" }},
             "k": {{ "nkey": "{key}" }},
             "l": {{ "nkey": "{key}" }},
             "m": {{ "nkey": "{seed}" }},
             "n": {{ "pass": "x", "expires": "tomorrow" }},
             "o": {{ "pass": "x", "expires_after": 5 }},
             "p": {{ "pass": "x", "permissions": {{ "pub": ["a..b"] }} }},
             "q": {{ "pass": "x", "subs": 5 }},
             "r": {{ "pass": 1234 }},
             "s": "x",
             "": {{ "pass": "x" }},
             "t": {{ "token": "", "pass": "x" }},
             "u": {{ "pass": "x", "account": "" }} }}"#
    );
    let folder = Folder::with(&users);
    let mut context = folder.context();
    context.roles = Arc::new(BTreeSet::from(["reader".to_owned()]));
    let faults = build_from(TABLE, &context).1;
    let expected = [
        ("\"\"", "needs a name"),
        ("a", "has no credential"),
        ("b.pass", "must not be empty"),
        ("c.password", "mean the same"),
        ("d.password_plain", "another password"),
        ("e.pass", "password_plain"),
        ("f.pass", "must not be null"),
        ("g.roles[0]", "there is no role `raeder`; did you mean `reader`?"),
        ("h.permisions", "unknown key; did you mean `permissions`?"),
        ("j.token", "`i` has the same one"),
        ("l.nkey", "`k` has the same one"),
        ("m.nkey", "this is a user seed"),
        ("n.expires", "RFC 3339"),
        ("o.expires_after", "a duration with its unit"),
        ("p.permissions.pub[0]", "empty token"),
        ("q.subs", "never enforces"),
        ("r.pass", "put it between quotes"),
        ("s", "must be a table, not text"),
        ("t.token", "must not be empty"),
        ("u.account", "must not be empty"),
    ];
    for (place, message) in expected {
        let start = format!("users.json: {place}: ");
        let found = faults.iter().any(|fault| fault.starts_with(&start) && fault.contains(message));
        assert!(found, "{place}: {message}: {faults:#?}");
    }
    assert_eq!(faults.len(), expected.len(), "{faults:#?}");
    for secret in ["secrethash", "secrettoken", seed] {
        assert!(!faults.iter().any(|fault| fault.contains(secret)));
    }
}

#[test]
fn a_user_who_is_there_twice_is_a_fault() {
    let faults = faults_of(r#"{ "alice": { "pass": "x" }, "alice": { "pass": "y" } }"#);
    assert!(faults[0].contains("`alice` is there twice"), "{faults:?}");
}

#[test]
fn a_file_that_is_missing_empty_or_broken_is_a_fault() {
    for users in ["", " \n", "[]", "{", "null", "\u{0}"] {
        assert_eq!(faults_of(users).len(), 1, "{users:?}");
    }
    let context = Folder::with("{}").context();
    let (_, faults, _) = build_from("file = \"nowhere.json\"", &context);
    assert!(faults[0].starts_with("authenticators[0].users.file: cannot read"), "{faults:?}");
    assert_eq!(build_from("file = \"users.conf\"", &context).1.len(), 1);
    assert_eq!(build_from("", &context).1, ["authenticators[0].users: `file` is missing"]);
    assert_eq!(
        build_from("file = \"users.json\"\nfile_ = 1", &Folder::with("{}").context()).1.len(),
        1
    );
}

#[test]
fn an_account_that_is_not_known_is_only_a_warning() {
    let folder = Folder::with(r#"{ "alice": { "pass": "x", "account": "APPP" } }"#);
    let mut context = folder.context();
    context.knows_account = Arc::new(|account| account == "APP");
    let (built, faults, warnings) = build_from(TABLE, &context);
    assert!(built.is_some() && faults.is_empty());
    assert!(warnings[0].starts_with("users.json: alice.account: the account `APPP` is not known"));
}

#[test]
fn a_key_that_signs_service_tokens_cannot_log_in() {
    let key = KeyPair::generate(KeyKind::User).unwrap().public_key();
    let folder = Folder::with(&format!(r#"{{ "alice": {{ "nkey": "{key}" }} }}"#));
    let mut context = folder.context();
    context.token_keys = Arc::new(BTreeSet::from([key]));
    let faults = build_from(TABLE, &context).1;
    assert!(faults[0].contains("also signs service tokens"), "{faults:?}");
}

#[tokio::test]
async fn an_unknown_user_falls_through_only_where_the_table_says_so() {
    let folder = Folder::with(
        r#"{ "alice": { "pass": "x" }, "erin": { "pass": "x", "disabled": true },
             "carol": { "token": "t" } }"#,
    );
    let mut context = folder.context();
    let table = "file = \"users.json\"\nfall_through = true";
    let faults = build_from(table, &context).1;
    assert!(faults[0].contains("nothing to fall through to"), "{faults:?}");
    context.passwords_taken_later = true;
    let users = build_from(table, &context).0.unwrap();
    assert_eq!(outcome(&users, "bob", "x").await, Err(None));
    for (user, reason) in [
        ("alice", Reason::BadPassword),
        ("erin", Reason::BadPassword),
        ("carol", Reason::BadPassword),
    ] {
        assert_eq!(outcome(&users, user, "wrong").await, Err(Some(reason)), "{user}");
    }
    assert_eq!(outcome(&users, "erin", "x").await, Err(Some(Reason::UserDisabled)));
}

#[tokio::test]
async fn an_entry_ends_at_its_moment_and_never_before_the_password_is_proven() {
    let folder = Folder::with(r#"{ "fred": { "pass": "x", "expires": "2026-01-01T00:00:00Z" } }"#);
    let users = build(&folder.context());
    let end = 1_767_225_600;
    for (now, word, expected) in [
        (end - 1, "x", Ok(())),
        (end, "x", Err(Some(Reason::UserExpired))),
        (end, "wrong", Err(Some(Reason::BadPassword))),
    ] {
        let request = password("fred", word).received_at(UnixTime::from_seconds(now));
        assert_eq!(answer(&users, request).await.map(|_| ()), expected);
    }
}

#[tokio::test]
async fn a_remembered_password_still_ends_with_the_entry() {
    let users =
        format!(r#"{{ "fred": {{ "pass": "{HASH}", "expires": "2026-01-01T00:00:00Z" }} }}"#);
    let folder = Folder::with(&users);
    let users = build(&folder.context());
    let at = |seconds| password("fred", "right").received_at(UnixTime::from_seconds(seconds));
    assert!(answer(&users, at(1_767_225_599)).await.is_ok());
    assert_eq!(answer(&users, at(1_767_225_600)).await, Err(Some(Reason::UserExpired)));
}

/// True if the password is remembered after a good login.
async fn remembers(context: &BuildContext, word: &str) -> bool {
    let users = build(context);
    let _answer = answer(&users, password("alice", word)).await;
    let version = users.inner.users.load().version();
    let key = VerifiedKey::new("staff", version, "alice", word);
    context.shared.verified_passwords().holds(&key, Instant::now())
}

#[tokio::test]
async fn only_what_was_right_is_remembered_and_only_if_wanted() {
    let folder = Folder::with(&format!(r#"{{ "alice": {{ "pass": "{HASH}" }} }}"#));
    let mut context = folder.context();
    assert!(remembers(&context, "right").await);
    assert!(!remembers(&context, "wrong").await);
    context.cache = CacheSettings { passwords: Duration::ZERO, ..context.cache };
    assert!(!remembers(&context, "right").await);
}

#[tokio::test]
async fn tokens_and_remembered_passwords_never_wait_for_other_peoples_hashes() {
    let folder = Folder::with(&format!(
        r#"{{ "alice": {{ "pass": "{HASH}" }}, "sensor": {{ "token": "t" }} }}"#
    ));
    let context = folder.context();
    let users = build(&context);
    assert_eq!(outcome(&users, "alice", "right").await, Ok(()));
    // The only thread is busy until `release` goes.
    let (release, released) = std::sync::mpsc::channel::<()>();
    let shared = Arc::clone(&context.shared);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    let busy = tokio::spawn(async move {
        let source = SourceKey::Server("flood".into());
        let work = move |_: &mut Scratch| released.recv().is_err();
        shared.password_pool().run(source, deadline, work).await
    });
    tokio::task::yield_now().await;
    let token = Credential::Token("t".into());
    assert!(answer(&users, AuthRequest::for_tests(token)).await.is_ok());
    assert_eq!(outcome(&users, "alice", "right").await, Ok(()));
    drop(release);
    assert_eq!(busy.await.unwrap(), Ok(true));
}

#[tokio::test]
async fn a_name_is_one_text_and_no_other_way_to_write_it() {
    let folder = Folder::with(r#"{ "alice": { "pass": "x" }, "Ren\u00e9": { "pass": "x" } }"#);
    let users = build(&folder.context());
    assert_eq!(outcome(&users, "Ren\u{e9}", "x").await, Ok(()));
    for name in ["Alice", "ALICE", " alice", "alice ", "alice\0", "alice\u{200b}", "Rene\u{301}"] {
        assert_eq!(outcome(&users, name, "x").await, Err(Some(Reason::UnknownUser)), "{name:?}");
    }
}

#[tokio::test]
async fn a_changed_file_ends_what_was_remembered() {
    let with_hash = |hash| format!(r#"{{ "alice": {{ "pass": "{hash}" }} }}"#);
    let folder = Folder::with(&with_hash(HASH));
    let users = build(&folder.context());
    assert_eq!(outcome(&users, "alice", "right").await, Ok(()));
    folder.write(&with_hash("new-password"));
    users.inner.reload();
    assert_eq!(outcome(&users, "alice", "right").await, Err(Some(Reason::BadPassword)));
    assert_eq!(outcome(&users, "alice", "new-password").await, Ok(()));
    folder.write("{}");
    users.inner.reload();
    assert_eq!(outcome(&users, "alice", "new-password").await, Err(Some(Reason::UnknownUser)));
}

#[derive(Debug, Default)]
struct Counter(Mutex<Vec<bool>>);

impl Observer for Counter {
    fn file_reloaded(&self, authenticator: &str, loaded: bool) {
        assert_eq!(authenticator, "staff");
        self.0.lock().unwrap().push(loaded);
    }
}

#[tokio::test]
async fn a_bad_file_keeps_the_old_users_in_force_and_is_counted() {
    let folder = Folder::with(r#"{ "alice": { "pass": "x" } }"#);
    let counter = Arc::new(Counter::default());
    let context = BuildContext { observer: Arc::clone(&counter) as _, ..folder.context() };
    let users = build(&context);
    for bad in ["", "{", r#"{ "alice": { "pass": "" } }"#, r#"{ "alice": { "pass": "y" "#] {
        folder.write(bad);
        users.inner.reload();
        assert_eq!(outcome(&users, "alice", "x").await, Ok(()), "{bad}");
    }
    fs::remove_file(folder.path()).unwrap();
    users.inner.reload();
    assert_eq!(outcome(&users, "alice", "x").await, Ok(()));
    folder.write(r#"{ "bob": { "pass": "y" } }"#);
    users.inner.reload();
    assert_eq!(outcome(&users, "alice", "x").await, Err(Some(Reason::UnknownUser)));
    assert_eq!(outcome(&users, "bob", "y").await, Ok(()));
    assert_eq!(*counter.0.lock().unwrap(), [false, false, false, false, false, true]);
}

/// Replaces the file as Kubernetes does: a link is swapped.
fn swap(folder: &Path, name: &str, users: &str) {
    fs::write(folder.join(name), users).unwrap();
    std::os::unix::fs::symlink(name, folder.join("new")).unwrap();
    fs::rename(folder.join("new"), folder.join("users.json")).unwrap();
}

#[tokio::test]
async fn a_changed_file_is_taken_up_by_itself_until_the_authenticator_retires() {
    let folder = Folder::with("{}");
    swap(folder.0.path(), "first", r#"{ "alice": { "pass": "x" } }"#);
    let counter = Arc::new(Counter::default());
    let observer = Arc::clone(&counter) as _;
    let context = BuildContext { observer, background: true, ..folder.context() };
    let users = build(&context);
    swap(folder.0.path(), "second", r#"{ "bob": { "pass": "x" } }"#);
    let deadline = Instant::now() + Duration::from_secs(30);
    while outcome(&users, "bob", "x").await.is_err() {
        assert!(Instant::now() < deadline, "the change was never taken up");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(outcome(&users, "alice", "x").await, Err(Some(Reason::UnknownUser)));
    users.retire();
    assert!(users.watch.lock().unwrap().is_none());
}

#[test]
fn the_parameters_of_all_tables_are_in_force_until_they_are_dropped() {
    let with_hash = |hash| Folder::with(&format!(r#"{{ "alice": {{ "pass": "{hash}" }} }}"#));
    let (first, second) = (with_hash(HASH), with_hash(OTHER_HASH));
    let context = first.context();
    let other = BuildContext { sources: Sources::new(second.0.path()), ..context.clone() };
    let (_first, built) = (build(&context), build(&other));
    let in_force = || context.shared.password_costs().all().len();
    assert_eq!(in_force(), 2);
    second.write(r#"{ "alice": { "pass": "clear" } }"#);
    built.inner.reload();
    assert_eq!(in_force(), 1);
    second.write(&format!(r#"{{ "alice": {{ "pass": "{OTHER_HASH}" }} }}"#));
    built.inner.reload();
    assert_eq!(in_force(), 2);
    drop(built);
    assert_eq!(in_force(), 1);
}

#[test]
fn hashes_with_different_parameters_in_one_file_are_warned_about() {
    let users = format!(r#"{{ "a": {{ "pass": "{HASH}" }}, "b": {{ "pass": "{OTHER_HASH}" }} }}"#);
    let (built, _, warnings) = build_from(TABLE, &Folder::with(&users).context());
    assert!(built.is_some());
    assert!(warnings[0].contains("2 different sets of parameters"), "{warnings:?}");
}

#[tokio::test]
async fn the_other_formats_load_too() {
    for (name, text) in [
        ("users.toml", "[alice]\npassword = \"x\"\nexpires = 2099-01-01T00:00:00Z\n"),
        ("users.yaml", "alice:\n  password: x\n  expires: 2099-01-01T00:00:00Z\n"),
    ] {
        let folder = Folder::with("{}");
        fs::write(folder.0.path().join(name), text).unwrap();
        let (built, faults, _) = build_from(&format!("file = \"{name}\""), &folder.context());
        let users = built.unwrap_or_else(|| panic!("{faults:?}"));
        let identity = answer(&users, password("alice", "x")).await.unwrap();
        assert_eq!(identity.expires_at, Some(UnixTime::from_seconds(4_070_908_800)), "{name}");
    }
}

#[test]
fn the_file_is_not_watched_twice() {
    let folder = Folder::with("{}");
    let context = folder.context();
    let _users = build(&context);
    assert_eq!(context.sources.files_read(), Vec::<std::path::PathBuf>::new());
}
