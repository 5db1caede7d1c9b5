//! The steps that `explain` returns.

use super::*;
use crate::policy::{BindingVerdict, Enforcer, RoleVerdict, Step, settings::TimeWindow};

fn explained() -> (Result<Grant, Denial>, Vec<Step>) {
    let policy = policy(|p| {
        p.authenticators.push(authenticator("other"));
        p.session.max_lifetime = minutes(60);
        p.authenticators[0].ceiling.roles = texts(&["shut"]);
        p.roles.insert("one".into(), publisher(&["a.{{ user }}"]));
        let far = RoleSettings {
            source: Some(vec!["192.0.2.0/24".parse().unwrap()]),
            ..publisher(&["far"])
        };
        p.roles.insert("shut".into(), far);
        let idp = |binding| BindingSettings {
            authenticator: AuthenticatorSelector::Named(texts(&["idp"])),
            ..binding
        };
        p.bindings = vec![
            idp(bind(&["one", "{{ groups }}"])),
            idp(when("claims.none", &["one"])),
            idp(when("user == 'x'", &["one"])),
            BindingSettings {
                authenticator: AuthenticatorSelector::Named(texts(&["other"])),
                ..bind(&["one"])
            },
            idp(BindingSettings { otherwise: true, ..bind(&["one"]) }),
        ];
    });
    let scene = Scene::new();
    let identity = Identity { groups: texts(&["shut", "root"]), ..user("u") };
    let request = scene.request("idp", &identity);
    let (result, explanation) = policy.explain(&request);
    assert_eq!(result, policy.resolve(&request), "explaining decides the same");
    (result, explanation.steps)
}

#[test]
fn every_binding_has_a_verdict() {
    let (_, steps) = explained();
    let mut bindings: Vec<_> = steps
        .iter()
        .filter_map(|step| match step {
            Step::Binding { index, verdict } => Some((*index, verdict.clone())),
            _ => None,
        })
        .collect();
    bindings.sort_by_key(|(index, _)| *index);
    let expected = [
        BindingVerdict::Matched,
        BindingVerdict::ConditionAbsent { name: "none".into() },
        BindingVerdict::ConditionFalse,
        BindingVerdict::OtherAuthenticator,
        BindingVerdict::OtherMatched,
    ];
    assert_eq!(bindings, expected.into_iter().enumerate().collect::<Vec<_>>());
}

#[test]
fn steps_cover_roles_permissions_account_and_expiry() {
    let (_, steps) = explained();
    let has = |wanted: Step| assert!(steps.contains(&wanted), "{wanted:?} in {steps:#?}");
    let (name, from) = ("one".to_owned(), "bindings[0]".to_owned());
    has(Step::Role { name, from: from.clone(), verdict: RoleVerdict::Contributes });
    has(Step::Role { name: "root".into(), from, verdict: RoleVerdict::Dropped });
    let fails = |step: &&Step| {
        matches!(step, Step::Role { name, verdict: RoleVerdict::Fails { reason, .. }, .. }
        if name == "shut" && *reason == "source_not_allowed")
    };
    assert!(steps.iter().any(|step| fails(&step)));
    has(Step::Permission {
        side: "publish",
        kind: "allow",
        rule: "a.u".into(),
        from: "role `one`".into(),
    });
    has(Step::Account { name: "APP".into(), from: "default_account".into() });
    has(Step::Ends { at: NOON.seconds() + 3600, because: "session.max_lifetime".into() });
    has(Step::Enforced { what: "expiry", by: Enforcer::NatsServer });
    has(Step::Enforced { what: "source", by: Enforcer::Callgate });
    let limit = |limit, value: &str, from: &str| Step::Limit {
        limit,
        value: value.into(),
        from: from.into(),
        enforced_by: Enforcer::Callgate,
    };
    has(limit("source", "192.0.2.0/24", "role `shut`, which does not apply"));
    has(limit("connection_types", "nats, websocket, mqtt", "role `one`"));
}

#[test]
fn only_existing_limits_are_recorded() {
    let policy = policy(|p| {
        let window =
            TimeWindow { start: "08:00:00".parse().unwrap(), end: "18:00:00".parse().unwrap() };
        let role = RoleSettings {
            times: Some(vec![window]),
            timezone: Some(jiff::tz::TimeZone::get("Europe/Berlin").unwrap()),
            ..publisher(&["a"])
        };
        p.roles.insert("day".into(), role);
    });
    let recorded = |roles: Option<Vec<String>>| {
        let proposal = Proposal {
            account: Some("APP".into()),
            origin: Origin::Operator,
            unrestricted_if_alone: true,
            source: roles.is_some().then(|| vec!["0.0.0.0/0".parse().unwrap()]),
            roles,
            ..Proposal::default()
        };
        let identity = Identity { proposal, ..user("u") };
        let (_, explanation) = policy.explain(&Scene::new().request("idp", &identity));
        let limit = |step: &Step| match step {
            Step::Limit { limit, value, from, .. } => Some(format!("{limit} {value} of {from}")),
            Step::Enforced { what, by: Enforcer::Callgate } => Some((*what).to_owned()),
            _ => None,
        };
        explanation.steps.iter().filter_map(limit).collect::<Vec<_>>()
    };
    let kinds = "connection_types nats, websocket, mqtt of";
    assert_eq!(recorded(None), [&format!("{kinds} the default"), "connection_types"]);
    let all = [
        "source 0.0.0.0/0 of the entry",
        &format!("{kinds} role `day`"),
        "times 08:00:00-18:00:00 Europe/Berlin of role `day`",
        "connection_types",
        "source",
        "times",
    ];
    assert_eq!(recorded(Some(texts(&["day"]))), all);
}

