//! The inputs of `when`, and its errors.

use super::*;

/// `None`: refused for another reason than `no_binding`.
fn holds(condition: &str, identity: &Identity) -> Option<bool> {
    let policy = policy(|p| {
        p.roles.insert("one".into(), publisher(&["a"]));
        p.bindings.push(when(condition, &["one"]));
    });
    match Scene::new().resolve(&policy, identity) {
        Ok(_) => Some(true),
        Err(Denial { reason: Reason::NoBinding, .. }) => Some(false),
        Err(Denial { reason: Reason::PolicyError, .. }) => None,
        Err(other) => panic!("{condition}: {other}"),
    }
}

fn test_identity() -> Identity {
    Identity {
        groups: texts(&["admin", "dev"]),
        ..claims(
            "alice",
            json!({"email_verified": true, "level": 5, "big": 18_446_744_073_709_551_615_u64,
                   "ratio": 0.5, "nothing": null, "namespace": "namespace", "org": {"id": "x1"}, "roles": ["r1"]}),
        )
    }
}

#[test]
fn conditions_use_identity_client_server_and_time() {
    for condition in [
        "true",
        "user == 'alice'",
        "claims.email_verified && \"admin\" in groups",
        "claims.level > 4 && claims.level == 5",
        "claims.ratio < 1.0",
        "claims.nothing == null",
        "claims.namespace == 'namespace' && claims['namespace'] == \"namespace\"",
        "claims.org.id == 'x1' && claims['org']['id'].startsWith('x')",
        "groups.exists(g, g.startsWith('adm'))",
        "groups.filter(g, g != 'dev').exists(g, g == 'admin')",
        "size(groups) == 2",
        "authenticator == 'idp'",
        "client.host == '10.1.2.3' && client.type == 'nats' && client.kind == 'Client'",
        "client.name == 'app' && client.lang == 'rust' && client.version == '1.0'",
        "client.mqtt_id == ''",
        "server.name == 'n1' && server.cluster == 'east' && 'edge' in server.tags",
        "now > timestamp('2026-03-02T11:59:59Z') && now < timestamp('2026-03-02T12:00:01Z')",
        "now.getDayOfWeek() == 1",
        "user.matches('^al.*e$')",
        "has(claims.org) && !has(claims.none)",
    ] {
        assert_eq!(holds(condition, &test_identity()), Some(true), "{condition}");
    }
}

#[test]
fn absent_claim_makes_a_condition_false() {
    for condition in [
        "claims.none == 'x'",
        "claims.none.deeper == 'x'",
        "!claims.none",
        "claims.none != 'x'",
        "claims.org.none == 1",
        "'x' in claims.none",
        "claims['none'] == 'x'",
    ] {
        assert_eq!(holds(condition, &test_identity()), Some(false), "{condition}");
    }
}

#[test]
fn other_condition_errors_refuse_the_login() {
    for condition in [
        "claims.level",
        "'text'",
        "groups[7] == 'x'",
        "1 / (claims.level - 5) == 1",
        "claims.level.startsWith('5')",
        "{'a': 1}[user] == 1",
        "int(user) == 1",
    ] {
        assert_eq!(holds(condition, &test_identity()), None, "{condition}");
    }
}

#[test]
fn oversized_inputs_fail_only_conditions_that_use_them() {
    let many = Identity {
        groups: (0..1001).map(|n| n.to_string()).collect(),
        ..claims("u", json!({"long": "x".repeat(70_000), "list": vec![1; 1001], "small": 1}))
    };
    for (condition, held) in [
        ("'admin' in groups", None),
        ("user == 'u'", Some(true)),
        ("claims.small == 1", Some(true)),
        ("claims['small'] == 1", Some(true)),
        ("claims.small == 2 || claims.small == 1", Some(true)),
        ("claims.small == 2", Some(false)),
        ("claims.none == 1", Some(false)),
        ("has(claims.small) && !has(claims.none)", Some(true)),
        ("'small' in claims && !('none' in claims)", Some(true)),
        ("claims.small == 1 && 1 in claims.list", None),
        ("has(claims.long)", None),
        ("'long' in claims", None),
        ("claims.small == 1 && size(claims) == 3", None),
        ("claims['sma' + 'll'] == 1", None),
        ("[claims].exists(c, c.small == 1)", None),
    ] {
        assert_eq!(holds(condition, &many), held, "{condition}");
    }
    let mut deep = json!(1);
    for _ in 0..100 {
        deep = json!([deep]);
    }
    assert_eq!(holds("claims.deep == 1", &claims("u", json!({ "deep": deep }))), None);
    let most = Identity { groups: (0..1000).map(|n| n.to_string()).collect(), ..user("u") };
    assert_eq!(holds("'999' in groups", &most), Some(true));
}

