//! Errors and warnings about settings.

use super::*;
use crate::{
    connection::ConnectionKinds,
    policy::{PolicyWarning, settings::TimeWindow},
};

#[test]
fn all_errors_are_reported_together_with_their_keys() {
    let broken = settings(|p| {
        p.session.jitter = 1.0;
        p.accounts.accounts = vec![AccountSettings::named("*")];
        p.authenticators.push(authenticator("idp"));
        p.authenticators[0].ceiling.roles = texts(&["reeder"]);
        p.authenticators[0].ceiling.publish = texts(&["a..b"]);
        p.authenticators[0].user_prefix = "a b".into();
        let mut role = publisher(&["a", "b.*c"]);
        role.subscribe.deny = texts(&["x y z"]);
        role.source = Some(Vec::new());
        role.connection_types = Some(ConnectionKinds::NONE);
        role.expires_after = Some(Duration::ZERO);
        role.responses = Some(Responses { max: Some(0), ttl: None });
        role.scope = Some("s".into());
        role.tags = texts(&["{{ x }}"]);
        let noon = "12:00:00".parse().unwrap();
        role.times = Some(vec![TimeWindow { start: noon, end: noon }]);
        p.roles.insert("reader".into(), role);
        p.bindings = vec![
            bind(&["raeder"]),
            BindingSettings {
                authenticator: AuthenticatorSelector::Named(texts(&["ipd"])),
                ..when("usr", &[])
            },
        ];
    });
    let faults = Policy::build(broken).unwrap_err();
    let paths: Vec<_> = faults.iter().map(|fault| fault.path.as_str()).collect();
    let expected = [
        "accounts[0].name",
        "authenticators[0].ceiling.publish[0]",
        "authenticators[0].ceiling.roles[0]",
        "authenticators[0].user_prefix",
        "authenticators[1].name",
        "bindings[0].authenticator",
        "bindings[0].roles[0]",
        "bindings[1].authenticator",
        "bindings[1].when",
        "roles.reader.connection_types",
        "roles.reader.expires_after",
        "roles.reader.publish.allow[1]",
        "roles.reader.responses.max",
        "roles.reader.scope",
        "roles.reader.source",
        "roles.reader.subscribe.deny[0]",
        "roles.reader.tags[0]",
        "roles.reader.times[0]",
        "session.jitter",
    ];
    assert_eq!(paths, expected);
    let text = format!("{faults:?}");
    for hint in ["did you mean `reader`", "did you mean `idp`", "did you mean `user`"] {
        assert!(text.contains(hint), "{hint}: {text}");
    }
}

#[test]
fn probable_mistakes_cause_warnings() {
    let policy = policy(|p| {
        let mut role = publisher(&["a.>"]);
        role.subscribe = SideSettings { allow: texts(&["a.b", "jobs.*"]), deny: Vec::new() };
        role.responses = Some(Responses::default());
        p.roles.insert("loop".into(), role);
        let deny = SideSettings { allow: Vec::new(), deny: texts(&["x"]) };
        p.roles.insert("deny".into(), RoleSettings { publish: deny, ..RoleSettings::default() });
        p.authenticators[0].defaults =
            Some(RoleSettings { subscribe: allow(&["_INBOX.>"]), ..RoleSettings::default() });
        p.bindings = vec![
            bind(&["{{ groups }}"]),
            bind(&[]),
            BindingSettings { account: Some("{{ claims.a }}".into()), ..bind(&["deny"]) },
        ];
    });
    let found: Vec<_> = policy.warnings().iter().map(|warning| warning.path.as_str()).collect();
    let expected = [
        "authenticators[0].ceiling",
        "authenticators[0].directory.defaults",
        "bindings[0].roles",
        "bindings[1]",
        "bindings[2].account",
        "roles.deny.publish",
        "roles.loop.responses",
        "roles.loop.subscribe.allow[1]",
    ];
    assert_eq!(found, expected);
}

