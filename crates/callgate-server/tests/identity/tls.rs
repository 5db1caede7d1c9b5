//! Keys over TLS, only from servers with a certificate of the configured authority.

use callgate_testkit::{
    OidcProvider,
    oidc_provider::{Authority, DISCOVERY},
};
use serde_json::json;

use crate::support::{World, has};

fn entry(name: &str, provider: &OidcProvider, more: &str) -> String {
    let issuer = provider.issuer();
    format!(
        "[[authenticators]]\nname = \"{name}\"\nrequired = false\n[authenticators.oidc]\n\
         issuer = \"{issuer}\"\naudience = [\"nats\"]\n{more}\n"
    )
}

const ALL: &str =
    "[[bindings]]\nauthenticator = \"*\"\nroles = [\"all\"]\n[roles.all]\npublish = [\">\"]\n";

#[tokio::test]
async fn keys_are_fetched_only_with_a_valid_certificate() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let good = OidcProvider::stand_in_over_tls(ours.server()).await;
    let strange = OidcProvider::stand_in_over_tls(theirs.server()).await;
    let expired = OidcProvider::stand_in_over_tls(ours.expired_server()).await;
    let public = OidcProvider::stand_in_over_tls(ours.server()).await;
    let ca = "ca = \"ca.pem\"";
    let config = [
        entry("good", &good, ca),
        entry("strange", &strange, ca),
        entry("expired", &expired, ca),
        // Allowing plain HTTP does not weaken certificate checks.
        entry("public", &public, "insecure_http = true\nca = \"other.pem\""),
        ALL.to_owned(),
    ]
    .concat();
    let world = World::of(&config).file("ca.pem", ours.pem()).file("other.pem", theirs.pem());
    let world = world.start().await;
    let fetched = "callgate_jwks_refresh_total{authenticator=\"good\",result=\"ok\"}";
    world.gate.metric_reaches(fetched, 1.0).await;
    let (_, decision) = world.admits(&good.mint("ES256", json!({})).await).await;
    assert_eq!(decision["authenticator"], "good");
    let bad = [(&strange, "certificate"), (&expired, "certificate"), (&public, "certificate")];
    for (provider, word) in bad {
        let (reason, detail) = world.refuses(&provider.mint("ES256", json!({})).await).await;
        assert_eq!(reason, "backend_unavailable");
        has(&detail, &[provider.issuer(), word]);
        assert_eq!(provider.front().asked(DISCOVERY), 0, "it was contacted before it was trusted");
    }
    world.gate.line(0, &["keys were not refreshed", expired.issuer(), "xpired"]).await;
}

#[tokio::test]
async fn plain_http_and_unreadable_cas_are_errors() {
    let provider = OidcProvider::stand_in().await;
    let good = OidcProvider::stand_in_over_tls(Authority::new("ours").server()).await;
    let users = "[[authenticators]]\n[authenticators.users]\nfile = \"users.json\"\n";
    let users_file = r#"{ "bob": { "token": "bobs-own-token" } }"#;
    let world = World::of(users).file("users.json", users_file).file("ca.pem", "nonsense");
    let world = world.start().await;
    let issuer = provider.issuer();
    let elsewhere = format!("jwks_url = \"{issuer}/jwks\"");
    let cases = [
        (entry("sso", &provider, ""), "oidc.issuer", "insecure_http"),
        (entry("sso", &good, &elsewhere), "oidc.jwks_url", "insecure_http"),
        (entry("sso", &good, "ca = \"ca.pem\""), "oidc.ca", "is not a PEM file"),
        (entry("sso", &good, "ca = \"absent.pem\""), "oidc.ca", "absent.pem"),
    ];
    for (config, key, words) in cases {
        world.reload_fails(&format!("{config}{ALL}")).await;
        let (code, text) = world.check();
        assert_eq!(code, 2, "{text}");
        has(&text, &[key, words]);
        world.admits("bobs-own-token").await;
    }
    // Allowed with a warning.
    world.reload(&format!("{}{ALL}", entry("sso", &provider, "insecure_http = true"))).await;
    world.gate.line(0, &["insecure_http", "use https"]).await;
}