#[test]
fn refusal_never_contains_a_claim_value() {
    let policy = policy(|p| p.bindings.push(when("claims.secret > 5", &[])));
    let identity = claims("u", json!({"secret": "hunter2"}));
    let denial = Scene::new().resolve(&policy, &identity).unwrap_err();
    assert_eq!(denial.reason, Reason::PolicyError);
    assert!(!denial.detail.contains("hunter2"), "{}", denial.detail);
}

#[test]
fn invalid_expressions_are_reported_with_suggestions() {
    let table = [
        ("", "column"),
        (" ", "column"),
        ("user ==", "column"),
        ("user = 'x'", "column"),
        ("usr == 'x'", "did you mean `user`"),
        ("group == 'x'", "did you mean `groups`"),
        ("namespace == 'x'", "did you mean `claims.namespace`"),
        ("client.hosts == 'x'", "did you mean `host`"),
        ("client['hosts'] == 'x'", "did you mean `host`"),
        ("server.tag == 'x'", "did you mean `tags`"),
        ("user.startWith('x')", "did you mean `startsWith`"),
        ("groups.all(g, groups.exists(h, g == h))", "inside a loop"),
        ("groups.map(g, g).exists(h, h in groups.filter(x, true))", "inside a loop"),
        ("user.matches(claims.pattern)", "literal"),
        ("user.matches('(')", "regular expression"),
        ("groups.exists(g, x == g)", "unknown variable `x`"),
        ("encode(user) == 'x'", "encode"),
    ];
    for (condition, expected) in table {
        let faults =
            Policy::build(settings(|p| p.bindings.push(when(condition, &[])))).unwrap_err();
        let [fault] = faults.as_slice() else { panic!("{condition}: {faults:?}") };
        assert_eq!(fault.path, "bindings[0].when");
        assert!(fault.message.contains(expected), "{condition}: {}", fault.message);
    }
}

#[test]
fn unverified_client_fields_cause_warnings() {
    for (condition, warned) in [
        ("client.name == 'x'", true),
        ("client['mqtt_id'] == 'x'", true),
        (".client.name == 'x'", true),
        ("has(client.name)", true),
        ("dyn(client).name == 'x'", true),
        ("dyn(client)['name'] == 'x'", true),
        ("client['na' + 'me'] == 'x'", true),
        ("client[user] == 'x'", true),
        ("[client][0].name == 'x'", true),
        ("{'a': client}.a.name == 'x'", true),
        ("[client].exists(c, c.name == 'x')", true),
        ("client.exists(k, k == 'name')", true),
        ("'name' in client", true),
        ("client == {'name': 'x'}", true),
        ("[1].exists(c, .client.name == 'x')", true),
        ("[1].exists(client, client == 1 && .client.name == 'x')", true),
        ("client.host == 'x'", false),
        ("client['host'] == 'x' && client.type != client.kind", false),
        ("groups.exists(client, client == 'x')", false),
        ("claims.client.name == 'x'", false),
    ] {
        let policy = policy(|p| {
            p.roles.insert("one".into(), publisher(&["a"]));
            p.bindings.push(when(condition, &["one"]));
        });
        let found = policy.warnings().iter().any(|w| w.message.contains("chosen by the client"));
        assert_eq!(found, warned, "{condition}");
    }
}

#[test]
fn warning_names_the_unverified_client_field() {
    let warning = |condition: &str| {
        let policy = policy(|p| {
            p.roles.insert("one".into(), publisher(&["a"]));
            p.bindings.push(when(condition, &["one"]));
        });
        policy.warnings()[0].message.clone()
    };
    assert!(warning("client.lang == 'x'").starts_with("`client.lang` is chosen"));
    let whole = warning("[client].exists(c, c.lang == 'x')");
    assert!(whole.contains("`lang`") && whole.contains("`mqtt_id`"), "{whole}");
}
