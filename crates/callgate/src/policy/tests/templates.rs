//! Values in subjects: one literal token, or a refusal.

use std::sync::Arc;

use super::*;
use crate::permissions::{PermissionList, PermissionTemplates};

/// The subjects that a template in a role becomes; in an entry's own permissions it becomes the same.
fn filled(template: &str, identity: &Identity) -> Result<Vec<String>, Reason> {
    let published = |policy: &Policy, identity: &Identity| {
        Scene::new().resolve(policy, identity).map(|g| publishes(&g)).map_err(|d| d.reason)
    };
    let by_role = policy(|p| {
        p.roles.insert("one".into(), publisher(&[template]));
        p.bindings.push(bind(&["one"]));
    });
    let by_role = published(&by_role, identity);
    let own =
        Identity { proposal: own(&[(PermissionList::PublishAllow, template)]), ..identity.clone() };
    assert_eq!(published(&policy(|_| {}), &own), by_role, "{template}");
    by_role
}

/// An operator's entry with these templates.
fn own(templates: &[(PermissionList, &str)]) -> Proposal {
    let mut compiled = PermissionTemplates::with_variables(VARIABLES);
    for (list, text) in templates {
        assert!(compiled.add(*list, text).unwrap().is_empty());
    }
    Proposal {
        origin: Origin::Operator,
        permissions: Some(Permissions::default()),
        templates: Some(Arc::new(compiled)),
        ..Proposal::default()
    }
}

#[test]
fn entry_may_have_templates_in_every_list() {
    let proposal = Proposal {
        permissions: Some(permissions(&["plain"], &["plain"])),
        ..own(&[
            (PermissionList::PublishAllow, "a.{{ user }}"),
            (PermissionList::PublishDeny, "b.{{ user }}"),
            (PermissionList::SubscribeAllow, "c.{{ user }} q-{{ user }}"),
            (PermissionList::SubscribeDeny, "d.{{ user }}"),
        ])
    };
    let identity = Identity { proposal, ..user("al") };
    let grant = Scene::new().resolve(&policy(|_| {}), &identity).unwrap();
    assert_eq!(publishes(&grant), ["a.al", "plain"]);
    assert_eq!(subscribes(&grant), ["c.al q-al", "plain"]);
    let permissions = limited(&grant);
    assert_eq!(permissions.publish.deny, ["b.al".parse().unwrap()]);
    assert_eq!(permissions.subscribe.deny, ["d.al".parse().unwrap()]);
    let prefixed = policy(|p| p.authenticators[0].user_prefix = "x-".into());
    let grant = Scene::new().resolve(&prefixed, &identity).unwrap();
    assert_eq!(publishes(&grant), ["a.x-al", "plain"]);
}

#[test]
fn templates_of_outside_data_are_never_evaluated() {
    let templates = [
        (PermissionList::PublishAllow, "a.{{ user }}"),
        (PermissionList::PublishDeny, "{{ user }}"),
    ];
    let proposal = Proposal {
        origin: Origin::Outside,
        permissions: Some(permissions(&["plain"], &[])),
        ..own(&templates)
    };
    let identity = Identity { proposal, ..user("$") };
    let open = policy(|p| p.authenticators[0].ceiling.publish = texts(&["a.>", "plain"]));
    let grant = Scene::new().resolve(&open, &identity).unwrap();
    assert_eq!(publishes(&grant), ["plain"]);
    assert!(limited(&grant).publish.deny.is_empty());
}

#[test]
fn entry_denies_apply_even_if_its_allows_do_not() {
    let denies = own(&[
        (PermissionList::PublishAllow, "no.{{ user }}"),
        (PermissionList::PublishDeny, "a.{{ user }}"),
    ]);
    let proposal = Proposal { roles: Some(texts(&["one"])), ..denies };
    let identity = Identity { proposal, ..user("al") };
    let policy = policy(|p| {
        let mut role = publisher(&["a.>"]);
        role.connection_types = Some([ConnectionKind::LeafNode].into_iter().collect());
        p.roles.insert("one".into(), role);
    });
    // The role allows leaf nodes, but an entry without `connection_types` does not.
    let grant = Scene::over(ConnectionKind::LeafNode).resolve(&policy, &identity).unwrap();
    assert_eq!(publishes(&grant), ["a.>"]);
    assert_eq!(limited(&grant).publish.deny, ["a.al".parse().unwrap()]);
}

