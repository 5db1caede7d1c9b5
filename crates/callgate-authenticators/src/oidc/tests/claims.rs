//! Claims in the various forms that providers give them.

use super::*;

async fn identity(oidc: &Oidc, changes: Value) -> Result<Identity, String> {
    match oidc.identify(&EC.token(&claims(changes)), at(0)).await {
        Ok(identity) => Ok(identity),
        Err(Decline::Rejected(rejection)) => {
            Err(format!("{}: {}", rejection.reason.as_str(), rejection.detail))
        }
        other => panic!("{}", word(&other)),
    }
}

async fn groups(oidc: &Oidc, changes: Value) -> Vec<String> {
    identity(oidc, changes).await.unwrap().groups
}

#[tokio::test]
async fn groups_are_the_member_names_of_an_object() {
    let bench = Bench::new();
    let path = "urn:zitadel:iam:org:project:roles";
    let oidc = bench.build("a", &format!("audience = \"nats\"\ngroups_claim = \"{path}\""));
    let roles =
        json!({"admin": {"1": "a.example"}, "reader": {"1": "a.example", "2": "b.example"}});
    assert_eq!(groups(&oidc, json!({path: roles})).await, ["admin", "reader"]);
    assert!(groups(&oidc, json!({path: {}})).await.is_empty());
}

#[tokio::test]
async fn text_of_groups_is_split_only_if_configured() {
    let bench = Bench::new();
    let whole = bench.build("a", "audience = \"nats\"\ngroups_claim = \"roles\"");
    assert_eq!(groups(&whole, json!({"roles": "a b"})).await, ["a b"]);
    let toml = "audience = \"other\"\ngroups_claim = \"roles\"\ngroups_split = \" \"";
    let split = bench.build("b", toml);
    let with = |roles: Value| json!({"aud": "other", "roles": roles});
    assert_eq!(groups(&split, with(json!(" write  read "))).await, ["write", "read"]);
    assert!(groups(&split, with(json!(""))).await.is_empty());
    // A list already separates its groups.
    assert_eq!(groups(&split, with(json!(["a b"]))).await, ["a b"]);
}

#[tokio::test]
async fn scopes_are_a_list_whatever_their_form() {
    let bench = Bench::new();
    let oidc = bench.build("a", "audience = \"nats\"");
    for (changes, expected) in [
        (json!({"scope": "overwrite read"}), json!(["overwrite", "read"])),
        (json!({"scope": ["read", "write"]}), json!(["read", "write"])),
        (json!({"scp": "a b"}), json!(["a", "b"])),
        (json!({"scp": ["a"], "scope": "b a"}), json!(["b", "a"])),
        (json!({"scope": ""}), json!([])),
        (json!({"scope": "read", "scopes": ["admin"]}), json!(["read"])),
    ] {
        let found = identity(&oidc, changes.clone()).await.unwrap();
        assert_eq!(found.claims["scopes"], expected, "{changes}");
    }
    let without = identity(&oidc, json!({"scope": null})).await.unwrap();
    assert_eq!(without.claims.get("scopes"), None);
    for wrong in [json!(1), json!({"a": 1}), json!(["a", 1])] {
        let error = identity(&oidc, json!({"scp": wrong})).await.unwrap_err();
        assert!(error.starts_with("bad_token: `scp` is neither"), "{error}");
    }
}

#[tokio::test]
async fn required_scope_is_compared_exactly() {
    let bench = Bench::new();
    let oidc = bench.build("a", "audience = \"nats\"\nrequired_claims = { scopes = [\"write\"] }");
    for (scope, is_accepted) in [
        (json!("read write"), true),
        (json!(["write"]), true),
        (json!("overwrite"), false),
        (json!("read"), false),
        (json!(""), false),
        (json!(null), false),
    ] {
        let found = identity(&oidc, json!({"scope": scope})).await;
        assert_eq!(found.is_ok(), is_accepted, "{scope} {found:?}");
    }
}

#[tokio::test]
async fn unverified_address_is_refused_with_the_cause() {
    let bench = Bench::new();
    let oidc = bench.build("a", "audience = \"nats\"\nuser_claim = \"email\"");
    let mut seen = std::collections::HashSet::new();
    for (verified, text) in [
        (json!({"email_verified": "true"}), "is text, not the boolean true"),
        (json!({"email_verified": false}), "is false"),
        (json!({"email_verified": 1}), "is not a boolean"),
        (json!({}), "is missing"),
    ] {
        let mut changes = verified.clone();
        changes["email"] = json!("alice@example.com");
        let error = identity(&oidc, changes).await.unwrap_err();
        assert!(error.contains(text), "{verified} {error}");
        assert!(seen.insert(error));
    }
}

