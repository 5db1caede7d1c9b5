//! Tokens: who is admitted, as which user, and what the claims grant.

use callgate_testkit::{
    OidcProvider,
    oidc_provider::{ALGORITHMS, SigningKey},
};
use serde_json::{Value, json};

use crate::support::{World, has, now};

with_each_provider![
    a_token_of_every_algorithm_gets_what_its_claims_say,
    a_token_that_is_not_exactly_right_is_refused,
    entries_of_one_issuer_are_told_apart_by_audience,
    check_connect_fetches_the_keys_of_the_issuer,
];

/// An issuer whose tokens have a tenant and roles.
fn config(provider: &OidcProvider) -> String {
    format!(
        r#"
[[authenticators]]
name = "sso"
[authenticators.oidc]
issuer = "{}"
insecure_http = true
audience = ["nats", "nats.example.com"]
groups_claim = "realm_access.roles"
required_claims = {{ "plan.name" = ["gold", "silver"] }}
[[bindings]]
roles = ["tenant"]
[[bindings]]
when = '"auditor" in groups && claims.email_verified'
roles = ["auditor"]
[roles.tenant]
publish = ["tenants.{{{{ claims.tenant }}}}.>"]
subscribe = ["tenants.{{{{ claims.tenant }}}}.>"]
[roles.auditor]
subscribe = ["audit.>"]
"#,
        provider.issuer()
    )
}