#[test]
fn entry_template_errors_are_reported_at_load() {
    let add = |text| PermissionTemplates::default().add(PermissionList::SubscribeAllow, text);
    for (text, expected) in [
        ("a.{{ usr }}", "did you mean `user`"),
        ("a..{{ user }}", "empty token"),
        ("a.{{ user", "not closed"),
        ("a.{user}", "single `{`"),
        ("a.{{ user }}{{ user }}", "encode"),
    ] {
        let fault = add(text).unwrap_err().to_string();
        assert!(fault.contains(expected), "{text}: {fault}");
    }
    assert!(add("a.{{ client.name }}").unwrap()[0].contains("chosen by the client"));
}

#[test]
fn values_fill_tokens() {
    let identity = Identity {
        groups: texts(&["g1", "g2"]),
        ..claims(
            "al",
            json!({"t": "acme", "n": -5, "l": ["x", 7], "e": [], "map": {"a": {"b": "c"}}}),
        )
    };
    let table: [(&str, &[&str]); 12] = [
        ("{{ user }}.>", &["al.>"]),
        ("a.{{user}}-x.*", &["a.al-x.*"]),
        ("t.{{ claims.t }}.>", &["t.acme.>"]),
        ("n.{{ claims.n }}", &["n.-5"]),
        ("g.{{ groups }}", &["g.g1", "g.g2"]),
        ("l.{{ claims.l }}.{{ user }}", &["l.7.al", "l.x.al"]),
        ("e.{{ claims.e }}", &[]),
        ("e.{{ encode(user) }}{{ encode(claims.t) }}", &["e.alacme"]),
        ("c.{{ claims.t + '-' + user }}", &["c.acme-al"]),
        ("f.{{ groups.filter(g, g != 'g1') }}", &["f.g2"]),
        ("m.{{ {'a': {'b': user}}['a']['b'] }}", &["m.al"]),
        ("q.{{ '}}' == user ? 'x' : 'y' }}", &["q.y"]),
    ];
    for (template, expected) in table {
        assert_eq!(filled(template, &identity), Ok(texts(expected)), "{template}");
    }
}

#[test]
fn value_that_is_not_one_literal_token_is_refused() {
    let long = "x".repeat(129);
    for value in [
        "",
        "*",
        ">",
        "a.b",
        ".",
        "a*",
        "{",
        "}",
        "a b",
        "a\tb",
        "a\r\nb",
        "\u{0}",
        "a\u{200b}",
        "\u{202e}a",
        "\u{feff}a",
        "\u{fffd}",
        "$SYS",
        "$",
        "a=2Eb",
        "=ff",
        &long,
    ] {
        for template in
            ["x.{{ user }}.y", "x.{{ claims.v }}", "x.{{ claims.v + '' }}", "x.{{ groups }}"]
        {
            let identity =
                Identity { groups: texts(&["ok", value]), ..claims(value, json!({ "v": value })) };
            let result = filled(template, &identity);
            assert_eq!(result, Err(Reason::UnsafeTemplateValue), "{value:?} in {template}");
        }
    }
    assert!(filled("x.{{ user }}", &user(&"x".repeat(128))).is_ok());
}

#[test]
fn first_token_never_becomes_reserved() {
    for (template, value) in [
        ("{{ user }}.>", "_INBOX"),
        ("{{ user }}.>", "_private"),
        ("{{ user }}.>", "$JS"),
        ("_{{ user }}.>", "INBOX"),
        ("_{{ user }}.>", "REPLY_1"),
        ("_IN{{ user }}.>", "BOX_x"),
    ] {
        let result = filled(template, &user(value));
        assert_eq!(result, Err(Reason::UnsafeTemplateValue), "{template} {value}");
    }
    assert_eq!(filled("_INBOX_{{ user }}.>", &user("x")), Ok(texts(&["_INBOX_x.>"])));
    assert_eq!(filled("a.{{ user }}", &user("_x")), Ok(texts(&["a._x"])));
}

#[test]
fn absent_or_mistyped_claim_is_refused() {
    for claim in [
        json!({}),
        json!({"v": null}),
        json!({"v": true}),
        json!({"v": 1.5}),
        json!({"v": {}}),
        json!({"v": [["x"]]}),
        json!({"v": ["x", null]}),
    ] {
        for template in ["x.{{ claims.v }}", "x.{{ encode(claims.v) }}", "x.{{ namespace }}"] {
            let result = filled(template, &claims("u", claim.clone()));
            assert_eq!(result, Err(Reason::UnsafeTemplateValue), "{claim} in {template}");
        }
    }
    assert_eq!(
        filled("x.{{ claims.v + 1 }}", &claims("u", json!({"v": "a"}))),
        Err(Reason::PolicyError)
    );
}

