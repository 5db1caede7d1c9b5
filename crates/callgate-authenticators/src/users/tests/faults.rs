//! Errors and warnings about a users file.

use super::*;

#[test]
fn file_that_others_may_access_is_a_warning() {
    let hashed = format!(r#"{{ "al": {{ "pass": "{HASH}" }} }}"#);
    for (users, mode, words) in [
        (r#"{ "al": { "pass": "x" } }"#, 0o644, Some("is readable by others")),
        (r#"{ "al": { "token": "t" } }"#, 0o640, Some("is readable by others")),
        (hashed.as_str(), 0o644, None),
        (hashed.as_str(), 0o664, Some("is writable by others")),
    ] {
        let folder = Folder::with(users);
        folder.set_mode(mode);
        let (_, faults, warnings) = build_from(TABLE, &folder.context());
        assert!(faults.is_empty(), "{faults:?}");
        assert_eq!(warnings.len(), usize::from(words.is_some()), "{users} {mode:o}: {warnings:?}");
        assert!(warnings.iter().all(|warning| words.is_some_and(|words| warning.contains(words))));
    }
}

#[test]
fn all_errors_of_all_entries_are_reported_together() {
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
             "li\u200bsa": {{ "pass": "x" }},
             "t": {{ "token": "", "pass": "x" }},
             "u": {{ "pass": "x", "account": "" }},
             "v": {{ "pass": "$DB_PASSWORD" }},
             "w": {{ "pass": "scrypt:32768:8:1$c2FsdA$c2FsdA" }},
             "x": {{ "token": "$2b$05$secrethash" }} }}"#
    );
    let folder = Folder::with(&users);
    let mut context = folder.context();
    context.policy.roles = Arc::new(BTreeSet::from(["reader".to_owned()]));
    let faults = build_from(TABLE, &context).1;
    let expected = [
        ("\"\"", "must not be empty"),
        ("\"li\\u{200b}sa\"", "control or invisible"),
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
        ("v.pass", "variable that was not expanded"),
        ("w.pass", "has the form of a hash"),
        ("x.token", "has the form of a hash"),
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
fn duplicate_user_is_an_error() {
    let faults = faults_of(r#"{ "alice": { "pass": "x" }, "alice": { "pass": "y" } }"#);
    assert!(faults[0].contains("duplicate key `alice`"), "{faults:?}");
}

#[test]
fn missing_empty_or_broken_file_is_an_error() {
    for users in ["", " \n", "# no users", "[]", "{", "null", "\u{0}"] {
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
fn password_that_is_too_long_is_a_warning() {
    for (length, warned) in [(1024, 0), (1025, 1), (5000, 1)] {
        let password = "x".repeat(length);
        let users = format!(
            r#"{{ "a": {{ "pass": "{password}" }}, "b": {{ "password_plain": "{password}" }} }}"#
        );
        let (_, faults, warnings) = build_from(TABLE, &Folder::with(&users).context());
        assert!(faults.is_empty(), "{faults:?}");
        let told = |user: &str| {
            let ours = |warning: &&String| warning.contains(user) && warning.contains("1024 bytes");
            warnings.iter().filter(ours).count()
        };
        assert_eq!([told("a.pass"), told("b.password_plain")], [warned; 2], "{warnings:?}");
    }
}

#[test]
fn unknown_account_is_a_warning() {
    let folder = Folder::with(r#"{ "alice": { "pass": "x", "account": "APPP" } }"#);
    let mut context = folder.context();
    context.policy.knows_account = Arc::new(|account| account == "APP");
    let (built, faults, warnings) = build_from(TABLE, &context);
    assert!(built.is_some() && faults.is_empty());
    assert!(warnings[0].starts_with("users.json: alice.account: unknown account `APPP`"));
    context.policy.is_callout_account = Arc::new(|account| account == "APPP");
    let warnings = build_from(TABLE, &context).2;
    assert!(warnings[0].starts_with("users.json: alice.account: `APPP` is the callout account"));
}

#[test]
fn key_that_signs_service_tokens_cannot_log_in() {
    let key = KeyPair::generate(KeyKind::User).unwrap().public_key();
    let folder = Folder::with(&format!(r#"{{ "alice": {{ "nkey": "{key}" }} }}"#));
    let mut context = folder.context();
    context.chain.token_keys = Arc::new(BTreeSet::from([key]));
    let faults = build_from(TABLE, &context).1;
    assert!(faults[0].contains("also signs service tokens"), "{faults:?}");
}

#[test]
fn passwords_that_are_never_used_are_a_warning() {
    for (users, expected) in
        [(r#"{ "a": { "pass": "x" } }"#, 1), (r#"{ "a": { "token": "x" } }"#, 0)]
    {
        let folder = Folder::with(users);
        let mut context = folder.context();
        assert_eq!(build_from(TABLE, &context).2, Vec::<String>::new());
        context.chain.passwords_stop_at = Some("first".into());
        let warnings = build_from(TABLE, &context).2;
        assert_eq!(warnings.len(), expected, "{warnings:?}");
        assert!(warnings.iter().all(|warning| warning.contains("`first` before it refuses")));
    }
    let ends = |table| Users.refuses_unknown_users(&table);
    assert!(ends(serde_json::json!({})) && ends(serde_json::json!({"fall_through": false})));
    assert!(!ends(serde_json::json!({"fall_through": true})));
}

#[test]
fn each_kind_of_permission_warning_appears_once() {
    let doubtful = r#""permissions": { "pub": { "deny": ["a"] }, "sub": ["x.*"] }"#;
    let entries = (1..=7).map(|n| format!(r#""u{n}": {{ "pass": "x", {doubtful} }}"#));
    let users = format!("{{ {} }}", entries.collect::<Vec<_>>().join(", "));
    let warnings = build_from(TABLE, &Folder::with(&users).context()).2;
    let names = "users.json: the permissions of `u1`, `u2`, `u3`, `u4`, `u5` and 2 more: ";
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    for (warning, words) in
        warnings.iter().zip(["`deny` without `allow` grants nothing", "ends in `.*`"])
    {
        assert!(warning.starts_with(names) && warning.contains(words), "{warning}");
    }
}

#[test]
fn hash_slower_than_the_deadline_is_a_warning() {
    let bcrypt = |cost: &str| format!("$2b${cost}${}{}", "a".repeat(22), "a".repeat(31));
    let argon2 = format!("$argon2id$v=19$m=1048576,t=16,p=1$c2FsdHNhbHRzYWx0${}", "A".repeat(43));
    for (hash, timeout, warned) in [
        (bcrypt("12"), 1, false),
        (bcrypt("16"), 1, true),
        (bcrypt("16"), 60, true),
        (argon2, 1, true),
    ] {
        let users = format!(r#"{{ "a": {{ "pass": "{hash}" }}, "b": {{ "pass": "{HASH}" }} }}"#);
        let folder = Folder::with(&users);
        let context = BuildContext { timeout: Duration::from_secs(timeout), ..folder.context() };
        let warnings = build_from(TABLE, &context).2;
        assert_eq!(warnings.len(), usize::from(warned), "{hash}: {warnings:?}");
        let words =
            format!("the authenticator's `timeout` is {timeout}s, and nats-server waits 2 s");
        assert!(warnings.iter().all(|warning| warning.contains(&words)), "{warnings:?}");
    }
}

#[test]
fn entries_that_can_never_log_in_are_warnings() {
    let claims = data_encoding::BASE64URL_NOPAD.encode(br#"{"nats":{"type":"user"}}"#);
    let users = serde_json::json!({
        "a": {"pass": "x".repeat(1025)},
        "b": {"password_plain": "x".repeat(1025)},
        "c": {"token": "x".repeat(16 * 1024 + 1)},
        "d": {"token": format!("eyJ9.{claims}.x")},
        "x".repeat(513): {"pass": "x"},
        "y".repeat(513): {"token": "x"},
        "fine": {"pass": "x".repeat(1024), "token": "x".repeat(16 * 1024)},
    });
    let (built, faults, warnings) = build_from(TABLE, &Folder::with(&users.to_string()).context());
    assert!(built.is_some(), "{faults:?}");
    for (warning, words) in warnings.iter().zip([
        "a.pass: has more than 1024 bytes",
        "b.password_plain: has more than 1024 bytes",
        "c.token: has more than 16384 bytes",
        "d.token: is a NATS user JWT",
        "the name has more than 512 bytes",
    ]) {
        assert!(warning.contains(words), "{warning}");
    }
    assert_eq!(warnings.len(), 5, "{warnings:?}");
}

#[test]
fn users_without_an_account_are_a_warning() {
    let folder =
        Folder::with(r#"{ "a": { "pass": "x" }, "b": { "pass": "x", "account": "APP" } }"#);
    let mut context = folder.context();
    assert_eq!(build_from(TABLE, &context).2, Vec::<String>::new());
    context.policy.may_name_account = false;
    let warnings = build_from(TABLE, &context).2;
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("no account is configured for `a`"), "{warnings:?}");
}

#[test]
fn file_of_only_comments_is_an_error() {
    for name in ["users.toml", "users.yaml"] {
        let folder = Folder::with("{}");
        fs::write(folder.0.path().join(name), "# alice is gone\n\n  # and so is bob").unwrap();
        let faults = build_from(&format!("file = \"{name}\""), &folder.context()).1;
        assert!(faults[0].contains("the file is empty"), "{faults:?}");
    }
}

#[test]
fn pipe_is_refused_without_waiting_for_it() {
    let folder = Folder::with("{}");
    let pipe = folder.0.path().join("pipe.json");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    std::os::unix::fs::symlink("pipe.json", folder.0.path().join("link.json")).unwrap();
    for name in ["pipe.json", "link.json"] {
        let faults = build_from(&format!("file = \"{name}\""), &folder.context()).1;
        assert!(faults[0].contains("is not a regular file"), "{faults:?}");
    }
    assert!(crate::jwks::FileSource::new(&pipe).read().is_err());
}

#[test]
fn duplicate_user_in_yaml_has_the_same_error() {
    let folder = Folder::with("{}");
    fs::write(folder.0.path().join("users.yaml"), "a:\n  pass: x\na:\n  pass: y\n").unwrap();
    let faults = build_from("file = \"users.yaml\"", &folder.context()).1;
    assert!(faults[0].contains("duplicate key `a`"), "{faults:?}");
}

#[test]
fn expires_is_a_time_in_rfc_3339() {
    let expires =
        |text: &str| faults_of(&format!(r#"{{ "a": {{ "pass": "x", "expires": "{text}" }} }}"#));
    for good in [
        "2027-01-31T18:00:00Z",
        "2027-01-31t18:00:00.25z",
        "2027-01-31 18:00:00+02:00",
        "2027-01-31T18:00:00.123456789-11:30",
    ] {
        assert_eq!(expires(good), Vec::<String>::new(), "{good}");
    }
    for bad in [
        "2027-01-31T18:00:00+0200",
        "2027-01-31T18:00:00+02",
        "2027-01-31T18:00Z",
        "20270131T180000Z",
        "2027-01-31T18:00:00",
        "2027-01-31T18:00:00,5Z",
        "2027-01-31T18:00:00+02:00[Europe/Berlin]",
    ] {
        assert!(expires(bad)[0].contains("RFC 3339"), "{bad}");
    }
}

#[test]
fn templates_count_for_permission_warnings() {
    let entry = r#""pub": { "allow": ["a.{{ user }}"], "deny": ["a.b"] }"#;
    let users = format!(r#"{{ "a": {{ "pass": "x", "permissions": {{ {entry} }} }} }}"#);
    let warnings = build_from(TABLE, &Folder::with(&users).context()).2;
    assert!(warnings.len() == 1 && warnings[0].contains("a deny can be bypassed"), "{warnings:?}");
}

#[test]
fn token_that_looks_like_a_hash_is_an_error() {
    let hex = "0123456789abcdef".repeat(4);
    for (entry, message) in [
        (format!(r#""token": "{HASH}""#), "its SHA-256 hash as `token_sha256`"),
        (r#""token": "$5$salt$hash""#.to_owned(), "has the form of a hash"),
        (r#""token": "{SHA256}hash""#.to_owned(), "has the form of a hash"),
        (r#""token_sha256": "secret-token""#.to_owned(), "write 64 hex digits"),
        (format!(r#""token_sha256": "{hex}0""#), "write 64 hex digits"),
        (format!(r#""token_sha256": "{}g""#, &hex[1..]), "write 64 hex digits"),
        (format!(r#""token": "t", "token_sha256": "{hex}""#), "cannot be combined with `token`"),
    ] {
        let faults = faults_of(&format!(r#"{{ "a": {{ {entry} }} }}"#));
        assert_eq!(faults.len(), 1, "{entry}: {faults:?}");
        assert!(faults[0].contains(message), "{entry}: {faults:?}");
        assert!(!faults[0].contains("secret-token"), "{faults:?}");
    }
    // The same token, once in clear and once as a hash.
    let hash = data_encoding::HEXLOWER.encode(&crate::directory::token_hash("t"));
    let twice = format!(r#"{{ "a": {{ "token": "t" }}, "b": {{ "token_sha256": "{hash}" }} }}"#);
    assert!(faults_of(&twice)[0].contains("`a` has the same one"));
    let folder = Folder::with(&format!(r#"{{ "a": {{ "token": "{hex}" }} }}"#));
    let (_, faults, warnings) = build_from(TABLE, &folder.context());
    assert!(faults.is_empty(), "{faults:?}");
    assert!(warnings[0].contains("if it is a hash, write it as `token_sha256`"), "{warnings:?}");
}
