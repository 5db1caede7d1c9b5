//! Resolving again with only the claims that the policy uses.

use super::*;
use crate::{
    permissions::{PermissionList, PermissionTemplates},
    policy::{ClaimNames, PastGrant},
};

fn tenants() -> Policy {
    policy(|p| {
        p.roles.insert("tenant".into(), publisher(&["t.{{ claims.tenant }}.>"]));
        let tagged =
            RoleSettings { tags: texts(&["site:{{ claims.site }}"]), ..RoleSettings::default() };
        p.roles.insert("tagged".into(), tagged);
        p.bindings.push(when("claims.level == 'gold' && has(claims.email)", &["tenant"]));
        p.bindings.push(BindingSettings {
            account: Some("{{ claims.account }}".to_owned()),
            roles: texts(&["{{ claims.role }}"]),
            ..BindingSettings::default()
        });
        p.authenticators[0].ceiling = CeilingSettings {
            accounts: texts(&["ACC-{{ claims.region }}"]),
            publish: texts(&["c.{{ claims.ceiling }}"]),
            ..CeilingSettings::default()
        };
    })
}

#[test]
fn claims_are_found_wherever_a_policy_uses_them() {
    let names = tenants().used_claims();
    let expected =
        ["account", "ceiling", "email", "level", "region", "role", "site", "tenant"].as_slice();
    assert_eq!(names.names().as_deref(), Some(expected));
    let whole = policy(|p| p.bindings.push(when("size(claims) > 3", &[])));
    assert_eq!(whole.used_claims().names(), None);
    assert_eq!(policy(|_| {}).used_claims().names(), Some(Vec::new()));
    let mut templates = PermissionTemplates::default();
    templates.add(PermissionList::SubscribeDeny, "x.{{ claims.zone }}").unwrap();
    let mut names = policy(|_| {}).used_claims();
    names.add_templates(&templates);
    assert_eq!(names.names(), Some(vec!["zone"]));
}

#[test]
fn connection_fields_are_found_wherever_a_policy_reads_them() {
    let fields = |condition: &str| {
        let policy = policy(|p| p.bindings.push(when(condition, &[])));
        policy.used_connection_fields().into_iter().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(fields("user == 'client.name'"), "");
    assert_eq!(fields("client.lang == 'go' && 'eu' in server.tags"), "client.lang server.tags");
    assert_eq!(fields("client['name'] == 'x'"), "client.name");
    assert_eq!(fields("server == server"), "server.cluster server.name server.tags");
    assert_eq!(fields("size(client) > 1").split(' ').count(), 7);
    let templates = policy(|p| {
        p.roles.insert("r".into(), publisher(&["{{ server.cluster }}.>"]));
    });
    assert_eq!(templates.used_connection_fields(), ["server.cluster".to_owned()].into());
}

#[test]
fn used_claims_resolve_to_the_same_grant() {
    let policy = policy(|p| {
        p.roles.insert("tenant".into(), publisher(&["t.{{ claims.tenant }}.>"]));
        p.bindings.push(when("claims.level == 'gold'", &["tenant"]));
    });
    let whole = claims("al", json!({"tenant": "blue", "level": "gold", "picture": "…", "n": 7}));
    let used = policy.used_claims().select(&whole.claims);
    assert_eq!(Json::Object(used.clone()), json!({"tenant": "blue", "level": "gold"}));
    let reduced = Identity { claims: used, ..whole.clone() };
    let before = Scene::new().resolve(&policy, &whole).unwrap();
    assert_eq!(Scene::new().resolve(&policy, &reduced).unwrap(), before);
    assert!(PastGrant::of(&before).difference(&before).is_empty());
}

#[test]
fn names_are_within_only_if_all_are_known() {
    let one = ClaimNames::named(["a".to_owned()]);
    let two = ClaimNames::named(["a".to_owned(), "b".to_owned()]);
    let none = ClaimNames::default();
    let all = policy(|p| p.bindings.push(when("size(claims) > 3", &[]))).used_claims();
    for (left, right, expected) in [
        (&one, &two, true),
        (&two, &one, false),
        (&none, &none, true),
        (&one, &none, false),
        (&two, &all, true),
        (&all, &two, false),
        (&all, &all, true),
    ] {
        assert_eq!(left.is_within(right), expected, "{left:?} {right:?}");
    }
}

#[test]
fn past_grant_notices_what_is_lost() {
    let role = |list: &[&str], account: &str| {
        policy(|p| {
            p.roles.insert("one".into(), publisher(list));
            p.bindings.push(bind(&["one"]));
            p.accounts.default_account = Some(account.to_owned());
        })
    };
    let grant = |list, account| Scene::new().resolve(&role(list, account), &user("al")).unwrap();
    let past = PastGrant::of(&grant(&["foo.>"], "APP"));
    assert!(!past.difference(&grant(&["foo.*", "foo.>"], "APP")).loses());
    assert!(!past.difference(&grant(&["foo.>", "bar"], "APP")).loses());
    assert!(past.difference(&grant(&["foo.*"], "APP")).loses());
    assert!(past.difference(&grant(&["foo.>"], "OTHER")).loses());
}
