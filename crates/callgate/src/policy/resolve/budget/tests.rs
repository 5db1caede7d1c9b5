//! The counted cost of decisions, and logins that try to exceed it.

use serde_json::{Value as Json, json};

use super::*;
use crate::{
    authn::Identity,
    clock::UnixTime,
    policy::{
        ConnectionInfo, Policy, ResolveRequest,
        resolve::inputs::Inputs,
        settings::{BindingSettings, PolicySettings, RoleSettings, SideSettings},
    },
    reason::{Denial, Reason},
    request::{Client, Server},
    template::{check::ExpressionKind, expression::Expression},
};

/// Calls `with` with a request of this identity.
fn request<T>(identity: &Identity, with: impl FnOnce(&ResolveRequest<'_>) -> T) -> T {
    let client = Client {
        host: "10.1.2.3".to_owned(),
        ip: Some([10, 1, 2, 3].into()),
        id: 7,
        connection: crate::connection::ConnectionKind::Nats,
        kind: "Client".to_owned(),
        kind_of_client: "nats".to_owned(),
        name: "app".to_owned(),
        lang: "rust".to_owned(),
        version: "1.0".to_owned(),
        mqtt_id: String::new(),
    };
    let server = Server {
        id: nkeys::KeyPair::new_server().public_key().parse().unwrap(),
        name: "n1".to_owned(),
        host: "0.0.0.0".to_owned(),
        version: "2.12.8".to_owned(),
        cluster: "east".to_owned(),
        tags: vec!["edge".to_owned()],
    };
    let connection = ConnectionInfo { client: &client, server: &server, user_nkey: &[7; 32] };
    let now = UnixTime::from_seconds(1_772_452_800);
    let authenticator = "idp";
    with(&ResolveRequest { authenticator, identity, connection, callout_account: None, now })
}

fn member(groups: usize, bytes: usize, claims: Json) -> Identity {
    let Json::Object(claims) = claims else { panic!("claims are an object") };
    let groups = (0..groups).map(|n| format!("{n:0bytes$}")).collect();
    Identity { groups, claims, ..Identity::of_user("u") }
}

/// The units that a condition costs.
fn units(condition: &str, identity: &Identity) -> u64 {
    let compiled = Expression::compile(condition, ExpressionKind::Condition, &[]);
    let Ok(compiled) = compiled else { panic!("{condition}") };
    request(identity, |request| compiled.expression.cost(&Inputs::new("u", request)).units)
}

fn decide(settings: PolicySettings, identity: &Identity) -> Result<(), Denial> {
    let mut settings = settings;
    settings.accounts.default_account = Some("APP".to_owned());
    settings.authenticators.push(crate::policy::settings::AuthenticatorPolicy {
        name: "idp".to_owned(),
        kind: "directory",
        ..Default::default()
    });
    let policy = Policy::build(settings).unwrap_or_else(|faults| panic!("{faults:#?}"));
    // The clock is real only in this measurement, which asserts nothing: it is printed by hand, with CALLGATE_TIMINGS.
    let began = std::time::Instant::now();
    let result = request(identity, |request| policy.resolve(request).map(drop));
    if std::env::var_os("CALLGATE_TIMINGS").is_some() {
        let reason = result.as_ref().err().map(|denial| denial.reason);
        println!("{:>9.3} ms  {reason:?}", began.elapsed().as_secs_f64() * 1e3);
    }
    result
}

fn publisher(subjects: &[&str]) -> RoleSettings {
    let allow = subjects.iter().map(|text| (*text).to_owned()).collect();
    let publish = SideSettings { allow, deny: Vec::new() };
    RoleSettings { publish, ..RoleSettings::default() }
}

/// A role of everyone with these subjects, and bindings with these conditions.
fn policy(subjects: &[&str], conditions: &[&str]) -> PolicySettings {
    let mut settings = PolicySettings::default();
    settings.roles.insert("one".to_owned(), publisher(subjects));
    let binding = |when: Option<&str>| BindingSettings {
        when: when.map(str::to_owned),
        roles: vec!["one".to_owned()],
        ..BindingSettings::default()
    };
    settings.bindings.push(binding(None));
    settings.bindings.extend(conditions.iter().map(|when| binding(Some(when))));
    settings
}

#[test]
fn cost_grows_with_the_inputs_only() {
    let few = member(10, 4, json!({ "x": "short" }));
    let many = member(1000, 4, json!({ "x": "short" }));
    for (condition, most_for_few, most_for_many) in [
        ("user == 'u'", 6, 6),
        ("claims.x == 'short'", 6, 6),
        ("'0001' in groups", 20, 1100),
        ("groups.exists(g, g.startsWith('00'))", 300, 30_000),
        ("groups.filter(g, g != 'x').exists(g, g == 'y')", 600, 40_000),
        ("'a' in groups || 'b' in groups || 'c' in groups", 100, 4000),
    ] {
        let cost = (units(condition, &few), units(condition, &many));
        assert!(cost.0 <= most_for_few && cost.1 <= most_for_many, "{condition}: {cost:?}");
    }
}

#[test]
fn ordinary_policies_stay_within_the_budget() {
    let identity = member(
        200,
        36,
        json!({
            "email": "anna@example.com", "scope": "read write", "realm_access": { "roles": ["a", "b"] },
        }),
    );
    let conditions = [
        "groups.exists(g, g.startsWith('team-'))",
        "groups.exists(g, g.matches('^team-[a-z]+$'))",
        "groups.filter(g, g != 'x').map(g, 'p-' + g).exists(g, g == 'p-1')",
        "claims.email.endsWith('@example.com') && 'a' in claims.realm_access.roles",
        "'write' in claims.scope.split(' ')",
    ];
    let subjects = ["team.{{ groups }}.>", "team.{{ groups.filter(g, g != 'x') }}.in"];
    assert!(decide(policy(&subjects, &conditions), &identity).is_ok());
    // A hundred different conditions over two hundred groups.
    let conditions: Vec<String> =
        (0..100).map(|n| format!("'{n}' in groups && groups.size() > 1 || user == 'x'")).collect();
    let conditions: Vec<&str> = conditions.iter().map(String::as_str).collect();
    assert!(decide(policy(&["a"], &conditions), &identity).is_ok());
}

/// Each of these is refused before it does the work.
#[test]
fn decision_never_exceeds_its_budget() {
    let list = |count: usize, bytes: usize| -> Vec<String> {
        (0..count).map(|n| format!("{n:0bytes$}")).collect()
    };
    let nested: Vec<Vec<String>> = (0..60).map(|_| list(60, 4)).collect();
    let claims = json!({
        "other": list(1000, 4), "more": list(1000, 4), "long": "ab".repeat(12_000),
        "needle": "a".repeat(6000), "nested": nested, "text": "a,".repeat(900),
    });
    let identity = member(1000, 8, claims);
    let repeated = |condition: &str, times: usize| vec![condition.to_owned(); times];
    let table: [(&[&str], Vec<String>, Reason); 14] = [
        (&["a"], repeated("groups.exists(g, g in claims.other)", 1), Reason::PolicyError),
        (&["a"], repeated("groups.all(g, claims.long.contains(g))", 1), Reason::PolicyError),
        (&["a"], repeated("claims.long.contains(claims.needle + 'b')", 300), Reason::PolicyError),
        (&["a"], repeated("groups.all(g, claims.nested != [['x']])", 40), Reason::PolicyError),
        (&["a"], repeated("claims.nested.all(n, n == claims.other)", 400), Reason::PolicyError),
        (&["a"], repeated("'x' in groups + claims.other + claims.more", 90), Reason::PolicyError),
        (
            &["a"],
            repeated("groups.map(g, g + claims.long).exists(g, g == '')", 1),
            Reason::PolicyError,
        ),
        (&["a"], repeated("groups.exists(g, g.matches('^(a|b)*c$'))", 20), Reason::PolicyError),
        (
            &["a"],
            repeated("groups.exists(g, 'x' in claims.text.split(','))", 1),
            Reason::PolicyError,
        ),
        (&["a"], repeated("groups.exists(g, size(groups) > 5000)", 40), Reason::PolicyError),
        (&["a"], repeated("groups.exists(g, groups < claims.other)", 1), Reason::PolicyError),
        (&["{{ groups }}.{{ claims.other }}.{{ claims.more }}"], Vec::new(), Reason::GrantTooLarge),
        (&["x.{{ groups }}.{{ claims.other }}"], Vec::new(), Reason::GrantTooLarge),
        (
            &["aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.{{ groups }}.bbbbbbbbbbbbbbbb"],
            Vec::new(),
            Reason::GrantTooLarge,
        ),
    ];
    for (subjects, conditions, reason) in &table {
        let conditions: Vec<&str> = conditions.iter().map(String::as_str).collect();
        let shown = conditions.first().unwrap_or(&subjects[0]);
        if std::env::var_os("CALLGATE_TIMINGS").is_some() {
            print!("{shown:70} ");
        }
        let denial = decide(policy(subjects, &conditions), &identity).expect_err(shown);
        assert_eq!(denial.reason, *reason, "{shown}: {denial}");
    }
}

/// The most that a decision may do: the largest cost that is still admitted.
#[test]
fn work_below_the_budget_is_admitted() {
    let identity = member(
        1000,
        8,
        json!({
            "list": (0..1000).collect::<Vec<_>>(), "text": "a,".repeat(900),
            "org": { "team": { "name": "blue" } },
        }),
    );
    for condition in [
        "groups.all(g, g != 'x' && g != 'y')",
        "groups.filter(g, true).size() == 1000",
        "groups.exists(g, g.matches('^team-[a-z]+$'))",
        "groups.exists(g, g.matches('^(x+x+)+y$'))",
        "groups.map(g, g + 'x').size() == 1000",
        "(groups + claims.list).size() == 2000",
        "(claims.list + claims.list).size() == 2000",
        "groups.exists(g, g + 1 == 'x')",
        "groups.exists(g, claims.org.team[g] == 'x')",
        "groups.exists(g, string(g) == 'x')",
        "groups.exists(g, timestamp(g) == now)",
        "claims.list.exists(x, double(x) == 0.5)",
        "claims.list.map(x, {'a': 1}).size() == 1000",
        "claims.list.exists(x, x in [1001, 1002, 1003, 1004, 1005])",
        "groups.exists(g, claims.org.team.name == g)",
        "claims.text.split(',').size() == 901",
        "claims.text.contains('b,b')",
        "groups == claims.list",
        "claims.size() == 0",
        "'x' in groups",
        "client.host.startsWith('10.') && server.name != 'x'",
    ] {
        let cost = units(condition, &identity);
        let times = (MAX_UNITS - 10_000) / cost;
        assert!(times > 0, "{condition}: {cost}");
        if std::env::var_os("CALLGATE_TIMINGS").is_some() {
            print!("{condition:60} {times:4} x {cost:6} units ");
        }
        let conditions = vec![condition; usize::try_from(times).unwrap()];
        let result = decide(policy(&["a"], &conditions), &identity);
        let is_budget = |denial: &Denial| denial.detail.contains("cost too much");
        assert!(!result.as_ref().is_err_and(is_budget), "{condition}: {result:?}");
    }
}

#[test]
fn lists_are_not_built_inside_loops() {
    for (condition, expected) in [
        ("groups.map(g, groups + claims.other).size() > 1", "line 1, column 22: `+` inside a loop"),
        ("groups.all(g, [user, user] != [g])", "line 1, column 15: a list inside a loop"),
        ("groups.all(g,\n  [g] == groups)", "line 2, column 3: a list inside a loop"),
        ("groups.exists(g, {'a': g} == claims)", "a map inside a loop"),
        ("groups.exists_one(g, claims.a + claims.b == g)", "`+` inside a loop"),
        ("groups.filter(g, claims.a + groups == [])", "`+` inside a loop"),
        ("claims.a.exists(x, x + x == 'y')", "`+` inside a loop"),
        ("groups.map(g, g != 'x', [g]).size() > 1", "a list inside a loop"),
        ("groups.map(g, dyn(groups) + dyn(groups)).size() > 1", "`+` inside a loop"),
        ("groups.exists(g, claims.a.map(x, x) == [])", "a loop inside a loop"),
    ] {
        for kind in [ExpressionKind::Condition, ExpressionKind::Template] {
            let Err(error) = Expression::compile(condition, kind, &[]) else {
                panic!("{condition}")
            };
            assert!(error.contains(expected), "{condition}: {error}");
        }
    }
    for condition in [
        "groups.exists(g, g in ['a', 'b'])",
        "groups.exists(g, 'team-' + g == claims.team)",
        "groups.exists(g, g + claims.suffix == user)",
        "groups.map(g, user + '-' + g).exists(x, x == 'y')",
        "groups.filter(g, g != 'a').exists(g, g + claims.x == 'b')",
        "claims.list.exists(x, string(x) + '-' == user)",
        "groups.exists_one(g, g == 'x')",
        "claims.scope.split(' ').exists(s, s + ':' + claims.x == 'a')",
        "size([user, authenticator]) == 2",
        "groups + claims.other == []",
    ] {
        let compiled = Expression::compile(condition, ExpressionKind::Condition, &[]);
        assert!(compiled.is_ok(), "{condition}: {:?}", compiled.err());
    }
}

#[test]
fn regular_expressions_are_compiled_once_and_bounded() {
    let compile = |regex: &str| {
        Expression::compile(&format!("user.matches('{regex}')"), ExpressionKind::Condition, &[])
    };
    for (regex, expected) in [
        ("(", "is not a regular expression"),
        ("(a{1000}){1000}", "is too large"),
        ("(\\\\\\\\w{500}){20}", "is too large"),
        ("[a-z", "is not a regular expression"),
    ] {
        let Err(error) = compile(regex) else { panic!("{regex}") };
        assert!(error.contains(expected), "{regex}: {error}");
    }
    let identity = |user: &str| member(0, 0, json!({ "user": user }));
    let matches = "claims.user.matches('^dev-[0-9]{1,3}$')";
    assert!(decide(policy(&["a"], &[matches]), &identity("dev-7")).is_ok());
    let too_long = decide(policy(&["a"], &[matches]), &identity(&"x".repeat(1025)));
    assert_eq!(too_long.unwrap_err().reason, Reason::PolicyError);
}

#[test]
fn split_makes_a_list_of_bounded_length() {
    let holds = |condition: &str, text: String| {
        let mut settings = policy(&["a"], &[]);
        settings.bindings[0].when = Some(condition.to_owned());
        decide(settings, &member(0, 0, json!({ "scope": text }))).map_err(|denial| denial.reason)
    };
    let scopes = "read overwrite".to_owned();
    for (condition, expected) in [
        ("'read' in claims.scope.split(' ')", Ok(())),
        ("'write' in claims.scope.split(' ')", Err(Reason::NoBinding)),
        ("claims.scope.split(' ') == ['read', 'overwrite']", Ok(())),
        ("claims.scope.split(', ') == ['read overwrite']", Ok(())),
        ("claims.scope.split('e').size() == 4", Ok(())),
        ("claims.scope.split('') == []", Err(Reason::PolicyError)),
        ("claims.none.split(' ') == []", Err(Reason::NoBinding)),
    ] {
        assert_eq!(holds(condition, scopes.clone()), expected, "{condition}");
    }
    let many = "x ".repeat(999);
    assert_eq!(holds("claims.scope.split(' ').size() == 1000", many.clone()), Ok(()));
    let more = holds("claims.scope.split(' ').size() > 0", many + "x ");
    assert_eq!(more, Err(Reason::PolicyError));
}
