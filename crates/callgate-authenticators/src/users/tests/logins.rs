//! Logins of the users of a file.

use super::*;

#[tokio::test]
async fn users_of_nats_by_example_load_as_they_are() {
    let folder = Folder::with(NATS_BY_EXAMPLE);
    let (built, faults, warnings) = build_from(TABLE, &folder.context());
    assert_eq!(faults, Vec::<String>::new());
    let [warning] = warnings.as_slice() else { panic!("{warnings:?}") };
    assert!(warning.starts_with("users.json: the permissions of `bob`: "), "{warning}");
    assert!(warning.ends_with("`responses` is not a boundary"), "{warning}");
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
async fn templates_are_separate_from_plain_permissions() {
    let folder = Folder::with(
        r#"{ "bob": { "pass": "x", "permissions": { "pub": ["a", "u.{{ user }}.>"] } },
             "eve": { "pass": "x", "permissions": { "pub": ["a"] } } }"#,
    );
    let (built, faults, warnings) = build_from(TABLE, &folder.context());
    assert_eq!((faults, warnings), (vec![], vec![]));
    let users = built.unwrap();
    let bob = answer(&users, password("bob", "x")).await.unwrap().proposal;
    assert_eq!(bob.permissions.unwrap().publish.allow, ["a".parse().unwrap()]);
    assert!(bob.templates.is_some());
    assert!(answer(&users, password("eve", "x")).await.unwrap().proposal.templates.is_none());
}

fn entry(password: &str) -> serde_json::Value {
    serde_json::json!({ "password": password })
}

#[test]
fn unknown_users_cost_what_known_users_cost() {
    for known in [
        vec![HASH],
        vec![HASH, OTHER_HASH, BCRYPT, PBKDF2],
        vec![HASH, HASH, HASH, "clear text"],
        vec!["clear text"],
    ] {
        let users = known
            .iter()
            .enumerate()
            .map(|(number, stored)| (format!("known-{number}"), entry(stored)));
        let token_only = [("sensor".to_owned(), serde_json::json!({ "token": "t" }))];
        let users: serde_json::Map<_, _> = users.chain(token_only).collect();
        let folder = Folder::with(&serde_json::Value::from(users).to_string());
        let users = build(&folder.context());
        let table = users.directory.file.users();
        // Verifies each password and counts the hashes, by their parameters.
        let mut scratch = Scratch::default();
        let mut count = |stored: &StoredPassword| {
            let before = scratch.derived();
            assert!(!stored.verify(&"wrong".into(), &mut scratch));
            (stored.cost(), scratch.derived() - before)
        };
        let own: BTreeSet<_> = (0..known.len())
            .map(|number| table.users().by_name(&format!("known-{number}")).unwrap())
            .map(|entry| count(entry.password.as_ref().unwrap()))
            .collect();
        let dummies: BTreeSet<_> = (0..500)
            .map(|number| users.directory.dummy_password(&format!("unknown-{number}")))
            .map(|dummy| count(&dummy))
            .collect();
        assert_eq!(dummies, own);
        assert!(own.iter().all(|(cost, hashes)| *hashes == u64::from(cost.is_some())));
        assert!(table.users().by_name("sensor").unwrap().password.is_none());
    }
}

