//! What is said about settings that cannot be used, or mean something else.

use super::*;
use crate::{connection::ConnectionKinds, policy::settings::TimeWindow};

#[test]
fn all_faults_are_told_at_once_each_with_its_key() {
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
fn what_means_something_else_than_it_seems_is_warned_about() {
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
        "authenticators[0].kubernetes.defaults",
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
fn a_binding_without_authenticator_needs_there_to_be_one_only() {
    let two = settings(|p| {
        p.authenticators.push(authenticator("other"));
        p.bindings.push(bind(&[]));
    });
    let faults = Policy::build(two).unwrap_err();
    assert!(faults[0].message.contains("idp, other"), "{}", faults[0]);
}

#[test]
fn a_scope_needs_operator_mode_a_key_and_no_permissions() {
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
        scoped("reader", |r| r.inbox = Inbox::Private).unwrap_err().contains("template grants")
    );
    assert!(
        scoped("reader", |r| r.publish = allow(&["a"])).unwrap_err().contains("template grants")
    );
}

/// Found by fuzzing: CEL's messages repeat what they cannot read, each character with an error of
/// its own.
#[test]
fn a_fault_is_one_short_line_whatever_it_quotes() {
    for text in ["a = \u{1b}[2J\0\0\0\0\0\0\0\0\0\0\0\0", "a\n||\n\u{202e}", "\u{7}\u{7}"] {
        let broken = settings(|p| {
            p.bindings.push(when(text, &["one\n"]));
            p.roles.insert(text.into(), publisher(&[text, &format!("{{{{ {text} }}}}")]));
        });
        for fault in Policy::build(broken).unwrap_err() {
            let said = fault.to_string();
            assert!(!said.chars().any(|c| c.is_control() || c == '\u{202e}'), "{said:?}");
            assert!(said.len() < 500, "{said}");
        }
    }
}
