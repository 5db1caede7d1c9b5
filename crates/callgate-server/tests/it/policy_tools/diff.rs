//! `callgate diff`

use serde_json::{Value, json};

use super::Folder;
use crate::support::{CommandOutput, has};

const POLICY: &str = r#"
[roles.tenant]
publish = ["tenants.{{ claims.tenant }}.*"]
[roles.reader]
subscribe = ["foo.*", "foo.>"]
[[bindings]]
authenticator = "staff"
when = '"readers" in groups'
roles = ["reader"]
"#;

/// A folder with `callgate.toml` and `next.toml`, whose users are in `next.json`.
fn folder(users: &Value, next_users: &Value, next_policy: &str) -> Folder {
    let folder = Folder::new(users, POLICY);
    folder.write("next.json", &next_users.to_string());
    folder.config_with("next.toml", "next.json", next_policy);
    folder
}

fn diff(folder: &Folder, arguments: &[&str]) -> CommandOutput {
    folder.run(&[&["diff", "callgate.toml", "next.toml"], arguments].concat())
}

fn users() -> Value {
    json!({
        "alice": { "pass": "x", "roles": ["reader"] },
        "bob": { "pass": "x", "permissions": { "pub": ["bob.>"], "sub": ["bob.>"] } },
        "deploy": { "pass": "x", "roles": [] },
    })
}

