//! Conditions of roles, and the union of several roles.

use super::*;
use crate::{
    connection::{ConnectionKind::*, ConnectionKinds},
    policy::settings::TimeWindow,
};

fn with_role(change: impl FnOnce(&mut RoleSettings)) -> Policy {
    policy(|p| {
        let mut role = publisher(&["a"]);
        change(&mut role);
        p.roles.insert("one".into(), role);
        p.bindings.push(bind(&["one"]));
    })
}

#[test]
fn leaf_nodes_need_permission_and_unknown_kinds_fail() {
    let plain = with_role(|_| {});
    let leaf = with_role(|r| r.connection_types = Some(ConnectionKinds::NONE.with(LeafNode)));
    let own = entry("u", |p| p.permissions = Some(permissions(&["a"], &[])));
    let alone = entry("u", |_| {});
    let leafy = entry("u", |p| {
        p.connection_types = Some(ConnectionKinds::NONE.with(LeafNode).with(Nats));
    });
    let bare = policy(|_| {});
    let table = [
        (&plain, user("u"), [true, true, true, false, false]),
        (&leaf, user("u"), [false, false, false, true, false]),
        (&bare, own, [true, true, true, false, false]),
        (&bare, alone, [true, true, true, false, false]),
        (&bare, leafy, [true, false, false, true, false]),
    ];
    for (policy, identity, expected) in table {
        for (kind, admitted) in [Nats, WebSocket, Mqtt, LeafNode, Unknown].into_iter().zip(expected)
        {
            match Scene::over(kind).resolve(policy, &identity) {
                Ok(_) => assert!(admitted, "{kind} {identity:?}"),
                Err(denial) => {
                    assert!(!admitted, "{kind} {denial}");
                    assert_eq!(denial.reason, Reason::ConnectionTypeNotAllowed);
                }
            }
        }
    }
}

#[test]
fn outside_data_cannot_allow_leaf_nodes() {
    let policy = policy(|p| p.authenticators[0].ceiling.publish = texts(&["a"]));
    let mut identity = user("u");
    identity.proposal.permissions = Some(permissions(&["a"], &[]));
    identity.proposal.connection_types = Some(ConnectionKinds::default().with(LeafNode));
    assert!(Scene::over(Nats).resolve(&policy, &identity).is_ok());
    let leaf = Scene::over(LeafNode).resolve(&policy, &identity);
    assert_refused(leaf, Reason::ConnectionTypeNotAllowed);
}

#[test]
fn source_is_the_tcp_peer() {
    let policy = with_role(|r| {
        r.source = Some(vec!["10.0.0.0/8".parse().unwrap(), "2001:db8::/32".parse().unwrap()]);
    });
    for (peer, admitted) in [
        ("10.9.9.9", true),
        ("::ffff:10.9.9.9", true),
        ("2001:db8::1", true),
        ("11.0.0.1", false),
        ("2001:db9::1", false),
        ("not-an-address", false),
    ] {
        match Scene::from(peer).resolve(&policy, &user("u")) {
            Ok(_) => assert!(admitted, "{peer}"),
            Err(denial) => {
                assert!(!admitted && denial.reason == Reason::SourceNotAllowed, "{peer}")
            }
        }
    }
}

#[test]
fn entry_limits_refuse_and_role_limits_exclude_the_role() {
    let networks = vec!["192.0.2.0/24".parse().unwrap()];
    let policy = policy(|p| {
        p.roles.insert(
            "far".into(),
            RoleSettings { source: Some(networks.clone()), ..publisher(&["far"]) },
        );
        p.roles.insert("near".into(), publisher(&["near"]));
        p.bindings.push(bind(&["far", "near"]));
    });
    assert_eq!(publishes(&Scene::new().resolve(&policy, &user("u")).unwrap()), ["near"]);
    let written = entry("u", |p| p.source = Some(networks));
    assert_refused(Scene::new().resolve(&policy, &written), Reason::SourceNotAllowed);
    let kinds = entry("u", |p| p.connection_types = Some(ConnectionKinds::NONE.with(Mqtt)));
    assert_refused(Scene::new().resolve(&policy, &kinds), Reason::ConnectionTypeNotAllowed);
}

#[test]
fn role_applies_in_its_hours_and_limits_the_session() {
    let window = |start: &str, end: &str| {
        Some(vec![TimeWindow { start: start.parse().unwrap(), end: end.parse().unwrap() }])
    };
    let open = with_role(|r| r.times = window("08:00:00", "12:30:00"));
    assert_eq!(ends_in(&Scene::new().resolve(&open, &user("u")).unwrap()), Some(1800));
    let shut = with_role(|r| r.times = window("13:00:00", "18:00:00"));
    assert_refused(Scene::new().resolve(&shut, &user("u")), Reason::OutsideHours);
    let night = with_role(|r| r.times = window("11:00:00", "02:00:00"));
    assert_eq!(ends_in(&Scene::new().resolve(&night, &user("u")).unwrap()), Some(14 * 3600));
}