#[test]
fn expiry_moved_by_jitter_is_recorded() {
    let policy = policy(|p| {
        p.session.max_lifetime = minutes(60);
        p.session.jitter = 0.5;
        p.roles.insert("one".into(), publisher(&["a"]));
        p.bindings.push(bind(&["one"]));
    });
    let (scene, identity) = (Scene::new(), user("u"));
    let (grant, explanation) = policy.explain(&scene.request("idp", &identity));
    let ends = grant.unwrap().expires_at().unwrap().seconds();
    assert!(ends < NOON.seconds() + 3600);
    let recorded = |step: &Step| matches!(step, Step::Ends { at, because } if *at == ends && because.starts_with("session.jitter"));
    assert!(explanation.steps.iter().any(recorded), "{explanation:?}");
}

/// The remarks about a grant with these permissions.
fn remarks(kind: ConnectionKind, change: impl FnOnce(&mut RoleSettings)) -> Vec<String> {
    let policy = policy(|p| {
        let mut role = RoleSettings { inbox: Inbox::Private, ..RoleSettings::default() };
        change(&mut role);
        p.roles.insert("one".into(), role);
        p.bindings.push(bind(&["one"]));
    });
    let (scene, identity) = (Scene::over(kind), user("u"));
    let (_, explanation) = policy.explain(&scene.request("idp", &identity));
    let text = |step: Step| match step {
        Step::Remark { text } => Some(text),
        _ => None,
    };
    explanation.steps.into_iter().filter_map(text).collect()
}

#[test]
fn reach_beyond_the_grant_is_remarked() {
    use crate::policy::settings::{BucketAccess, BucketSettings};
    let nats = ConnectionKind::Nats;
    let found = remarks(nats, |role| role.publish = allow(&["orders.>"]));
    let [acknowledgements] = found.as_slice() else { panic!("{found:?}") };
    for word in ["beyond this grant", "$KV.", "2.12", "purges a stream"] {
        assert!(acknowledgements.contains(word), "{acknowledgements}");
    }
    let bucket =
        BucketSettings { bucket: "config".to_owned(), access: BucketAccess::Read, domain: None };
    let found = remarks(nats, |role| role.kv.push(bucket));
    let [stored] = found.as_slice() else { panic!("{found:?}") };
    assert!(stored.contains("$JS.API.STREAM.DELETE"), "{stored}");
    assert_eq!(remarks(nats, |role| role.publish = allow(&["_INBOX.>"])), [""; 0]);
    assert_eq!(remarks(nats, |role| role.subscribe = allow(&["orders.>"])), [""; 0]);
}

#[test]
fn notes_of_the_identity_are_shown_and_recorded() {
    let note = "the token has no claim `roles` (`groups_claim`): no groups";
    let identity = Identity { notes: vec![note.to_owned()], ..user("u") };
    let policy = policy(|p| {
        p.roles.insert("one".into(), publisher(&["a"]));
        p.bindings.push(when("user == 'u'", &["one"]));
    });
    let scene = Scene::new();
    let (grant, explanation) = policy.explain(&scene.request("idp", &identity));
    assert_eq!(grant.unwrap().notes, [note]);
    let is_note = |step: &Step| matches!(step, Step::Remark { text } if text == note);
    assert!(explanation.steps.iter().any(is_note), "{explanation:?}");
    let other = Identity { user: "other".to_owned(), ..identity };
    let denial = scene.resolve(&policy, &other).unwrap_err();
    assert_eq!(denial.reason, Reason::NoBinding);
    assert!(denial.detail.ends_with(note), "{denial}");
}

#[test]
fn missing_mqtt_subscriptions_are_remarked() {
    let needs = |found: Vec<String>| found.iter().any(|text| text.contains("`mqtt = true`"));
    let topics = |role: &mut RoleSettings| role.subscribe = allow(&["sensors.>"]);
    assert!(needs(remarks(ConnectionKind::Mqtt, topics)));
    assert!(!needs(remarks(ConnectionKind::Nats, topics)));
    assert!(!needs(remarks(ConnectionKind::Mqtt, |role| role.mqtt = true)));
    let everything = |role: &mut RoleSettings| role.subscribe = allow(&[">"]);
    assert!(!needs(remarks(ConnectionKind::Mqtt, everything)));
}

#[test]
fn responses_without_a_boundary_are_remarked() {
    let policy = policy(|p| {
        let role = RoleSettings {
            subscribe: allow(&["a.>"]),
            responses: Some(Responses::default()),
            ..publisher(&["a.b"])
        };
        p.roles.insert("one".into(), role);
        p.bindings.push(bind(&["one"]));
    });
    let (scene, identity) = (Scene::new(), user("u"));
    let (_, explanation) = policy.explain(&scene.request("idp", &identity));
    let recorded =
        |step: &Step| matches!(step, Step::Remark { text } if text.contains("not a boundary"));
    assert!(explanation.steps.iter().any(recorded));
    let given = |step: &Step| matches!(step, Step::Permission { side: "responses", from, .. } if from == "role `one`");
    assert!(explanation.steps.iter().any(given), "{explanation:?}");
}
