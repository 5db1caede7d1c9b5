//! What `explain` tells.

use super::*;
use crate::policy::{BindingVerdict, Enforcer, RoleVerdict, Step};

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
    let question = scene.question("idp", &identity);
    let (result, explanation) = policy.explain(&question);
    assert_eq!(result, policy.resolve(&question), "explaining decides the same");
    (result, explanation.steps)
}

#[test]
fn every_binding_is_accounted_for() {
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
fn roles_permissions_account_end_and_enforcers_are_told() {
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
}

#[test]
fn responses_that_are_no_boundary_are_told() {
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
    let (_, explanation) = policy.explain(&scene.question("idp", &identity));
    let told = |step: &Step| matches!(step, Step::Remark { text } if text.contains("no boundary"));
    assert!(explanation.steps.iter().any(told));
}