#[test]
fn wildcard_hidden_by_a_longer_subject_causes_a_warning() {
    for (allows, warned) in [
        (&["x.*", "x.b.c"][..], true),
        (&["*", "b.b.b.d"], true),
        (&["b.b.b.d", "*"], true),
        (&["*.*", "*.q.c"], true),
        (&["x.*", "x.{{ user }}.c"], true),
        (&["t.{{ user }}.*", "t.{{ user }}.b.c"], true),
        (&["x.*", "x.b.>"], true),
        (&["x.*", "x.b", "x.b.c"], false),
        (&["x.*", "x.b"], false),
        (&["x.>", "x.b.c"], false),
        (&["*.*", "b.*.c"], false),
        (&["*.b", "b.b.d"], false),
        (&["x.*", "x.*.c"], false),
        (&["x.*", "xy.b.c"], false),
    ] {
        let policy = policy(|p| drop(p.roles.insert("one".into(), publisher(allows))));
        let found = policy.warnings().iter().any(|w| w.message.contains("2.10 and 2.11 refuse"));
        assert_eq!(found, warned, "{allows:?}");
    }
}

#[test]
fn mqtt_topic_filters_are_reported() {
    let deny = |text: &str| SideSettings { allow: texts(&["ok"]), deny: texts(&["x", text]) };
    for text in ["secret/#", "secret.#", "+.x", "a/b", "a/{{ user }}"] {
        let built = Policy::build(settings(|p| {
            let role = RoleSettings { publish: deny(text), ..RoleSettings::default() };
            p.roles.insert("one".into(), role);
            let role = RoleSettings { subscribe: deny(text), ..RoleSettings::default() };
            p.roles.insert("two".into(), role);
        }));
        let faults = built.unwrap_err();
        let paths: Vec<_> = faults.iter().map(|fault| fault.path.as_str()).collect();
        let expected = ["roles.one.publish.deny[1]", "roles.two.subscribe.deny[1]"];
        assert_eq!(paths, expected, "{text}: {faults:?}");
        assert!(faults[0].message.contains("is an MQTT topic filter"), "{faults:?}");
        let policy = policy(|p| {
            p.roles.insert("one".into(), publisher(&["ok", text]));
            p.authenticators[0].ceiling.subscribe = texts(&[text]);
        });
        let warned = policy.warnings().iter().filter(|w| w.message.contains("MQTT topic filter"));
        let paths: Vec<_> = warned.map(|warning| warning.path.as_str()).collect();
        let expected = ["authenticators[0].ceiling.subscribe[0]", "roles.one.publish.allow[1]"];
        assert_eq!(paths, expected, "{text}");
    }
}

fn answering(publish: &[&str], subscribe: &[&str], inbox: Inbox) -> RoleSettings {
    let (publish, subscribe) = (allow(publish), allow(subscribe));
    let responses = Some(Responses::default());
    RoleSettings { publish, subscribe, inbox, responses, ..RoleSettings::default() }
}

#[test]
fn publish_to_own_inbox_with_responses_causes_a_warning() {
    use Inbox::{None as No, Private, Shared};
    for (publish, inbox, warned) in [
        (">", Private, true),
        (">", Shared, true),
        (">", No, false),
        ("*.>", Private, true),
        ("*", Private, false),
        ("_INBOX_alice.>", Private, true),
        ("_INBOX_{{ encode(user) }}.>", Private, true),
        ("_INBOX{{ claims.x }}.a", Private, true),
        ("_INBOX_alice", Private, false),
        ("_INBOX.>", Private, false),
        ("_INBOX.>", Shared, true),
        ("_INBOX.{{ user }}", Shared, true),
        ("_INBOX_alice.>", Shared, false),
        ("{{ claims.tenant }}.>", Private, false),
        ("{{ claims.tenant }}.>", Shared, false),
        ("orders.{{ user }}.>", Private, false),
    ] {
        let policy =
            policy(|p| drop(p.roles.insert("one".into(), answering(&[publish], &[], inbox))));
        let found = policy.warnings().iter().any(|w| w.path == "roles.one.responses");
        assert_eq!(found, warned, "{publish}, {inbox:?}");
    }
}

