//! Values of claims in permissions, from the claim to the real server.

use callgate::{
    authn::Identity,
    policy::{
        Policy,
        settings::{
            BindingSettings, Inbox, PolicySettings, RoleSettings, SessionSettings, SideSettings,
        },
    },
    record::Reason,
};
use serde_json::{Value, json};

use crate::{
    site::{Site, policy_of},
    wire::{Wire, publish, subscribe},
};

fn side(allow: &[&str]) -> SideSettings {
    SideSettings { allow: allow.iter().map(|text| (*text).to_owned()).collect(), deny: Vec::new() }
}

fn policy(change: impl FnOnce(&mut PolicySettings)) -> Policy {
    let own = RoleSettings {
        publish: side(&["users.{{ user }}.>", "teams.{{ groups }}.chat"]),
        subscribe: side(&["users.{{ user }}.>", "jobs.* crew-{{ user }}"]),
        inbox: Inbox::Private,
        ..RoleSettings::default()
    };
    let tenant = RoleSettings {
        publish: side(&["tenants.{{ claims.tenant }}.>"]),
        subscribe: side(&["tenants.{{ claims.tenant }}.>"]),
        ..RoleSettings::default()
    };
    let mut settings = policy_of([("own", own), ("tenant", tenant)]);
    let binding = |when: &str, role: &str| BindingSettings {
        when: Some(when.to_owned()),
        roles: vec![role.to_owned()],
        ..BindingSettings::default()
    };
    settings.bindings =
        vec![binding("!has(claims.tenant)", "own"), binding("has(claims.tenant)", "tenant")];
    settings.session = SessionSettings { max_lifetime: None, jitter: 0.0 };
    change(&mut settings);
    Policy::build(settings).unwrap()
}

#[tokio::test]
async fn users_cannot_reach_subjects_of_others() {
    let people = ["alice", "bob", "al.ice@example.org"];
    let identities = people.map(|user| Identity {
        groups: vec!["red".to_owned(), "blue".to_owned()],
        ..Identity::of_user(user)
    });
    let policy = policy(|settings| {
        let own = settings.roles.get_mut("own").unwrap();
        own.publish.allow[0] = "users.{{ encode(user) }}.>".to_owned();
        own.subscribe.allow[0] = "users.{{ encode(user) }}.>".to_owned();
        own.subscribe.allow[1] = "jobs.* crew-{{ encode(user) }}".to_owned();
    });
    let site = Site::with_policy("2.15", "", identities.into(), policy).await;
    let names = people.map(callgate::policy::encode);
    for (user, own) in people.iter().zip(&names) {
        let mut wire = Wire::connect(&site.server, user).await;
        for other in &names {
            let commands = [
                publish(&format!("users.{other}.x"), ""),
                subscribe(&format!("users.{other}.>"), 1),
                subscribe(&format!("_INBOX_{other}.>"), 2),
                subscribe(&format!("jobs.new crew-{other}"), 3),
            ];
            for (command, said) in commands.iter().zip(wire.ask(&commands).await) {
                assert_eq!(said.errors.is_empty(), own == other, "{user}: {command}: {said:?}");
            }
        }
        let closed = [
            publish("users.*.x", ""),
            publish("teams.green.chat", ""),
            subscribe("users.>", 4),
            subscribe("users.*.x", 5),
            subscribe(">", 6),
            subscribe("_INBOX.>", 7),
            subscribe("*.*.>", 8),
            subscribe("jobs.new", 9),
        ];
        for (command, said) in closed.iter().zip(wire.ask(&closed).await) {
            assert!(!said.errors.is_empty(), "{user}: {command}");
        }
        let open = [publish("teams.red.chat", ""), publish("teams.blue.chat", "")];
        assert!(wire.ask(&open).await.iter().all(|said| said.errors.is_empty()), "{user}");
    }
}

fn with_tenant(user: &str, tenant: Value) -> Identity {
    let Value::Object(claims) = json!({ "tenant": tenant }) else { panic!("an object") };
    Identity { claims, ..Identity::of_user(user) }
}