#[test]
fn deny_without_a_value_is_refused() {
    let identity = claims("u", json!({"none": [], "tag": "x"}));
    for template in [
        "a.{{ groups }}.x",
        "a.{{ claims.none }}",
        "a.{{ claims.tag }}.{{ groups }}",
        "a.{{ groups.filter(g, g == 'other') }}",
        "a.{{ encode(groups.map(g, g)) }}",
    ] {
        for subscribe in [false, true] {
            let by_role = policy(|p| {
                let rules = SideSettings { allow: texts(&[">"]), deny: texts(&["b", template]) };
                let role = match subscribe {
                    true => RoleSettings { subscribe: rules, ..RoleSettings::default() },
                    false => RoleSettings { publish: rules, ..RoleSettings::default() },
                };
                p.roles.insert("one".into(), role);
                p.bindings.push(bind(&["one"]));
            });
            let result = Scene::new().resolve(&by_role, &identity);
            let text = format!("{result:?}");
            assert!(text.contains("the list is empty"), "{template}: {text}");
            assert_refused(result, Reason::UnsafeTemplateValue);
            let list = match subscribe {
                true => PermissionList::SubscribeDeny,
                false => PermissionList::PublishDeny,
            };
            let entry = Identity { proposal: own(&[(list, template)]), ..identity.clone() };
            let result = Scene::new().resolve(&policy(|_| {}), &entry);
            assert_refused(result, Reason::UnsafeTemplateValue);
            let with_groups = Identity { groups: texts(&["other"]), ..entry };
            let result = Scene::new().resolve(&policy(|_| {}), &with_groups);
            assert_eq!(result.is_ok(), !template.contains("none"), "{template}: {result:?}");
        }
    }
}

#[test]
fn encode_makes_one_unique_token_of_any_text() {
    for (value, expected) in [
        ("a.b", "x.a=2Eb"),
        ("$SYS.>", "x.=24SYS=2E=3E"),
        ("a=2E", "x.a=3D2E"),
        ("ü", "x.=C3=BC"),
        ("a b\n", "x.a=20b=0A"),
        ("A-z0_", "x.A-z0=5F"),
    ] {
        assert_eq!(filled("x.{{ encode(user) }}", &user(value)), Ok(texts(&[expected])));
    }
    assert!(filled("x.{{ encode(user) }}", &user(&"ü".repeat(64))).is_ok());
    let too_long = filled("x.{{ encode(user) }}", &user(&"ü".repeat(65)));
    assert_eq!(too_long, Err(Reason::UnsafeTemplateValue));
    assert_eq!(filled("x.{{ encode(user) }}", &user("")), Err(Reason::UnsafeTemplateValue));
}

#[test]
fn queue_groups_may_be_templates() {
    let policy = policy(|p| {
        let role =
            RoleSettings { subscribe: allow(&["jobs.* w-{{ user }}"]), ..RoleSettings::default() };
        p.roles.insert("one".into(), role);
        p.bindings.push(bind(&["one"]));
    });
    let grant = Scene::new().resolve(&policy, &user("u")).unwrap();
    assert_eq!(subscribes(&grant), ["jobs.* w-u"]);
    assert_refused(Scene::new().resolve(&policy, &user("u v")), Reason::UnsafeTemplateValue);
}

#[test]
fn declared_variables_count_as_encoded() {
    let mut identity = user("production/a_b");
    identity.variables.insert("namespace", "production".into());
    identity.variables.insert("service_account", "a_b".into());
    for (template, expected) in [
        ("x.{{ namespace }}_{{ service_account }}", "x.production_a_b"),
        ("x.{{namespace}}{{ encode(user) }}", "x.productionproduction=2Fa=5Fb"),
        ("x.{{ namespace + '-' + service_account }}", "x.production-a_b"),
    ] {
        assert_eq!(filled(template, &identity), Ok(texts(&[expected])), "{template}");
        assert_eq!(filled(template, &user("u")), Err(Reason::UnsafeTemplateValue), "{template}");
    }
}

