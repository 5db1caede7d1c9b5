//! The limits of outside data.

use super::*;
use crate::policy::Step;

fn asking(publish: &[&str], subscribe: &[&str]) -> Identity {
    let mut identity = user("u");
    identity.proposal.permissions = Some(permissions(publish, subscribe));
    identity
}

fn under(ceiling: CeilingSettings) -> Policy {
    policy(|p| {
        p.authenticators[0].ceiling = ceiling;
        p.roles.insert("base".into(), publisher(&["base"]));
        p.roles.insert("extra".into(), publisher(&["extra.{{ user }}"]));
        p.bindings.push(bind(&["base"]));
    })
}

#[test]
fn outside_requests_without_a_ceiling_are_dropped() {
    let mut identity = asking(&["a", "b"], &["c"]);
    identity.proposal.roles = Some(texts(&["extra"]));
    identity.proposal.permissions.as_mut().unwrap().responses = Some(Responses::default());
    let grant = Scene::new().resolve(&under(CeilingSettings::default()), &identity).unwrap();
    assert_eq!((publishes(&grant), subscribes(&grant).len()), (texts(&["base"]), 0));
    assert_eq!(limited(&grant).responses, None);
    assert_eq!(grant.ceiling_dropped(), 5);
    assert!(grant.ceiling_dropped_texts().contains(&"role `extra`".to_owned()));
}

#[test]
fn ceiling_keeps_rules_within_and_drops_the_rest() {
    let ceiling = CeilingSettings {
        publish: texts(&["a.>", "{{ user }}.>", "{{ claims.none }}.>"]),
        subscribe: texts(&["_INBOX.>", "jobs.* workers"]),
        roles: texts(&["extra"]),
        responses: Some(Responses { max: Some(5), ttl: minutes(1) }),
        ..CeilingSettings::default()
    };
    let mut identity = asking(
        &["a.b", "a.*", "u.x", ">", "*.b", "$SYS.REQ", "a"],
        &["_INBOX.x", "_INBOX_y.z", "jobs.x workers", "jobs.x", "$JS.>"],
    );
    identity.proposal.roles = Some(texts(&["extra", "base", "nope"]));
    identity.proposal.permissions.as_mut().unwrap().responses =
        Some(Responses { max: None, ttl: Some(Duration::from_secs(5)) });
    let grant = Scene::new().resolve(&under(ceiling), &identity).unwrap();
    assert_eq!(publishes(&grant), ["a.*", "a.b", "base", "extra.u", "u.x"]);
    assert_eq!(subscribes(&grant), ["_INBOX.x", "jobs.x workers"]);
    let bounded = Responses { max: Some(5), ttl: Some(Duration::from_secs(5)) };
    assert_eq!(limited(&grant).responses, Some(bounded));
    assert_eq!(grant.ceiling_dropped(), 4 + 3 + 2);
}

#[test]
fn comparing_with_the_ceiling_is_bounded() {
    let ceiling =
        CeilingSettings { publish: texts(&["x.{{ groups }}.>"]), ..CeilingSettings::default() };
    let policy = under(ceiling);
    let with = |subjects: usize, groups: usize| {
        let subjects: Vec<String> = (0..subjects).map(|n| format!("y.{n}")).collect();
        let subjects: Vec<&str> = subjects.iter().map(String::as_str).collect();
        let groups = (0..groups).map(|n| n.to_string()).collect();
        Scene::new().resolve(&policy, &Identity { groups, ..asking(&subjects, &[]) })
    };
    assert!(with(100, 100).is_ok());
    assert_refused(with(1000, 1000), Reason::PolicyError);
}

#[test]
fn outside_denies_are_never_dropped() {
    let mut identity = asking(&["x"], &[]);
    let proposed = identity.proposal.permissions.as_mut().unwrap();
    proposed.publish.deny = vec!["base".parse().unwrap()];
    let grant = Scene::new().resolve(&under(CeilingSettings::default()), &identity).unwrap();
    assert!(!grant.access().can_publish(&"base".parse().unwrap()).allowed);
}

#[test]
fn fully_dropped_permissions_refuse_the_login() {
    let bare = policy(|_| {});
    assert_refused(Scene::new().resolve(&bare, &asking(&["a"], &[])), Reason::NoBinding);
    // An empty request is granted as it is.
    let grant = Scene::new().resolve(&bare, &asking(&[], &[])).unwrap();
    assert_eq!(limited(&grant), &Permissions::default());
}