#[test]
fn same_sets_in_other_words_are_no_difference() {
    let policy = POLICY.replace(r#"["foo.*", "foo.>"]"#, r#"["foo.*.>", "foo.*"]"#);
    let folder = folder(&users(), &users(), &policy);
    let ran = diff(&folder, &[]);
    let expected =
        "0 identities differ, 3 are the same, 0 cannot be compared without their claims\n";
    assert_eq!((ran.code, ran.stdout.as_str()), (0, expected), "{ran:?}");
    let ran = diff(&folder, &["--json"]);
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(report, json!({ "differences": [], "same": 3, "undecided": 0 }));
}

#[test]
fn every_effect_of_a_change_is_listed() {
    let mut next = users();
    next["bob"]["permissions"] = json!({
        "pub": { "allow": ["bob.>"], "deny": ["bob.audit.>"] },
        "sub": ["bob.>", "reports.>"],
    });
    next["deploy"]["permissions"] = json!({ "pub": ["deploy.>"] });
    let policy = POLICY.replace("claims.tenant }}.*", "claims.tenant }}.>");
    let folder = folder(&users(), &next, &policy);
    let ran = diff(&folder, &[]);
    let expected = "\
loses   staff/bob      publish   bob.audit.>
gains   staff/bob      subscribe reports.>
new     staff/deploy   admitted to APP (was: no_binding)
role    tenant         publish   tenants.{{ claims.tenant }}.> (was: tenants.{{ claims.tenant }}.*)
2 identities differ, 1 is the same, 0 cannot be compared without their claims
";
    assert_eq!((ran.code, ran.stdout.as_str()), (1, expected), "{ran:?}");
    let ran = diff(&folder, &["--json"]);
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    let first = json!({
        "kind": "loses", "identity": "staff/bob", "side": "publish", "subject": "bob.audit.>",
    });
    assert_eq!(report["differences"][0], first, "{report}");
    assert_eq!(report["differences"][3]["role"], "tenant", "{report}");
    assert_eq!((&report["same"], &report["undecided"]), (&json!(1), &json!(0)));
}

#[test]
fn fail_on_selects_the_kind_of_difference() {
    let mut less = users();
    less["bob"]["permissions"] = json!({ "pub": ["bob.>"] });
    let loses = folder(&users(), &less, POLICY);
    let gains = folder(&less, &users(), POLICY);
    for (folder, gain, loss) in [(&loses, 0, 1), (&gains, 1, 0)] {
        for (kind, code) in [("gain", gain), ("loss", loss), ("any", 1)] {
            let ran = diff(folder, &["--fail-on", kind]);
            assert_eq!(ran.code, code, "{kind}: {ran:?}");
            has(&ran.stdout, &["staff/bob      subscribe bob.>", "1 identity differs"]);
        }
    }
    assert_eq!(diff(&loses, &["--fail-on", "change"]).code, 2);
}

#[test]
fn removed_disabled_and_moved_users_are_named() {
    let mut next = users();
    next.as_object_mut().unwrap().remove("alice");
    next["bob"]["disabled"] = true.into();
    next["deploy"] = json!({ "pass": "x", "account": "OTHER", "permissions": {} });
    let mut old = users();
    old["deploy"] = json!({ "pass": "x", "permissions": {} });
    let ran = diff(&folder(&old, &next, POLICY), &[]);
    assert_eq!(ran.code, 1, "{ran:?}");
    has(
        &ran.stdout,
        &[
            "account staff/deploy   OTHER (was: APP)\n",
            "refused staff/alice    unknown_user (was: admitted to APP)\n",
            "refused staff/bob      user_disabled (was: admitted to APP)\n",
            "3 identities differ, 0 are the same",
        ],
    );
}

#[test]
fn conditions_on_the_connection_are_compared() {
    let old = r#"
[roles.reader]
publish = ["a"]
connection_types = ["nats", "mqtt"]
source = ["10.0.0.0/8"]
expires_after = "10m"
"#;
    let new = r#"
[roles.reader]
publish = ["a"]
connection_types = ["nats"]
source = ["10.0.0.0/8", "192.0.2.0/24"]
expires_after = "5m"
"#;
    let users = json!({ "alice": { "pass": "x", "roles": ["reader"] } });
    let folder = Folder::new(&users, old);
    folder.config("next.toml", new);
    let ran = diff(&folder, &[]);
    assert_eq!(ran.code, 1, "{ran:?}");
    has(
        &ran.stdout,
        &[
            "refused staff/alice    connection_type_not_allowed (was: admitted to APP) (over mqtt, from 10.0.0.0)\n",
            "new     staff/alice    admitted to APP (was: source_not_allowed) (from 192.0.2.0)\n",
            "shorter staff/alice    session   ",
            "role    reader         connection_types nats (was: nats, mqtt)\n",
            "role    reader         source    10.0.0.0/8, 192.0.2.0/24 (was: 10.0.0.0/8)\n",
            "role    reader         expires_after 300s (was: 600s)\n",
        ],
    );
}

#[test]
fn services_and_hours_are_compared() {
    let service = |subject: &str, hours: &str| {
        format!(
            "[[authenticators]]\nname = \"ci\"\n[authenticators.service_tokens]\naudience = \"nats\"\n\
             [[authenticators.service_tokens.services]]\n\
             public_key = \"{}\"\nuser = \"deploy\"\nroles = [\"r\"]\n\
             [roles.r]\npublish = [\"{subject}\"]\ntimes = [{{ start = \"{hours}\", end = \"18:00:00\" }}]\n",
            "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4"
        )
    };
    let folder = Folder::new(&json!({}), &service("ci.>", "08:00:00"));
    folder.config("next.toml", &service("ci.>", "12:00:00"));
    let ran = diff(&folder, &[]);
    assert_eq!(ran.code, 1, "{ran:?}");
    has(
        &ran.stdout,
        &["refused ci/deploy      outside_hours (was: admitted to APP)", "1 identity differs"],
    );
    folder.config("next.toml", &service("ci.*", "08:00:00"));
    let ran = diff(&folder, &[]);
    has(&ran.stdout, &["loses   ci/deploy      publish   ci.*.>"]);
}

const TOKENS: &str = r#"
[[authenticators]]
name = "web"
[authenticators.oidc]
issuer = "https://login.example.com"
audience = ["nats"]
jwks_file = "jwks.json"
[roles.tenant]
publish = ["tenants.{{ claims.tenant }}.>"]
[[bindings]]
authenticator = "web"
when = 'has(claims.tenant) && "tenants" in groups'
roles = ["tenant"]
"#;

const JWKS: &str = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","alg":"EdDSA","use":"sig","kid":"k",
    "x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

#[test]
fn identities_without_claims_are_undecided_but_never_the_same() {
    let folder = Folder::new(&json!({}), TOKENS);
    folder.write("jwks.json", JWKS);
    folder.config("next.toml", &TOKENS.replace("claims.tenant }}.>", "claims.tenant }}.*"));
    folder.write(
        "list.yaml",
        "- { authenticator: web, user: ann, groups: [tenants], claims: { tenant: t1 } }\n\
         - { authenticator: web, user: ben, groups: [tenants] }\n\
         - { authenticator: web, user: eve, claims: {} }\n",
    );
    let ran = diff(&folder, &["--identities", "list.yaml"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    has(
        &ran.stdout,
        &[
            "loses   web/ann        publish   tenants.t1.*.>\n",
            "1 identity differs, 1 is the same, 1 cannot be compared without their claims\n",
        ],
    );
    folder.write(
        "list.jsonl",
        "{\"authenticator\":\"web\",\"user\":\"ann\",\"groups\":[\"tenants\"],\"claims\":{\"tenant\":\"t1\"}}\n\n",
    );
    let ran = diff(&folder, &["--identities", "list.jsonl"]);
    has(&ran.stdout, &["1 identity differs, 0 are the same"]);
    folder.write("list.toml", "[[identities]]\nauthenticator = \"wep\"\nuser = \"ann\"\n");
    let ran = diff(&folder, &["--identities", "list.toml"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    has(&ran.stderr, &["list.toml:2:1", "unknown authenticator `wep`; did you mean `web`?"]);
}

#[test]
fn identities_of_an_audit_are_compared_once() {
    let folder = Folder::new(&json!({}), TOKENS);
    folder.write("jwks.json", JWKS);
    folder.config("next.toml", &TOKENS.replace("claims.tenant }}.>", "claims.tenant }}.*"));
    let record = |user: &str, facts: Value| {
        json!({
            "v": 1, "type": "decision", "outcome": "admitted", "authenticator": "web", "user": user,
            "groups": ["tenants"], "facts": facts,
        })
    };
    let records = [
        json!({ "v": 1, "type": "start" }),
        record("ann", json!({ "tenant": "t1" })),
        record("ann", json!({ "tenant": "t1" })),
        record("ben", Value::Null),
        json!({ "v": 1, "type": "decision", "outcome": "refused", "reason": "bad_token" }),
    ];
    let lines: Vec<String> = records.iter().map(Value::to_string).collect();
    folder.write("audit.jsonl", &lines.join("\n"));
    let ran = diff(&folder, &["--audit", "audit.jsonl"]);
    has(
        &ran.stdout,
        &[
            "loses   web/ann        publish   tenants.t1.*.>\n",
            "1 identity differs, 0 are the same, 1 cannot be compared without their claims\n",
        ],
    );
    folder.write("audit.jsonl", "not JSON\n");
    let ran = diff(&folder, &["--audit", "audit.jsonl"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    has(&ran.stderr, &["audit.jsonl:1: not a record of an audit"]);
}

#[test]
fn listed_identities_are_compared_as_described() {
    let users = json!({ "bob": { "pass": "b", "permissions": { "pub": ["bob"] } } });
    let next = json!({
        "bob": { "pass": "b", "permissions": { "pub": ["bob"] } },
        "new": { "pass": "n", "roles": ["reader"] },
    });
    let policy = POLICY.replace(r#"["foo.*", "foo.>"]"#, r#"["foo.*"]"#);
    let folder = folder(&users, &next, &policy);
    // With other roles than those of the entry, and a user that only the new configuration has.
    folder.write(
        "list.yaml",
        "- { user: bob, roles: [reader] }\n- { user: new, groups: [readers] }\n- { user: bob }\n",
    );
    let ran = diff(&folder, &["--identities", "list.yaml"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    has(
        &ran.stdout,
        &[
            "loses   staff/bob      subscribe foo.*.>\n",
            "new     staff/new      admitted to APP (was: unknown_user)\n",
            "3 identities differ, 1 is the same, 0 cannot be compared",
        ],
    );
}

#[test]
fn names_in_an_audit_lose_their_prefix_and_hidden_ones_are_undecided() {
    let users = json!({ "bob": { "pass": "b", "permissions": { "pub": ["a", "b"] } } });
    let next = json!({ "bob": { "pass": "b", "permissions": { "pub": ["a"] } } });
    let folder = folder(&users, &next, POLICY);
    for name in ["callgate.toml", "next.toml"] {
        let text = std::fs::read_to_string(folder.path(name)).unwrap();
        let prefixed = text.replace("name = \"staff\"", "name = \"staff\"\nuser_prefix = \"p-\"");
        folder.write(name, &prefixed);
    }
    let record = |authenticator: &str, user: &str| {
        json!({
            "v": 1, "type": "decision", "outcome": "admitted", "authenticator": authenticator, "user": user,
            "groups": [],
        })
        .to_string()
    };
    let typed = json!({
        "v": 1, "type": "decision", "outcome": "refused", "reason": "bad_password", "authenticator": "staff",
        "user": "typed",
    });
    let records = [
        record("staff", "p-bob"),
        record("staff", "p-removed"),
        record("staff", "hmac:0123456789abcdef"),
        record("staff", "of-another-prefix"),
        typed.to_string(),
    ];
    folder.write("audit.jsonl", &records.join("\n"));
    let ran = diff(&folder, &["--audit", "audit.jsonl"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    has(
        &ran.stdout,
        &[
            "loses   staff/bob      publish   b\n",
            "1 identity differs, 1 is the same, 2 cannot be compared without their claims\n",
        ],
    );
}