/// Policy knows no authenticator: only the settings say which variables there are.
#[test]
fn only_declared_variables_exist() {
    let with = |variables: &'static [&'static str]| {
        Policy::build(settings(|p| {
            p.authenticators[0].variables = variables;
            p.roles.insert(
                "one".into(),
                RoleSettings { inbox: Inbox::Private, ..publisher(&["{{ package }}.x"]) },
            );
            p.bindings.push(bind(&["one"]));
        }))
    };
    assert!(with(&[]).unwrap_err()[0].message.contains("unknown variable `package`"));
    let policy = with(&["package", "service"]).unwrap();
    let mut identity = user("u");
    assert_refused(Scene::new().resolve(&policy, &identity), Reason::UnsafeTemplateValue);
    identity.variables.insert("package", "blue".into());
    identity.variables.insert("service", "web".into());
    let grant = Scene::new().resolve(&policy, &identity).unwrap();
    assert_eq!(publishes(&grant), ["blue.x"]);
    assert_eq!(subscribes(&grant), ["_INBOX_blue_web.>"]);
}

#[test]
fn invalid_templates_are_errors() {
    let table = [
        ("a.{{ user", "not closed"),
        ("a.user }}", "without"),
        ("a}}.{{ user }}", "without"),
        ("a.{{ }}", "column"),
        ("a.{{ usr }}", "did you mean `user`"),
        ("a.{{ user }}{{ claims.b }}", "encode"),
        ("a.{{ user }}-{{ encode(claims.b) }}", "encode"),
        ("a.{{ 'x' + encode(user) }}", "whole"),
        ("a.{user}.>", "a single `{`; a template is written with two, as in `{{ user }}`"),
        ("a}.{{ user }}", "a single `}`"),
        ("{{ user }}}.a", "a single `}`"),
        ("*{{ user }}", "wildcard"),
        ("a..{{ user }}", "empty token"),
        ("a.>.{{ user }}", "before its end"),
    ];
    for (template, expected) in table {
        let built = Policy::build(settings(|p| {
            p.roles.insert("one".into(), publisher(&["ok", template]));
        }));
        let faults = built.unwrap_err();
        let [fault] = faults.as_slice() else { panic!("{template}: {faults:?}") };
        assert_eq!(fault.path, "roles.one.publish.allow[1]");
        assert!(fault.message.contains(expected), "{template}: {}", fault.message);
    }
}

#[test]
fn too_many_subjects_are_refused() {
    let in_groups = |count: usize, bytes: usize| {
        let groups = (0..count).map(|n| format!("{n:0bytes$}")).collect();
        Identity { groups, ..user("u") }
    };
    for (template, count, bytes, subjects) in [
        // What a user JWT cannot hold is refused before it is built.
        ("{{ groups }}.{{ groups }}", 50, 2, Some(2500)),
        ("{{ groups }}.{{ groups }}", 70, 2, None),
        ("{{ groups }}.{{ groups }}", 91, 2, None),
        ("{{ groups }}.{{ groups }}.{{ groups }}.{{ groups }}", 100, 100, None),
        ("a.{{ groups }}", 2500, 4, Some(2500)),
        ("a.{{ groups }}", 4000, 4, None),
        ("a.{{ groups }}", 200, 100, Some(200)),
        ("a.{{ groups }}", 300, 100, None),
        ("a.{{ groups }}", 8193, 5, None),
        ("a.{{ groups }}", 100_000, 6, None),
    ] {
        let result = filled(template, &in_groups(count, bytes)).map(|subjects| subjects.len());
        let expected = subjects.ok_or(Reason::GrantTooLarge);
        assert_eq!(result, expected, "{template}: {count} of {bytes} bytes");
    }
}

#[test]
fn size_of_a_grant_counts_all_roles_once() {
    let groups: Vec<String> = (0..150).map(|n| format!("{n:0100}")).collect();
    let identity = Identity { groups, ..user("u") };
    let roles = |templates: &'static [&'static str]| {
        policy(|p| {
            for (index, template) in templates.iter().enumerate() {
                p.roles.insert(index.to_string(), publisher(&[template]));
                p.bindings.push(bind(&[&index.to_string()]));
            }
        })
    };
    let same = roles(&["a.{{ groups }}", "a.{{ groups }}", "a.{{ groups }}"]);
    assert_eq!(publishes(&Scene::new().resolve(&same, &identity).unwrap()).len(), 150);
    let different = roles(&["a.{{ groups }}", "b.{{ groups }}"]);
    assert_refused(Scene::new().resolve(&different, &identity), Reason::GrantTooLarge);
}