#[test]
fn overlapping_roles_with_responses_cause_a_warning() {
    let warned = |change: fn(&mut PolicySettings)| {
        let policy = policy(|p| {
            p.roles.insert("says".into(), publisher(&["a.>"]));
            p.roles.insert("hears".into(), answering(&[], &["a.b"], Inbox::None));
            p.roles.insert("inbox".into(), answering(&[], &[], Inbox::Private));
            p.roles.insert("all".into(), publisher(&[">"]));
            p.roles.insert("own".into(), answering(&["a"], &["a"], Inbox::None));
            change(p);
        });
        let about = |w: &&PolicyWarning| w.message.contains("together");
        policy.warnings().iter().filter(about).map(|w| w.path.clone()).collect::<Vec<_>>()
    };
    let of_first = ["bindings[0].roles".to_owned()];
    assert_eq!(warned(|p| p.bindings = vec![bind(&["says", "hears"])]), of_first);
    assert_eq!(warned(|p| p.bindings = vec![bind(&["all", "inbox"])]), of_first);
    assert!(warned(|p| p.bindings = vec![bind(&["says", "inbox"])]).is_empty());
    assert!(warned(|p| p.bindings = vec![bind(&["says", "all"])]).is_empty());
    // A role that overlaps on its own has its own warning.
    assert!(warned(|p| p.bindings = vec![bind(&["says", "own"])]).is_empty());
    let with_common = |p: &mut PolicySettings| {
        p.bindings = vec![when("user == 'x'", &["says"]), bind(&["hears"])];
    };
    assert_eq!(warned(with_common), of_first);
    let apart = |p: &mut PolicySettings| {
        p.bindings = vec![when("user == 'x'", &["says"]), when("user == 'y'", &["hears"])];
    };
    assert!(warned(apart).is_empty());
    let with_defaults = |p: &mut PolicySettings| {
        p.authenticators[0].defaults = Some(answering(&[], &["a.b"], Inbox::None));
        p.bindings = vec![bind(&["says"])];
    };
    assert_eq!(warned(with_defaults), of_first);
}

#[test]
fn binding_needs_an_authenticator_if_there_are_several() {
    let two = settings(|p| {
        p.authenticators.push(authenticator("other"));
        p.bindings.push(bind(&[]));
    });
    let faults = Policy::build(two).unwrap_err();
    assert!(faults[0].message.contains("idp, other"), "{}", faults[0]);
}

#[test]
fn scope_needs_operator_mode_a_key_and_no_permissions() {
    let scoped = |scope: &str, change: fn(&mut RoleSettings)| {
        Policy::build(settings(|p| {
            p.accounts.operator_mode = true;
            let app =
                AccountSettings { scoped: texts(&["reader"]), ..AccountSettings::named("APP") };
            p.accounts.accounts = vec![app];
            let mut role = RoleSettings { scope: Some(scope.into()), ..RoleSettings::default() };
            change(&mut role);
            p.roles.insert("one".into(), role);
        }))
        .map_err(|faults| faults[0].message.clone())
    };
    assert!(scoped("reader", |_| {}).is_ok());
    assert!(scoped("raeder", |_| {}).unwrap_err().contains("did you mean `reader`"));
    assert!(
        scoped("reader", |r| r.inbox = Inbox::Private)
            .unwrap_err()
            .contains("grants the permissions")
    );
    assert!(
        scoped("reader", |r| r.publish = allow(&["a"]))
            .unwrap_err()
            .contains("grants the permissions")
    );
}

fn scopes(change: impl FnOnce(&mut PolicySettings)) -> PolicySettings {
    settings(|p| {
        p.accounts.operator_mode = true;
        let app = AccountSettings { scoped: texts(&["reader"]), ..AccountSettings::named("APP") };
        p.accounts.accounts = vec![app, AccountSettings::named("OTHER")];
        let scoped = RoleSettings { scope: Some("reader".into()), ..RoleSettings::default() };
        p.roles.insert("reader".into(), scoped.clone());
        let kinds = Some(ConnectionKinds::NONE.with(crate::connection::ConnectionKind::LeafNode));
        p.roles.insert("leaf".into(), RoleSettings { connection_types: kinds, ..scoped });
        p.roles.insert("plain".into(), publisher(&["a"]));
        let source = Some(vec!["10.0.0.0/8".parse().unwrap()]);
        p.roles.insert("near".into(), RoleSettings { source, ..publisher(&["b"]) });
        change(p);
    })
}

