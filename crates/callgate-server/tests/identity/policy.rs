//! Claims in policies: unsafe, ambiguous or broken claims refuse that client and no other.

use callgate_testkit::OidcProvider;
use serde_json::{Value, json};

use crate::support::{World, best_provider, has};

fn sso(provider: &OidcProvider, ceiling: &str, policy: &str) -> String {
    let issuer = provider.issuer();
    format!(
        "[[accounts]]\nname = \"APP\"\n[[accounts]]\nname = \"OTHER\"\n\
         [[authenticators]]\nname = \"sso\"\n{ceiling}\n[authenticators.oidc]\nissuer = \"{issuer}\"\n\
         insecure_http = true\naudience = [\"nats\"]\ngroups_claim = \"groups\"\n{policy}"
    )
}

#[tokio::test]
async fn claims_that_are_not_one_safe_token_are_refused() {
    let provider = best_provider().await;
    let policy = r#"
[[bindings]]
roles = ["tenant"]
[[bindings]]
when = '"groups" in claims'
roles = ["groups"]
[roles.tenant]
publish = ["tenants.{{ claims.tenant }}.>"]
[roles.groups]
publish = ["a.rather.long.prefix.for.groups.{{ groups }}.>"]
"#;
    let world = World::of(&sso(&provider, "", policy)).start().await;
    let texts = [
        "*",
        ">",
        "a.b",
        "a b",
        "",
        " ",
        "\t",
        "a\r\nPUB x",
        "\u{0}",
        "$SYS",
        "a>",
        "a*",
        "{{x}}",
        "a\u{200b}",
        "a\u{202e}",
        "\u{fffd}\u{7f}",
        &"x".repeat(129),
    ];
    let lists = [json!(null), json!(true), json!(1.5), json!({}), json!(["ok", "*"]), json!([[]])];
    for tenant in texts.map(Value::from).into_iter().chain(lists) {
        let token = provider.mint("ES256", json!({ "tenant": tenant })).await;
        let (reason, detail) = world.refuses(&token).await;
        assert_eq!(reason, "unsafe_template_value", "{tenant}: {detail}");
        assert!(!detail.contains('\n'), "{detail}");
    }
    for (tenant, subject) in [
        (json!("acme"), "tenants.acme.x"),
        (json!(42), "tenants.42.x"),
        (json!(["a", "b"]), "tenants.b.x"),
        (json!("Zürich"), "tenants.Zürich.x"),
    ] {
        let token = provider.mint("ES256", json!({ "tenant": tenant })).await;
        let (mut session, _) = world.admits(&token).await;
        session.client.publish(subject, "x".into()).await.unwrap();
        session.is_refused_to_publish("tenants.evil.x").await;
    }
    // More groups than fit into a user JWT, and more than fit into a token.
    let groups = |count: u32| (0..count).map(|number| format!("g{number}")).collect::<Vec<_>>();
    for (count, reason) in [(1_000, "grant_too_large"), (10_000, "bad_token")] {
        let claims = json!({ "tenant": "acme", "groups": groups(count) });
        let (got, detail) = world.refuses(&provider.mint("ES256", claims).await).await;
        assert_eq!(got, reason, "{count}: {detail}");
    }
}

#[tokio::test]
async fn policy_failure_affects_only_its_client() {
    let provider = best_provider().await;
    let ceiling = "ceiling = { accounts = [\"APP\"], roles = [\"plain\"] }";
    let policy = r#"
[[bindings]]
roles = ["plain"]
[[bindings]]
when = '"shares" in claims && 100 / claims.shares > 10'
roles = ["plain"]
[[bindings]]
when = '"a" in groups'
account = "APP"
[[bindings]]
when = '"b" in groups'
account = "OTHER"
[[bindings]]
when = '"asks" in claims'
account = "{{ claims.asks }}"
[[bindings]]
when = 'claims.missing == "x" || claims.name.startsWith("bot-")'
roles = ["never"]
[[bindings]]
when = '"wanted" in claims'
roles = ["{{ claims.wanted }}"]
[roles.plain]
publish = ["plain.>"]
[roles.never]
publish = ["never.>"]
"#;
    let world = World::of(&sso(&provider, ceiling, policy)).start().await;
    let refused = [
        (json!({ "shares": 0 }), "policy_error"),
        (json!({ "shares": "many" }), "policy_error"),
        (json!({ "groups": ["a", "b"] }), "account_conflict"),
        (json!({ "groups": ["b"], "asks": "APP" }), "account_conflict"),
        (json!({ "asks": "OTHER" }), "account_not_allowed"),
        (json!({ "asks": "AUTH" }), "account_not_allowed"),
        (json!({ "asks": "$G" }), "account_not_allowed"),
        (json!({ "asks": "" }), "unsafe_template_value"),
    ];
    for (claims, reason) in refused {
        let (got, detail) = world.refuses(&provider.mint("ES384", claims.clone()).await).await;
        assert_eq!(got, reason, "{claims}: {detail}");
    }
    let admitted = [
        (json!({}), "APP"),
        (json!({ "shares": 5 }), "APP"),
        (json!({ "groups": ["a"] }), "APP"),
        (json!({ "groups": ["b"] }), "OTHER"),
        (json!({ "groups": ["a"], "asks": "APP" }), "APP"),
        (json!({ "wanted": "plain" }), "APP"),
        // Items beyond the ceiling are dropped and counted; the rest is granted.
        (json!({ "wanted": "never" }), "APP"),
    ];
    for (claims, account) in admitted {
        let (mut session, decision) =
            world.admits(&provider.mint("ES384", claims.clone()).await).await;
        assert_eq!(decision["account"], account, "{claims}");
        session.client.publish("plain.x", "x".into()).await.unwrap();
        session.is_refused_to_publish("never.x").await;
    }
    let dropped = "callgate_ceiling_dropped_total{authenticator=\"sso\"}";
    assert_eq!(world.gate.metric(dropped).await, 1.0);
    has(&world.gate.log(), &["never"]);
}