#[test]
fn role_claim_is_limited_by_ceiling_and_known_roles() {
    let policy = policy(|p| {
        p.authenticators[0].ceiling.roles = texts(&["one", "two"]);
        for name in ["one", "two", "root"] {
            p.roles.insert(name.into(), publisher(&[name]));
        }
        p.bindings.push(bind(&["{{ groups }}"]));
    });
    let long = format!("CN={}", "x".repeat(300));
    let groups = texts(&["one", "root", "stranger", "a b", "", &long]);
    let identity = Identity { groups, ..user("u") };
    let grant = Scene::new().resolve(&policy, &identity).unwrap();
    assert_eq!((publishes(&grant), grant.ceiling_dropped()), (texts(&["one"]), 5));
    assert_refused(Scene::new().resolve(&policy, &user("u")), Reason::NoBinding);
}

#[test]
fn operator_roles_are_not_clipped() {
    let grant = Scene::new()
        .resolve(
            &policy(|p| {
                p.roles
                    .insert("wide".into(), publisher(&["{{ claims.tenant }}.>", "$JS.API.INFO"]));
                p.bindings.push(bind(&["wide"]));
            }),
            &claims("u", json!({"tenant": "acme"})),
        )
        .unwrap();
    assert_eq!(publishes(&grant), ["$JS.API.INFO", "acme.>"]);
    assert_eq!(grant.ceiling_dropped(), 0);
}

#[test]
fn dropped_texts_are_few_short_and_escaped() {
    let many: Vec<String> = (0..200).map(|n| format!("s{n}.{}", "x".repeat(300))).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let mut identity = asking(&many, &[]);
    identity.proposal.roles = Some(vec!["a\nb".into()]);
    let grant = Scene::new().resolve(&under(CeilingSettings::default()), &identity).unwrap();
    assert_eq!(grant.ceiling_dropped(), 201);
    assert!(grant.ceiling_dropped_texts().len() <= 16);
    for text in grant.ceiling_dropped_texts() {
        assert!(text.len() < 200 && !text.contains('\n'), "{text}");
    }
}

#[test]
fn defaults_apply_besides_outside_permissions() {
    let policy = policy(|p| {
        p.authenticators[0].defaults = Some(RoleSettings {
            publish: allow(&["{{ namespace }}.>"]),
            subscribe: allow(&[
                "{{ namespace }}.>",
                "_INBOX_{{ namespace }}_{{ service_account }}.>",
            ]),
            responses: Some(Responses::default()),
            ..RoleSettings::default()
        });
        p.authenticators[0].ceiling.publish = texts(&["shared.{{ namespace }}.>"]);
        let role = RoleSettings { inbox: Inbox::Private, ..RoleSettings::default() };
        p.roles.insert("private".into(), role);
        p.bindings.push(when("user == 'production/private'", &["private"]));
    });
    let mut identity = asking(&["shared.production.x", "shared.staging.x"], &[]);
    identity.user = "production/my-service".into();
    identity.variables.insert("namespace", "production".into());
    identity.variables.insert("service_account", "my-service_v1".into());
    let grant = Scene::new().resolve(&policy, &identity).unwrap();
    assert_eq!(publishes(&grant), ["production.>", "shared.production.x"]);
    assert_eq!(subscribes(&grant), ["_INBOX_production_my-service_v1.>", "production.>"]);
    assert_eq!(grant.ceiling_dropped(), 1);
    let mut private = identity.clone();
    private.user = "production/private".into();
    private.variables.insert("service_account", "private".into());
    let grant = Scene::new().resolve(&policy, &private).unwrap();
    assert_eq!(subscribes(&grant), ["_INBOX_production_private.>", "production.>"]);
}

#[test]
fn dropped_subjects_name_the_missing_ceiling_entry() {
    let ceiling = CeilingSettings {
        publish: texts(&["a.b", ">"]),
        roles: texts(&["base"]),
        ..CeilingSettings::default()
    };
    let policy = under(ceiling);
    let mut identity = asking(&["a.b", "$JS.API.INFO", "*.x"], &["c"]);
    identity.proposal.permissions.as_mut().unwrap().responses = Some(Responses::default());
    let scene = Scene::new();
    let (_, explanation) = policy.explain(&scene.request("idp", &identity));
    let dropped: Vec<_> = explanation
        .steps
        .iter()
        .filter_map(|step| match step {
            Step::Dropped { kind, requested, key, missing, because: _ } => {
                Some((*kind, requested.as_str(), *key, missing.as_deref()))
            }
            _ => None,
        })
        .collect();
    let expected = [
        ("publish", "$JS.API.INFO", "ceiling.publish", Some("$JS.API.INFO")),
        // No entry can cover it: it also matches reserved subjects.
        ("publish", "*.x", "ceiling.publish", None),
        ("subscribe", "c", "ceiling.subscribe", Some("c")),
        ("responses", "max 1, ttl 120s", "ceiling.responses", Some("true")),
    ];
    assert_eq!(dropped, expected);
}
