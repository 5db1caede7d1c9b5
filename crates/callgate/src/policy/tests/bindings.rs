//! Which bindings apply to an identity.

use super::*;

fn roles(p: &mut PolicySettings) {
    for name in ["one", "two", "three"] {
        p.roles.insert(name.into(), publisher(&[name]));
    }
}

fn named(names: &[&str], binding: BindingSettings) -> BindingSettings {
    BindingSettings { authenticator: AuthenticatorSelector::Named(texts(names)), ..binding }
}

fn every(binding: BindingSettings) -> BindingSettings {
    BindingSettings { authenticator: AuthenticatorSelector::Every, ..binding }
}

#[test]
fn all_matching_bindings_apply() {
    let policy = policy(|p| {
        roles(p);
        p.bindings = vec![bind(&["one"]), when("user == 'u'", &["two"]), when("false", &["three"])];
    });
    let grant = Scene::new().resolve(&policy, &user("u")).unwrap();
    assert_eq!(publishes(&grant), ["one", "two"]);
    assert_eq!(grant.roles(), ["one", "two"]);
}

#[test]
fn binding_for_another_authenticator_gives_nothing() {
    let policy = policy(|p| {
        roles(p);
        p.authenticators.push(authenticator("other"));
        p.bindings = vec![named(&["other"], bind(&["one"])), every(bind(&["two"]))];
    });
    assert_eq!(publishes(&Scene::new().resolve(&policy, &user("u")).unwrap()), ["two"]);
    let scene = Scene::new();
    let identity = user("u");
    let other = policy.resolve(&scene.request("other", &identity)).unwrap();
    assert_eq!(publishes(&other), ["one", "two"]);
}

#[test]
fn user_names_are_separate_for_each_authenticator() {
    let policy = policy(|p| {
        roles(p);
        p.authenticators.push(authenticator("other"));
        p.bindings = vec![named(&["idp"], when("user == 'alice'", &["one"]))];
    });
    let (scene, alice) = (Scene::new(), user("alice"));
    assert!(policy.resolve(&scene.request("idp", &alice)).is_ok());
    assert_refused(policy.resolve(&scene.request("other", &alice)), Reason::NoBinding);
    assert_refused(policy.resolve(&scene.request("unheard", &alice)), Reason::NoBinding);
}

#[test]
fn otherwise_applies_only_if_no_other_binding_matches() {
    let policy = policy(|p| {
        roles(p);
        let fallback = BindingSettings { otherwise: true, ..bind(&["three"]) };
        p.bindings = vec![fallback, when("user == 'u'", &["one"])];
    });
    assert_eq!(publishes(&Scene::new().resolve(&policy, &user("u")).unwrap()), ["one"]);
    assert_eq!(publishes(&Scene::new().resolve(&policy, &user("x")).unwrap()), ["three"]);
}

#[test]
fn entry_with_own_rules_needs_bindings_that_name_it() {
    let own: [fn(&mut Proposal); 3] = [
        |p| p.account = Some("APP".into()),
        |p| p.roles = Some(vec!["two".into()]),
        |p| p.permissions = Some(permissions(&["own"], &[])),
    ];
    for (binding, touched) in [
        (every(bind(&["one"])), false),
        (named(&["idp"], bind(&["one"])), true),
        (bind(&["one"]), true),
    ] {
        let policy = policy(|p| {
            roles(p);
            p.bindings = vec![binding.clone()];
        });
        for change in own {
            let grant = Scene::new().resolve(&policy, &entry("u", change)).unwrap();
            let has_one = grant.roles().contains(&"one".to_owned());
            assert_eq!(has_one, touched, "{binding:?}");
        }
        let plain = Scene::new().resolve(&policy, &entry("u", |_| {})).unwrap();
        assert_eq!(publishes(&plain), ["one"], "an entry with nothing of its own");
    }
}

#[test]
fn lone_entry_is_unrestricted_until_a_binding_matches() {
    let identity = entry("alice", |p| p.account = Some("APP".into()));
    let grant = Scene::new().resolve(&policy(|_| {}), &identity).unwrap();
    assert_eq!(grant.access(), &Access::Unrestricted);
    let bound = policy(|p| {
        roles(p);
        p.bindings.push(bind(&["one"]));
    });
    assert_eq!(publishes(&Scene::new().resolve(&bound, &identity).unwrap()), ["one"]);
    let account_only = policy(|p| {
        p.bindings.push(BindingSettings { account: Some("APP".into()), ..bind(&[]) });
    });
    assert_refused(Scene::new().resolve(&account_only, &identity), Reason::NoBinding);
}

#[test]
fn outside_data_is_never_unrestricted() {
    let mut identity = user("u");
    identity.proposal.unrestricted_if_alone = true;
    assert_refused(Scene::new().resolve(&policy(|_| {}), &identity), Reason::NoBinding);
}

#[test]
fn empty_permissions_grant_nothing() {
    let nothing = entry("u", |p| p.permissions = Some(Permissions::default()));
    let grant = Scene::new().resolve(&policy(|_| {}), &nothing).unwrap();
    assert_eq!(limited(&grant), &Permissions::default());
}

