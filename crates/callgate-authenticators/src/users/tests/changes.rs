//! A users file that changes.

use super::*;

#[tokio::test]
async fn changed_file_ends_remembered_verifications() {
    let with_hash = |hash| format!(r#"{{ "alice": {{ "pass": "{hash}" }} }}"#);
    let folder = Folder::with(&with_hash(HASH));
    let users = build(&folder.context());
    assert_eq!(outcome(&users, "alice", "right").await, Ok(()));
    folder.write(&with_hash("new-password"));
    users.directory.file.reload();
    assert_eq!(outcome(&users, "alice", "right").await, Err(Some(Reason::BadPassword)));
    assert_eq!(outcome(&users, "alice", "new-password").await, Ok(()));
    folder.write("{}");
    users.directory.file.reload();
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
async fn bad_file_keeps_the_old_users_and_is_counted() {
    let folder = Folder::with(r#"{ "alice": { "pass": "x" } }"#);
    let counter = Arc::new(Counter::default());
    let mut context = folder.context();
    context.services.observer = Arc::clone(&counter) as _;
    let users = build(&context);
    // The same error again is not counted again.
    for bad in ["", "{", "{", r#"{ "alice": { "pass": "" } }"#, r#"{ "alice": { "pass": "y" "#] {
        folder.write(bad);
        users.directory.file.reload();
        assert_eq!(outcome(&users, "alice", "x").await, Ok(()), "{bad}");
    }
    fs::remove_file(folder.path()).unwrap();
    users.directory.file.reload();
    assert_eq!(outcome(&users, "alice", "x").await, Ok(()));
    folder.write(r#"{ "bob": { "pass": "y" } }"#);
    users.directory.file.reload();
    assert_eq!(outcome(&users, "alice", "x").await, Err(Some(Reason::UnknownUser)));
    assert_eq!(outcome(&users, "bob", "y").await, Ok(()));
    assert_eq!(*counter.0.lock().unwrap(), [false, false, false, false, false, true]);
}

/// Replaces the file as Kubernetes does, by swapping a symbolic link.
fn swap(folder: &Path, name: &str, users: &str) {
    fs::write(folder.join(name), users).unwrap();
    std::os::unix::fs::symlink(name, folder.join("new")).unwrap();
    fs::rename(folder.join("new"), folder.join("users.json")).unwrap();
}

#[tokio::test]
async fn changed_file_is_loaded_until_retirement() {
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
        assert!(Instant::now() < deadline, "the change was never loaded");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(outcome(&users, "alice", "x").await, Err(Some(Reason::UnknownUser)));
    users.retire();
    assert!(users.directory.watch.lock().unwrap().is_none());
}

#[test]
fn users_file_is_not_a_file_of_the_configuration() {
    let folder = Folder::with("{}");
    let context = folder.context();
    let _users = build(&context);
    assert!(context.services.sources.files_read().is_empty());
}

#[tokio::test]
async fn changed_entry_ends_its_remembered_verifications() {
    let entries =
        |alice: &str| format!(r#"{{ "alice": {{ {alice} }}, "bob": {{ "pass": "b" }} }}"#);
    let folder = Folder::with(&entries(r#""pass": "x", "token": "t""#));
    let users = build(&folder.context());
    let mut changes = users.changes();
    let by_password = users.authenticate(&password("alice", "x")).await.unwrap();
    let by_token =
        users.authenticate(&AuthRequest::for_tests(Credential::Token("t".into()))).await.unwrap();
    let standing = |identity: &Identity, now: i64| {
        let now = UnixTime::from_seconds(now);
        match users.reassess(identity, &Reassessment { now, withdrawn_keys: false }) {
            Standing::Current(identity) => Ok(*identity),
            Standing::Gone(cause) => Err(Some(cause)),
            Standing::Unknown => Err(None),
        }
    };
    assert_eq!(standing(&by_password, 0), Ok(by_password.clone()));
    assert_eq!(standing(&by_token, 0), Ok(by_token.clone()));

    // Only the credential that was used counts, also if the same password is written as another hash.
    folder.write(&entries(&format!(r#""pass": "{HASH}", "token": "t", "account": "APP""#)));
    assert!(users.directory.file.reload());
    assert!(changes.iter_mut().all(|changes| changes.has_changed().unwrap()));
    assert_eq!(standing(&by_password, 0), Err(Some(GoneCause::CredentialChanged)));
    assert_eq!(standing(&by_token, 0).unwrap().proposal.account.as_deref(), Some("APP"));
    assert_eq!(standing(&by_token, 0).unwrap().credential_id, by_token.credential_id);

    for (entry, cause) in [
        (r#""pass": "x", "token": "t", "disabled": true"#, GoneCause::UserDisabled),
        (r#""pass": "x", "token": "t", "expires": "1970-01-01T00:00:10Z""#, GoneCause::UserExpired),
        (r#""pass": "x", "token": "u""#, GoneCause::CredentialChanged),
    ] {
        folder.write(&entries(entry));
        assert!(users.directory.file.reload(), "{entry}");
        assert_eq!(standing(&by_token, 10), Err(Some(cause)), "{entry}");
    }
    // An invalid file changes nothing.
    folder.write("{");
    assert!(!users.directory.file.reload());
    assert_eq!(standing(&by_password, 0), Ok(by_password.clone()));
    folder.write(r#"{ "bob": { "pass": "b" } }"#);
    assert!(users.directory.file.reload());
    assert_eq!(standing(&by_password, 0), Err(Some(GoneCause::UserRemoved)));
}