#[tokio::test]
async fn claims_must_be_one_literal_token() {
    let values = [
        json!("*"),
        json!(">"),
        json!("a.b"),
        json!("."),
        json!(""),
        json!(" "),
        json!("a b"),
        json!("a\tb"),
        json!("a\r\nPUB x 0\r\n\r\n"),
        json!("a\u{0}"),
        json!("a\u{200b}"),
        json!("\u{202e}a"),
        json!("a*"),
        json!("{{user}}"),
        json!("$SYS"),
        json!("x".repeat(129)),
        json!(["a", "*"]),
        json!(["a", ""]),
        json!(1.5),
        json!(true),
        json!(null),
        json!({"a": "b"}),
    ];
    let mut people: Vec<Identity> = Vec::new();
    for (number, value) in values.iter().enumerate() {
        people.push(with_tenant(&format!("user-{number}"), value.clone()));
    }
    people.push(with_tenant("many", json!(vec!["t"; 10_000])));
    let site = Site::with_policy("2.15", "", people, policy(|_| {})).await;
    for (number, value) in values.iter().enumerate() {
        let user = format!("user-{number}");
        assert_eq!(site.refusal(&user).await, Reason::UnsafeTemplateValue, "{value}");
    }
    // Conditions and templates see claims up to a bound only.
    assert_eq!(site.refusal("many").await, Reason::PolicyError);
}

#[tokio::test]
async fn external_users_and_groups_are_checked_like_claims() {
    let in_groups =
        |user: &str, groups: Vec<String>| Identity { groups, ..Identity::of_user(user) };
    let odd = ["*", "al ice", "al.ice", "$JS"];
    let mut people: Vec<Identity> = odd.iter().map(|user| Identity::of_user(*user)).collect();
    let groups = |count: usize| (0..count).map(|number| format!("g{number}")).collect();
    people.push(in_groups("crowd", groups(10_000)));
    people.push(in_groups("large", (0..900).map(|n| format!("{n:0>60}")).collect()));
    people.push(in_groups("odd-group", vec!["ok".to_owned(), ">".to_owned()]));
    people.push(in_groups("empty-group", vec![String::new()]));
    people.push(in_groups("few", groups(3)));
    let site = Site::with_policy("2.15", "", people, policy(|_| {})).await;
    for user in odd {
        assert_eq!(site.refusal(user).await, Reason::UnsafeTemplateValue, "{user:?}");
    }
    for (user, reason) in [
        // Refused before any authenticator runs, because the name is deceptive.
        ("a\u{7f}", Reason::UnknownUser),
        ("crowd", Reason::GrantTooLarge),
        ("large", Reason::GrantTooLarge),
        ("odd-group", Reason::UnsafeTemplateValue),
        ("empty-group", Reason::UnsafeTemplateValue),
    ] {
        assert_eq!(site.refusal(user).await, reason, "{user}");
    }
    Wire::connect(&site.server, "few").await;
    assert_eq!(site.decision("few").await.reason, Reason::Admitted);
}

/// Roles by the names of groups: those that name no role are dropped, but not without a bound.
#[tokio::test]
async fn unknown_groups_are_dropped_and_too_many_refuse() {
    let plain = RoleSettings { publish: side(&["plain"]), ..RoleSettings::default() };
    let policy = Policy::build(policy_of([("plain", plain)])).unwrap();
    let in_groups = |user: &str, count: usize| {
        let groups = (0..count).map(|number| format!("group-{number}"));
        let groups = groups.chain(["plain".to_owned(), "*".to_owned(), String::new()]).collect();
        Identity { groups, ..Identity::of_user(user) }
    };
    let people = vec![in_groups("many", 500), in_groups("crowd", 10_000)];
    let site = Site::with_policy("2.15", "", people, policy).await;
    let mut many = Wire::connect(&site.server, "many").await;
    let said = many.ask(&[publish("plain", ""), publish("group-1", "")]).await;
    assert!(said[0].errors.is_empty() && !said[1].errors.is_empty(), "{said:?}");
    assert_eq!(site.decision("many").await.ceiling_dropped.count, 502);
    assert_eq!(site.refusal("crowd").await, Reason::GrantTooLarge);
}
