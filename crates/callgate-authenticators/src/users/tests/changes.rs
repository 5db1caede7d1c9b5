//! A users file that changes while it is in force.

use super::*;

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
    let mut context = folder.context();
    context.services.observer = Arc::clone(&counter) as _;
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
    let mut context = folder.context();
    context.services.observer = observer;
    context.services.background = true;
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
    let mut other = context.clone();
    other.services.sources = Sources::new(second.0.path());
    let (_first, built) = (build(&context), build(&other));
    let in_force = || context.services.shared.password_costs().all().len();
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
fn the_file_is_not_watched_twice() {
    let folder = Folder::with("{}");
    let context = folder.context();
    let _users = build(&context);
    assert!(context.services.sources.files_read().is_empty());
}