#[tokio::test]
async fn groups_that_the_provider_left_out_are_not_an_empty_list() {
    let bench = Bench::new();
    let oidc = bench.build("a", "audience = \"nats\"\ngroups_claim = \"groups\"");
    for left_out in [
        json!({"_claim_names": {"groups": "src1"}, "_claim_sources": {"src1": {}}}),
        json!({"hasgroups": true}),
        json!({"hasgroups": "true"}),
        json!({"_claim_names": "{\"groups\":\"src1\"}"}),
        json!({"_claim_names": ["address", "groups"]}),
    ] {
        let error = identity(&oidc, left_out.clone()).await.unwrap_err();
        assert!(error.starts_with("bad_token: the provider left the groups"), "{error}");
        assert!(error.contains("application roles") && error.contains("filter"), "{error}");
    }
    for others in [
        json!({}),
        json!({"_claim_names": {"address": "src1"}}),
        json!({"_claim_names": "{\"address\":\"groups of users\"}"}),
        json!({"hasgroups": false}),
        json!({"hasgroups": true, "groups": []}),
    ] {
        assert!(groups(&oidc, others).await.is_empty());
    }
    // Tokens with application roles may leave out the groups.
    let roles = bench.build("b", "audience = \"other\"\ngroups_claim = \"roles\"");
    let changes = json!({"aud": "other", "roles": ["x"], "_claim_names": {"groups": "src1"}});
    assert_eq!(groups(&roles, changes).await, ["x"]);
    let nested = bench.build("c", "audience = \"third\"\ngroups_claim = \"realm_access.roles\"");
    let changes = json!({"aud": "third", "_claim_names": {"realm_access": "src1"}});
    assert!(identity(&nested, changes).await.is_err());
}

#[tokio::test]
async fn absent_mistyped_and_different_claims_are_told_apart() {
    let bench = Bench::new();
    let oidc = bench.build(
        "a",
        "audience = \"nats\"\ngroups_claim = \"realm.roles\"\nrequired_claims = { level = [3, true] }",
    );
    for (changes, expected) in [
        (json!({"realm": {"roles": []}}), "the required claim `level` is missing"),
        (json!({"level": 4}), "the required claim `level` has a different value"),
        (
            json!({"level": "3"}),
            "the required claim `level` has another type than required: a string, not a boolean or a \
             number",
        ),
        (json!({"level": ["3"]}), "has another type than required: a string"),
        (json!({"level": [4]}), "the required claim `level` has a different value"),
        (json!({"level": []}), "the required claim `level` has a different value"),
        (json!({"level": {}}), "has another type than required: an object"),
        (json!({"level": 3, "realm": {"roles": 7}}), "the groups in `realm.roles` are a number"),
        (json!({"level": 3, "realm": {"roles": null}}), "the groups in `realm.roles` are null"),
        (json!({"level": 3, "realm": {"roles": [7]}}), "the groups in `realm.roles` are a list"),
    ] {
        let error = identity(&oidc, changes.clone()).await.unwrap_err();
        assert!(error.contains(expected), "{changes}: {error}");
    }
    for (changes, notes) in [
        (
            json!({"level": 3}),
            &["the token has no claim `realm.roles` (`groups_claim`): no groups"][..],
        ),
        (json!({"level": 3, "realm": {"roles": []}}), &[]),
        (json!({"level": 3, "realm": {"roles": "x"}}), &[]),
    ] {
        let found = identity(&oidc, changes.clone()).await.unwrap();
        assert_eq!(found.notes, notes, "{changes}");
    }
}

#[tokio::test]
async fn audience_may_be_in_another_claim() {
    let bench = Bench::new();
    let app = bench.build("app", "audience = \"app\"\naudience_claim = \"client_id\"");
    let none = json!({"aud": []});
    for (changes, expected) in [
        (json!({"aud": "nats", "client_id": "app"}), "ok"),
        (json!({"client_id": ["x", "app"]}), "ok"),
        // `aud` does not count instead.
        (json!({"aud": "app", "client_id": "x"}), "wrong_audience"),
        (json!({"aud": "app"}), "bad_token"),
        (json!({"client_id": 1}), "bad_token"),
        (none, "bad_token"),
    ] {
        assert_eq!(judge(&app, &EC.token(&claims(changes.clone()))).await, expected, "{changes}");
    }
    let mut without = claims(json!({"client_id": "app"}));
    without.as_object_mut().unwrap().remove("aud");
    assert_eq!(judge(&app, &EC.token(&without)).await, "ok");

    // Each of the issuer's entries reads the audience from its own claim.
    let nats = bench.build("nats", "audience = [\"nats\", \"app\"]");
    for (changes, at_app, at_nats) in [
        (json!({"aud": "nats", "client_id": "x"}), "not_mine", "ok"),
        (json!({"aud": "nats"}), "not_mine", "ok"),
        (json!({"aud": "x", "client_id": "app"}), "ok", "not_mine"),
        (json!({"aud": "x", "client_id": "x"}), "wrong_audience", "wrong_audience"),
    ] {
        let token = EC.token(&claims(changes.clone()));
        assert_eq!(judge(&app, &token).await, at_app, "{changes}");
        assert_eq!(judge(&nats, &token).await, at_nats, "{changes}");
    }
    assert_eq!(judge(&nats, &EC.token(&without)).await, "not_mine");
    let alone = bench.try_build(
        "alone",
        1,
        &format!("issuer = \"{ISSUER}\"\njwks_file = \"keys.json\"\naudience = \"nats\""),
    );
    let error = alone.unwrap().identify(&EC.token(&without), at(0)).await;
    let Err(Decline::Rejected(rejection)) = error else { panic!("{}", word(&error)) };
    assert!(rejection.detail.contains("set `audience_claim`"), "{}", rejection.detail);
}