/// The claims of a valid token, with changes.
fn claims(changes: Value) -> Value {
    let mut claims = json!({
        "sub": "alice", "tenant": "acme", "plan": { "name": "gold" },
        "realm_access": { "roles": ["auditor"] }, "email_verified": true,
    });
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

async fn a_token_of_every_algorithm_gets_what_its_claims_say(provider: OidcProvider) {
    let world = World::of(&config(&provider)).start().await;
    for algorithm in ALGORITHMS {
        let token = provider.mint(algorithm, claims(json!({}))).await;
        let (mut session, decision) = world.admits(&token).await;
        let reported = ["user", "authenticator", "account"].map(|name| decision[name].clone());
        assert_eq!(reported, ["alice", "sso", "APP"], "{algorithm}");
        session.talks_to_itself_on("tenants.acme.orders").await;
        session.is_refused_to_publish("tenants.evil.orders").await;
        session.client.subscribe("audit.logins").await.unwrap();
        session.is_refused_to_publish("audit.logins").await;
    }
    // The group gets its role only if the other claim is true.
    let token = provider.mint("ES256", claims(json!({ "email_verified": false }))).await;
    let (mut session, _) = world.admits(&token).await;
    session.is_refused_to_subscribe("audit.logins").await;
    // A single fetch serves all of them.
    assert_eq!(provider.front().asked("/jwks"), 1);
    let checked = "callgate_token_signatures_total{authenticator=\"sso\",result=\"checked\"}";
    assert_eq!(world.gate.metric(checked).await, 6.0);
}

async fn a_token_that_is_not_exactly_right_is_refused(provider: OidcProvider) {
    let world = World::of(&config(&provider)).start().await;
    let now = now();
    let cases = [
        (json!({ "aud": "another-audience" }), "wrong_audience", "none of `nats`"),
        (json!({ "aud": ["a", "b"] }), "wrong_audience", "none of `nats`"),
        (json!({ "aud": 7 }), "bad_token", "aud"),
        (json!({ "aud": null }), "bad_token", "`aud` is missing"),
        (json!({ "iss": format!("{}/", provider.issuer()) }), "bad_token", ""),
        (json!({ "iss": [provider.issuer()] }), "bad_token", ""),
        (json!({ "exp": now - 1 }), "token_expired", ""),
        (json!({ "exp": null }), "bad_token", "`exp`"),
        (json!({ "exp": -0.5 }), "bad_token", "`exp`"),
        (json!({ "exp": (now + 60).to_string() }), "bad_token", "`exp`"),
        (json!({ "nbf": now + 60 }), "bad_token", ""),
        (json!({ "iat": now + 60 }), "bad_token", ""),
        (json!({ "sub": null }), "bad_token", "`sub`"),
        (json!({ "sub": "" }), "bad_token", "`sub`"),
        (json!({ "plan": { "name": "free" } }), "bad_token", "`plan.name`"),
        (json!({ "plan": null }), "bad_token", "`plan.name`"),
        (json!({ "tenant": null }), "unsafe_template_value", "claims.tenant"),
    ];
    for (changes, reason, word) in cases {
        let token = provider.mint("ES256", claims(changes.clone())).await;
        let (got, detail) = world.refuses(&token).await;
        assert_eq!(got, reason, "{changes}: {detail}");
        has(&detail, &[word]);
    }
    forgeries(&provider, &world).await;
}

/// Tokens that no provider would issue.
async fn forgeries(provider: &OidcProvider, world: &World) {
    let good = provider.mint("ES256", claims(json!({}))).await;
    let [header, payload, signature] = good.split('.').collect::<Vec<_>>()[..] else {
        panic!("a token has three parts")
    };
    let other = provider.mint("ES256", claims(json!({ "tenant": "evil" }))).await;
    let evil = other.split('.').nth(1).unwrap();
    let unsigned = data_encoding::BASE64URL_NOPAD.encode(b"{\"alg\":\"none\",\"typ\":\"at+jwt\"}");
    let other = SigningKey::generate("ES256-1", "ES256");
    let mut all = claims(json!({ "iss": provider.issuer(), "aud": "nats", "exp": now() + 60 }));
    let by_other_key = other.token(&all);
    let header_says =
        json!({ "alg": "ES256", "typ": "at+jwt", "kid": "ES256-1", "jwk": other.jwk() });
    let with_own_key = other.token_with(&header_says, &all);
    let critical = json!({ "alg": "ES256", "typ": "at+jwt", "kid": "ES256-1", "crit": ["x"] });
    let critical = other.token_with(&critical, &all);
    all["typ"] = json!("Refresh");
    let refresh = json!({ "alg": "ES256", "typ": "rt+jwt", "kid": "ES256-1" });
    let refresh = other.token_with(&refresh, &all);
    let cases = [
        (
            "the payload of another",
            format!("{header}.{evil}.{signature}"),
            "signature",
            "signature",
        ),
        ("unsigned", format!("{unsigned}.{payload}.{signature}"), "alg", "signature"),
        ("without a signature", format!("{header}.{payload}."), "", "issuer"),
        ("signed with another key", by_other_key, "signature", "signature"),
        ("with its own key in the header", with_own_key, "signature", "signature"),
        ("with `crit`", critical, "crit", "malformed"),
        ("of another type", refresh, "typ", "malformed"),
    ];
    for (what, token, word, cause) in cases {
        let (session, decision) = world.attempt(&token).await;
        assert!(session.is_none(), "{what}: {decision}");
        assert_eq!(
            (&decision["reason"], &decision["cause"]),
            (&json!("bad_token"), &json!(cause)),
            "{what}"
        );
        has(decision["detail"].as_str().unwrap(), &[word]);
        assert_eq!(decision["claimed_user"], "alice", "{what}: {decision}");
    }
    world.admits(&good).await;
}

async fn entries_of_one_issuer_are_told_apart_by_audience(provider: OidcProvider) {
    let issuer = provider.issuer();
    let config = format!(
        r#"
[[authenticators]]
name = "machines"
[authenticators.oidc]
issuer = "{issuer}"
insecure_http = true
audience = ["nats"]
[[authenticators]]
name = "people"
user_prefix = "person:"
[authenticators.oidc]
issuer = "{issuer}"
insecure_http = true
audience = ["mail"]
user_claim = "email"
max_token_lifetime = "10m"
[[bindings]]
authenticator = ["machines", "people"]
roles = ["all"]
[roles.all]
publish = [">"]
"#
    );
    let world = World::of(&config).start().await;
    let person = |changes: Value| {
        let mut claims = json!({ "aud": "mail", "email": "a@example.com", "email_verified": true });
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        claims
    };
    let names = |decision: &Value| ["authenticator", "user"].map(|name| decision[name].clone());
    let (_, decision) = world.admits(&provider.mint("RS256", json!({})).await).await;
    assert_eq!(names(&decision), ["machines", "service"]);
    let (_, decision) = world.admits(&provider.mint("RS256", person(json!({}))).await).await;
    assert_eq!(names(&decision), ["people", "person:a@example.com"]);
    let cases = [
        (json!({ "email_verified": false }), "bad_token"),
        (json!({ "email_verified": "true" }), "bad_token"),
        (json!({ "email_verified": null }), "bad_token"),
        (json!({ "email": null }), "bad_token"),
        (json!({ "exp": now() + 3600 }), "token_lifetime"),
        (json!({ "aud": "neither" }), "wrong_audience"),
    ];
    for (changes, reason) in cases {
        let token = provider.mint("RS256", person(changes.clone())).await;
        let (got, detail) = world.refuses(&token).await;
        assert_eq!(got, reason, "{changes}: {detail}");
    }
}

async fn check_connect_fetches_the_keys_of_the_issuer(mut provider: OidcProvider) {
    let world = World::of(&config(&provider)).start().await;
    let (code, text) = world.check_connect().await;
    assert_eq!(code, 0, "{text}");
    has(&text, &["nats: ok\n", "sso: ok; ", " signing keys"]);
    provider.front_mut().go_down().await;
    let (code, text) = world.check_connect().await;
    assert_eq!(code, 2, "{text}");
    has(&text, &["nats: ok\n", "error: sso: cannot fetch ", provider.issuer()]);
}