#[test]
fn allows_are_united_and_denies_take_precedence() {
    let policy = policy(|p| {
        let mut one = publisher(&["a.>", "b"]);
        one.publish.deny = texts(&["c.secret"]);
        p.roles.insert("one".into(), one);
        p.roles.insert("two".into(), publisher(&["c.>", "b"]));
        p.bindings.push(bind(&["two", "one", "two"]));
    });
    let grant = Scene::new().resolve(&policy, &user("u")).unwrap();
    assert_eq!(publishes(&grant), ["a.>", "b", "c.>"]);
    assert!(grant.access().can_publish(&"c.open".parse().unwrap()).allowed);
    assert!(!grant.access().can_publish(&"c.secret".parse().unwrap()).allowed);
}

#[test]
fn narrowest_responses_and_widest_inbox_apply() {
    let role = |inbox, max, seconds| RoleSettings {
        inbox,
        responses: Some(Responses { max, ttl: Some(Duration::from_secs(seconds)) }),
        ..RoleSettings::default()
    };
    let policy = policy(|p| {
        p.roles.insert("one".into(), role(Inbox::Private, None, 5));
        p.roles.insert("two".into(), role(Inbox::None, Some(3), 60));
        p.roles.insert("three".into(), role(Inbox::Shared, Some(9), 9));
        p.bindings = vec![bind(&["one", "two"]), when("'s' in groups", &["three"])];
    });
    let grant = Scene::new().resolve(&policy, &user("a.b")).unwrap();
    let expected = Responses { max: Some(3), ttl: Some(Duration::from_secs(5)) };
    assert_eq!(limited(&grant).responses, Some(expected));
    assert_eq!(subscribes(&grant), ["_INBOX_a=2Eb.>"]);
    let shared = Identity { groups: texts(&["s"]), ..user("a") };
    assert_eq!(subscribes(&Scene::new().resolve(&policy, &shared).unwrap()), ["_INBOX.>"]);
}

#[test]
fn scoped_role_stands_alone_with_literal_name_and_tags() {
    let policy = policy(|p| {
        p.accounts.operator_mode = true;
        let app = AccountSettings { scoped: texts(&["reader"]), ..AccountSettings::named("APP") };
        p.accounts.accounts = vec![app, AccountSettings::named("BARE")];
        p.roles.insert("other".into(), publisher(&["a"]));
        p.roles.insert(
            "scoped".into(),
            RoleSettings {
                scope: Some("reader".into()),
                tags: texts(&["team:{{ claims.team }}"]),
                ..RoleSettings::default()
            },
        );
        p.bindings = vec![
            bind(&["scoped"]),
            when("'both' in groups", &["other"]),
            BindingSettings { account: Some("BARE".into()), ..when("'bare' in groups", &[]) },
        ];
    });
    let red = |name: &str| claims(name, json!({"team": "red"}));
    let grant = Scene::new().resolve(&policy, &red("u")).unwrap();
    assert_eq!(grant.access(), &Access::Scoped("reader".into()));
    assert_eq!(grant.tags(), ["team:red"]);
    let both = Identity { groups: texts(&["both"]), ..red("u") };
    assert_refused(Scene::new().resolve(&policy, &both), Reason::RoleConflict);
    let own = entry("u", |p| {
        p.roles = Some(texts(&["scoped"]));
        p.permissions = Some(Permissions::default());
    });
    let own = Identity { claims: red("u").claims, ..own };
    assert_refused(Scene::new().resolve(&policy, &own), Reason::RoleConflict);
    let bare = Identity { groups: texts(&["bare"]), ..red("u") };
    assert_refused(Scene::new().resolve(&policy, &bare), Reason::PolicyError);
    for name in [">", "*", "a.b", "a b", "", "{{x}}", "a\u{200b}"] {
        assert_refused(Scene::new().resolve(&policy, &red(name)), Reason::UnsafeTemplateValue);
    }
    for team in ["a.b", ">x.y", "a b", "Red", "{{name()}}", "$js", "x:$js", "_INBOX", "x:"] {
        let identity = claims("u", json!({ "team": team }));
        assert_refused(Scene::new().resolve(&policy, &identity), Reason::UnsafeTemplateValue);
    }
}
