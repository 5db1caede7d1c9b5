//! The account of a grant.

use super::*;

fn placed(account: &str) -> BindingSettings {
    BindingSettings { account: Some(account.to_owned()), ..bind(&["any"]) }
}

/// A policy in which claims may choose `tenant-*`.
fn tenants(change: impl FnOnce(&mut PolicySettings)) -> Policy {
    policy(|p| {
        p.roles.insert("any".into(), publisher(&["a"]));
        p.accounts.accounts =
            vec![AccountSettings::named("tenant-*"), AccountSettings::named("A*")];
        p.authenticators[0].ceiling.accounts = texts(&["tenant-*", "A*"]);
        p.bindings.push(placed("{{ claims.account }}"));
        change(p);
    })
}

#[test]
fn account_claim_is_limited_by_accounts_and_ceiling() {
    let policy = tenants(|_| {});
    let grant =
        Scene::new().resolve(&policy, &claims("u", json!({"account": "tenant-a"}))).unwrap();
    assert_eq!((grant.account(), grant.account_origin()), ("tenant-a", Origin::Outside));
    for account in ["SYS", "$SYS", "$sys", "$G", "AUTH", "auth", "OTHER", "tenant-a.b", "tenant->"]
    {
        let identity = claims("u", json!({ "account": account }));
        assert_refused(Scene::new().resolve(&policy, &identity), Reason::AccountNotAllowed);
    }
}

#[test]
fn absent_or_non_string_account_claim_is_unsafe() {
    let policy = tenants(|_| {});
    for claim in [
        json!({}),
        json!({"account": ""}),
        json!({"account": ["a", "b"]}),
        json!({"account": true}),
    ] {
        let identity = claims("u", claim);
        assert_refused(Scene::new().resolve(&policy, &identity), Reason::UnsafeTemplateValue);
    }
}

#[test]
fn outside_account_without_a_ceiling_is_refused() {
    let policy = tenants(|p| p.authenticators[0].ceiling = CeilingSettings::default());
    let identity = claims("u", json!({"account": "tenant-a"}));
    assert_refused(Scene::new().resolve(&policy, &identity), Reason::AccountNotAllowed);
}

#[test]
fn ceiling_account_may_be_a_template() {
    let policy = tenants(|p| {
        p.authenticators[0].ceiling.accounts = texts(&["tenant-{{ claims.org }}"]);
    });
    let mine = claims("u", json!({"account": "tenant-a", "org": "a"}));
    assert_eq!(Scene::new().resolve(&policy, &mine).unwrap().account(), "tenant-a");
    for identity in [
        claims("u", json!({"account": "tenant-b", "org": "a"})),
        claims("u", json!({"account": "tenant-a"})),
    ] {
        assert_refused(Scene::new().resolve(&policy, &identity), Reason::AccountNotAllowed);
    }
}

#[test]
fn most_specific_account_applies() {
    let base = |change: fn(&mut PolicySettings)| {
        policy(|p| {
            p.roles.insert("any".into(), publisher(&["a"]));
            p.bindings.push(bind(&["any"]));
            change(p);
        })
    };
    type Change = fn(&mut PolicySettings);
    let table: [(Change, &str); 3] = [
        (|_| {}, "APP"),
        (|p| p.authenticators[0].account = Some("STAFF".into()), "STAFF"),
        (
            |p| {
                p.authenticators[0].account = Some("STAFF".into());
                p.bindings.push(placed("BOUND"));
            },
            "BOUND",
        ),
    ];
    for (change, expected) in table {
        let grant = Scene::new().resolve(&base(change), &user("u")).unwrap();
        assert_eq!(grant.account(), expected);
    }
}

#[test]
fn login_without_an_account_is_refused() {
    let policy = policy(|p| {
        p.accounts.default_account = None;
        p.roles.insert("any".into(), publisher(&["a"]));
        p.bindings.push(bind(&["any"]));
    });
    assert_refused(Scene::new().resolve(&policy, &user("u")), Reason::NoAccount);
}

#[test]
fn different_accounts_conflict_and_equal_ones_do_not() {
    let conflicting = |second: &'static str| {
        policy(|p| {
            p.roles.insert("any".into(), publisher(&["a"]));
            p.bindings = vec![placed("ONE"), placed(second)];
        })
    };
    assert_eq!(Scene::new().resolve(&conflicting("ONE"), &user("u")).unwrap().account(), "ONE");
    assert_refused(Scene::new().resolve(&conflicting("TWO"), &user("u")), Reason::AccountConflict);
}

#[test]
fn callout_account_is_closed_to_clients() {
    let bound = policy(|p| {
        p.roles.insert("any".into(), publisher(&["a"]));
        p.bindings.push(placed("AUTH"));
    });
    assert_refused(Scene::new().resolve(&bound, &user("u")), Reason::AccountNotAllowed);
    let written = entry("u", |p| p.account = Some("AUTH".into()));
    assert_refused(Scene::new().resolve(&policy(|_| {}), &written), Reason::AccountNotAllowed);
    let defaulted = policy(|p| p.accounts.default_account = Some("AUTH".into()));
    assert_refused(
        Scene::new().resolve(&defaulted, &entry("u", |_| {})),
        Reason::AccountNotAllowed,
    );
    let shared = policy(|p| p.accounts.insecure_share_callout_account = true);
    assert_eq!(Scene::new().resolve(&shared, &written).unwrap().account(), "AUTH");
    assert!(shared.warnings().iter().any(|w| w.path.contains("insecure_share")));
}

#[test]
fn entry_may_name_system_but_not_unknown_accounts() {
    let closed = policy(|p| p.accounts.accounts = vec![AccountSettings::named("APP")]);
    for (account, allowed) in
        [("SYS", true), ("$SYS", true), ("$G", true), ("APP", true), ("TYPO", false)]
    {
        let identity = entry("u", |p| p.account = Some(account.into()));
        let result = Scene::new().resolve(&closed, &identity);
        assert_eq!(result.is_ok(), allowed, "{account}: {result:?}");
        assert_eq!(closed.knows_account(account), allowed, "{account}");
    }
    assert!(policy(|_| {}).knows_account("ANY"));
}

#[test]
fn operator_mode_needs_exact_account_names() {
    let operator = |p: &mut PolicySettings| {
        p.accounts.operator_mode = true;
        p.accounts.accounts = vec![AccountSettings::named("APP")];
    };
    let closed = policy(operator);
    for (account, known) in [("APP", true), ("SYS", false), ("OTHER", false)] {
        assert_eq!(closed.knows_account(account), known, "{account}");
    }
    let faults = Policy::build(settings(|p| {
        operator(p);
        p.accounts.accounts.push(AccountSettings::named("tenant-*"));
        p.accounts.default_account = Some("OTHER".into());
    }))
    .unwrap_err();
    let text = format!("{faults:?}");
    assert!(text.contains("accounts[1].name") && text.contains("`OTHER`"), "{text}");
}