#[test]
fn empty_role_list_is_not_a_grant() {
    let policy = policy(|_| {});
    let none = entry("u", |p| p.roles = Some(Vec::new()));
    assert_refused(Scene::new().resolve(&policy, &none), Reason::NoBinding);
    let own = entry("u", |p| {
        p.roles = Some(Vec::new());
        p.permissions = Some(permissions(&["a"], &[]));
    });
    assert_eq!(publishes(&Scene::new().resolve(&policy, &own).unwrap()), ["a"]);
}

#[test]
fn unknown_role_in_an_entry_is_refused() {
    let identity = entry("u", |p| p.roles = Some(vec!["gone".into()]));
    assert_refused(Scene::new().resolve(&policy(|_| {}), &identity), Reason::PolicyError);
}

#[test]
fn earliest_expiry_applies() {
    let policy = policy(|p| {
        roles(p);
        p.authenticators[0].expires_after = minutes(50);
        p.session.max_lifetime = minutes(60);
        p.roles.get_mut("one").unwrap().expires_after = minutes(30);
        p.bindings = vec![
            BindingSettings { expires_after: minutes(40), ..bind(&["two"]) },
            when("'short' in groups", &["one"]),
            BindingSettings { expires_after: minutes(10), ..when("'shorter' in groups", &["two"]) },
        ];
    });
    let with = |groups: &[&str], change: fn(&mut Identity)| {
        let mut identity = Identity { groups: texts(groups), ..user("u") };
        change(&mut identity);
        ends_in(&Scene::new().resolve(&policy, &identity).unwrap())
    };
    assert_eq!(with(&[], |_| {}), Some(2400));
    assert_eq!(with(&["short"], |_| {}), Some(1800));
    assert_eq!(with(&["shorter"], |_| {}), Some(600));
    assert_eq!(
        with(&[], |i| i.expires_at = Some(UnixTime::from_seconds(NOON.seconds() + 5))),
        Some(5)
    );
    assert_eq!(with(&[], |i| i.proposal.expires_after = minutes(1)), Some(60));
}

#[test]
fn expired_credential_is_refused() {
    let policy = policy(|p| {
        roles(p);
        p.bindings.push(bind(&["one"]));
    });
    for (offset, admitted) in [(1, true), (0, false), (-1, false)] {
        let end = UnixTime::from_seconds(NOON.seconds() + offset);
        let identity = Identity { expires_at: Some(end), ..user("u") };
        match Scene::new().resolve(&policy, &identity) {
            Ok(grant) => assert!(admitted && grant.expires_at() == Some(end)),
            Err(denial) => assert!(!admitted && denial.reason == Reason::TokenExpired),
        }
    }
}

#[test]
fn user_prefix_applies_everywhere() {
    let policy = policy(|p| {
        p.authenticators[0].user_prefix = "ci:".into();
        let role = RoleSettings { inbox: Inbox::Private, ..publisher(&["a.{{ encode(user) }}"]) };
        p.roles.insert("one".into(), role);
        p.bindings.push(when("user == 'ci:bob'", &["one"]));
    });
    let grant = Scene::new().resolve(&policy, &user("bob")).unwrap();
    assert_eq!(grant.user(), "ci:bob");
    assert_eq!(publishes(&grant), ["a.ci=3Abob"]);
    assert_eq!(subscribes(&grant), ["_INBOX_ci=3Abob.>"]);
}

/// The same decision with and without the index, for forms that the random conditions rarely combine.
#[test]
fn index_finds_the_forms_in_which_claims_are_usually_tested() {
    let conditions = [
        "has(claims.tenant) && claims.tenant == 'a'",
        "'staff' in groups && claims.tenant == 'a'",
        "'ops' in claims.roles",
        "has(claims.realm) && 'ops' in claims.realm.roles",
        "claims['realm'].name == 'a' && claims.level > 2",
    ];
    let policy = policy(|p| {
        p.roles.insert("one".into(), publisher(&["one"]));
        p.bindings = conditions.map(|condition| when(condition, &["one"])).to_vec();
    });
    let matching = |claims: Json| {
        let claims = claims.as_object().unwrap().clone();
        let identity = Identity { claims, groups: texts(&["staff"]), ..user("u") };
        let scene = Scene::new();
        let request = scene.request("idp", &identity);
        let outcome = |result: Result<Grant, Denial>| match result {
            Ok(grant) => Ok(grant.bindings.clone()),
            Err(denial) => Err(denial.reason),
        };
        let resolved = outcome(policy.resolve(&request));
        assert_eq!(resolved, outcome(policy.explain(&request).0), "{identity:?}");
        resolved
    };
    assert_eq!(matching(json!({ "tenant": "a" })), Ok(vec![0, 1]));
    assert_eq!(matching(json!({ "roles": ["dev", "ops"] })), Ok(vec![2]));
    assert_eq!(matching(json!({ "realm": { "roles": ["ops"] } })), Ok(vec![3]));
    assert_eq!(matching(json!({ "realm": { "name": "a" }, "level": 3 })), Ok(vec![4]));
    assert_eq!(
        matching(json!({ "realm": { "name": "a" }, "level": {} })),
        Err(Reason::PolicyError)
    );
    assert_eq!(matching(json!({ "tenant": "b" })), Err(Reason::NoBinding));
    assert_eq!(matching(json!({ "realm": 5 })), Err(Reason::PolicyError));
}