#[test]
fn scoped_role_with_unusable_tags_is_an_error() {
    for tag in ["team:>", "a.b", "Team:{{ claims.team }}", "team:$x", "team:", "team:_{{ user }}"] {
        let broken = scopes(|p| p.roles.get_mut("reader").unwrap().tags = texts(&["a:b", tag]));
        let faults = Policy::build(broken).unwrap_err();
        assert_eq!(faults[0].path, "roles.reader.tags[1]", "{tag}: {faults:?}");
        // Without a scope, tags fill no template.
        let plain = scopes(|p| p.roles.get_mut("plain").unwrap().tags = texts(&[tag]));
        assert!(Policy::build(plain).is_ok(), "{tag}");
    }
    let good = texts(&["team:red", "{{ claims.team }}", "team:{{ claims.team }}-x"]);
    assert!(Policy::build(scopes(|p| p.roles.get_mut("reader").unwrap().tags = good)).is_ok());
}

#[test]
fn entry_with_an_unusable_scoped_role_causes_a_warning() {
    let policy = Policy::build(scopes(|p| p.authenticators[0].user_prefix = "p-".into())).unwrap();
    let mistakes = |user: &str, account: &str, roles: &[&str], own: Option<Permissions>| {
        let proposal = Proposal {
            account: Some(account.into()),
            roles: Some(texts(roles)),
            permissions: own,
            ..Proposal::default()
        };
        policy.scope_mistakes("idp", user, &proposal)
    };
    let one = |found: Vec<String>, word: &str| {
        assert!(matches!(found.as_slice(), [only] if only.contains(word)), "{word}: {found:?}");
    };
    one(mistakes("a.b", "APP", &["reader"], None), "the user name `p-a.b`");
    one(mistakes("a", "OTHER", &["reader"], None), "account `OTHER` has no scoped signing key");
    one(mistakes("a", "APP", &["plain", "reader"], None), "with role `plain`");
    one(mistakes("a", "APP", &["reader"], Some(Permissions::default())), "with `permissions`");
    for roles in [&["reader"][..], &["reader", "reader"], &["reader", "near"], &["leaf", "plain"]] {
        assert_eq!(mistakes("$a", "APP", roles, None), [""; 0], "{roles:?}");
    }
    // Unknown accounts have a warning of their own.
    assert_eq!(mistakes("a", "NOWHERE", &["reader"], None), [""; 0]);
    assert_eq!(mistakes("a.b", "APP", &["plain"], Some(Permissions::default())), [""; 0]);
}

#[test]
fn binding_with_an_unusable_scoped_role_causes_a_warning() {
    let bound = |roles: &[&str], account: Option<&str>| {
        let account = account.map(str::to_owned);
        let policy = scopes(|p| p.bindings = vec![BindingSettings { account, ..bind(roles) }]);
        let policy = Policy::build(policy).unwrap();
        policy.warnings().iter().filter(|w| w.path == "bindings[0]").count()
    };
    assert_eq!(bound(&["reader", "plain"], None), 1);
    assert_eq!(bound(&["reader"], Some("OTHER")), 1);
    assert_eq!(bound(&["reader"], Some("APP")), 0);
    assert_eq!(bound(&["reader", "near"], None), 0);
}

/// Found by fuzzing: the CEL parser quotes invalid input, with an error for each character.
#[test]
fn error_is_one_short_line_for_any_input() {
    for text in ["a = \u{1b}[2J\0\0\0\0\0\0\0\0\0\0\0\0", "a\n||\n\u{202e}", "\u{7}\u{7}"] {
        let broken = settings(|p| {
            p.bindings.push(when(text, &["one\n"]));
            p.roles.insert(text.into(), publisher(&[text, &format!("{{{{ {text} }}}}")]));
        });
        for fault in Policy::build(broken).unwrap_err() {
            let text_of_error = fault.to_string();
            assert!(
                !text_of_error.chars().any(|c| c.is_control() || c == '\u{202e}'),
                "{text_of_error:?}"
            );
            assert!(text_of_error.len() < 500, "{text_of_error}");
        }
    }
}