#[tokio::test]
async fn only_clear_text_tables_hash_nothing() {
    for (users, hashes) in [
        (r#"{ "alice": { "pass": "clear" }, "sensor": { "token": "t" } }"#, false),
        (r#"{ "sensor": { "token": "t" } }"#, true),
        ("{}", true),
    ] {
        for user in ["alice", "sensor", "unknown"] {
            let folder = Folder::with(users);
            let context = folder.context();
            let refused = outcome(&build(&context), user, "wrong").await;
            assert!(refused.is_err());
            let pool = context.services.shared.password_pool();
            assert_eq!(pool.is_started(), hashes, "{user} in {users}");
        }
    }
}

#[tokio::test]
async fn unknown_user_is_never_admitted_with_a_known_password() {
    // With a single user every dummy has its parameters.
    for stored in ["right", HASH] {
        let folder = Folder::with(&serde_json::json!({"alice": {"password": stored}}).to_string());
        let users = build(&folder.context());
        for _ in 0..2 {
            let refused = outcome(&users, "mallory", "right").await;
            assert_eq!(refused, Err(Some(Reason::UnknownUser)));
        }
        assert_eq!(outcome(&users, "alice", "right").await, Ok(()));
    }
    let users = build(&Folder::with("{}").context());
    assert_eq!(outcome(&users, "mallory", "right").await, Err(Some(Reason::UnknownUser)));
}

#[tokio::test]
async fn unrestricted_only_without_permissions_and_roles() {
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
async fn every_key_of_an_entry_reaches_policy() {
    let folder = Folder::with(
        r#"{ "alice": { "password": "x", "account": "APP", "roles": ["reader"],
             "source": ["10.0.0.0/8", "192.0.2.1"], "connection_types": ["nats", "LEAFNODE"],
             "expires": "2099-01-01T02:00:00+02:00", "expires_after": "8h", "disabled": false } }"#,
    );
    let mut context = folder.context();
    context.policy.roles = Arc::new(BTreeSet::from(["reader".to_owned()]));
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

#[tokio::test]
async fn unknown_user_falls_through_only_if_configured() {
    let folder = Folder::with(
        r#"{ "alice": { "pass": "x" }, "erin": { "pass": "x", "disabled": true },
             "carol": { "token": "t" } }"#,
    );
    let mut context = folder.context();
    let table = "file = \"users.json\"\nfall_through = true";
    let faults = build_from(table, &context).1;
    assert!(faults[0].contains("nothing to fall through to"), "{faults:?}");
    (context.chain.is_followed, context.chain.passwords_taken_later) = (true, true);
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
async fn unknown_user_costs_a_hash_in_the_last_table() {
    let folder = Folder::with(&format!(r#"{{ "alice": {{ "pass": "{HASH}" }} }}"#));
    let mut context = folder.context();
    context.chain.is_followed = true;
    let (built, faults, warnings) = build_from(&format!("{TABLE}\nfall_through = true"), &context);
    assert!(faults.is_empty() && warnings[0].contains("refused anyway"), "{warnings:?}");
    let users = built.unwrap();
    let pool = context.services.shared.password_pool();
    assert!(!pool.is_started());
    assert_eq!(outcome(&users, "bob", "right").await, Err(None));
    assert!(pool.is_started());
    // If a later authenticator takes passwords, that one makes the login cost a hash.
    let mut context = folder.context();
    (context.chain.is_followed, context.chain.passwords_taken_later) = (true, true);
    let users = build_from(&format!("{TABLE}\nfall_through = true"), &context).0.unwrap();
    assert_eq!(outcome(&users, "bob", "right").await, Err(None));
    assert!(!context.services.shared.password_pool().is_started());
}

#[tokio::test]
async fn expiry_shows_only_after_the_password_proved_right() {
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
async fn toml_and_yaml_load_too() {
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

#[tokio::test]
async fn user_names_are_compared_exactly() {
    let folder = Folder::with(r#"{ "alice": { "pass": "x" }, "Ren\u00e9": { "pass": "x" } }"#);
    let users = build(&folder.context());
    assert_eq!(outcome(&users, "Ren\u{e9}", "x").await, Ok(()));
    for name in ["Alice", "ALICE", " alice", "alice ", "alice\0", "alice\u{200b}", "Rene\u{301}"] {
        assert_eq!(outcome(&users, name, "x").await, Err(Some(Reason::UnknownUser)), "{name:?}");
    }
}

#[tokio::test]
async fn remembered_password_still_ends_with_the_entry() {
    let users =
        format!(r#"{{ "fred": {{ "pass": "{HASH}", "expires": "2026-01-01T00:00:00Z" }} }}"#);
    let folder = Folder::with(&users);
    let users = build(&folder.context());
    let at = |seconds| password("fred", "right").received_at(UnixTime::from_seconds(seconds));
    assert!(answer(&users, at(1_767_225_599)).await.is_ok());
    assert_eq!(answer(&users, at(1_767_225_600)).await, Err(Some(Reason::UserExpired)));
}

#[tokio::test]
async fn one_file_may_have_hashes_of_different_kinds() {
    let users = serde_json::json!({
        "argon2id": {"pass": HASH},
        "another": {"pass": OTHER_HASH},
        "bcrypt": {"pass": BCRYPT},
        "pbkdf2": {"pass": PBKDF2},
        "clear": {"pass": "right"},
        "sensor": {"token": "t"},
    });
    let folder = Folder::with(&users.to_string());
    let mut context = folder.context();
    context.services.cache = CacheSettings { passwords: Duration::ZERO, ..context.services.cache };
    let (built, faults, warnings) = build_from(TABLE, &context);
    assert_eq!((faults, warnings), (vec![], vec![]));
    let file = built.unwrap();
    for user in ["argon2id", "another", "bcrypt", "pbkdf2", "clear"] {
        assert_eq!(outcome(&file, user, "right").await, Ok(()), "{user}");
        let wrong = outcome(&file, user, "wrong").await;
        assert_eq!(wrong, Err(Some(Reason::BadPassword)), "{user}");
    }
    assert_eq!(outcome(&file, "sensor", "right").await, Err(Some(Reason::BadPassword)));
    assert_eq!(outcome(&file, "unknown", "right").await, Err(Some(Reason::UnknownUser)));
}

/// True if the password is remembered after a good login.
async fn remembers(context: &BuildContext, word: &str) -> bool {
    let users = build(context);
    let _answer = answer(&users, password("alice", word)).await;
    let version = users.directory.file.users().users().by_name("alice").unwrap().version;
    let key = VerifiedKey::new("staff", version, "alice", word);
    context.services.shared.verified_passwords().holds(&key, Instant::now())
}

#[tokio::test]
async fn only_correct_passwords_are_remembered() {
    let folder = Folder::with(&format!(r#"{{ "alice": {{ "pass": "{HASH}" }} }}"#));
    let mut context = folder.context();
    assert!(remembers(&context, "right").await);
    assert!(!remembers(&context, "wrong").await);
    context.services.cache = CacheSettings { passwords: Duration::ZERO, ..context.services.cache };
    assert!(!remembers(&context, "right").await);
}

#[tokio::test]
async fn tokens_and_remembered_passwords_do_not_queue() {
    let folder = Folder::with(&format!(
        r#"{{ "alice": {{ "pass": "{HASH}" }}, "sensor": {{ "token": "t" }} }}"#
    ));
    let context = folder.context();
    let users = build(&context);
    assert_eq!(outcome(&users, "alice", "right").await, Ok(()));
    // The only thread is busy until `release` is dropped.
    let (release, released) = std::sync::mpsc::channel::<()>();
    let shared = Arc::clone(&context.services.shared);
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
async fn token_logs_in_by_its_hash() {
    // printf %s secret-token | sha256sum
    const SHA256: &str = "930bbdc51b6aed5c2a5678fd6e28dee7a05e8a4b643cfc0b4427c3efb86c0d94";
    for hash in [SHA256.to_owned(), SHA256.to_uppercase()] {
        let folder = Folder::with(&format!(r#"{{ "sensor": {{ "token_sha256": "{hash}" }} }}"#));
        let users = build(&folder.context());
        let login = |token: &str| AuthRequest::for_tests(Credential::Token(token.into()));
        let identity = answer(&users, login("secret-token")).await.unwrap();
        assert_eq!(identity.user, "sensor");
        // The hash is not a token.
        assert_eq!(answer(&users, login(&hash)).await, Err(None));
        assert_eq!(answer(&users, login("secret-tokem")).await, Err(None));
    }
}
