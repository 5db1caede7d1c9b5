//! Opaque tokens of the npm package `oidc-provider`.

use callgate_testkit::{OidcProvider, oidc_provider::INTROSPECTING_CLIENT};

use super::*;

/// The path of the introspection endpoint.
const ENDPOINT: &str = "/token/introspection";

/// Longest time for an answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// An authenticator that discovers the endpoint of this provider.
fn of(provider: &OidcProvider, secret: &str, more: &str) -> Arc<dyn Authenticator> {
    let (issuer, client) = (provider.issuer(), INTROSPECTING_CLIENT.0);
    let toml = format!(
        "issuer = \"{issuer}\"\nclient_id = \"{client}\"\nclient_secret = \"{secret}\"\n\
         connect_timeout = \"20s\"\n{more}"
    );
    build_within(PATIENCE, &toml).unwrap()
}

async fn ask(authenticator: &Arc<dyn Authenticator>, text: &str) -> Result<Identity, Decline> {
    authenticator.authenticate(&token(text).due_at(Instant::now() + PATIENCE)).await
}

const RULES: &str = "audience = \"nats\"\nuser_claim = \"client_id\"";

#[tokio::test]
async fn opaque_token_of_a_real_provider_is_judged() {
    let provider = OidcProvider::npm().await;
    let opaque = provider.mint_opaque().await;
    assert!(!looks_like_jwt(&opaque));
    let secret = INTROSPECTING_CLIENT.1;
    let authenticator = of(&provider, secret, RULES);
    let identity = ask(&authenticator, &opaque).await.unwrap();
    assert_eq!(identity.user, "service");
    let made_up = ask(&authenticator, "made-up").await;
    assert_eq!(reason(made_up), Some(Reason::BadToken));
    // A JWT of the same provider is left to an `oidc` authenticator.
    let jwt = provider.mint("ES256", json!({})).await;
    assert_eq!(reason(ask(&authenticator, &jwt).await), None);
    let other = of(&provider, secret, &RULES.replace("nats", "other"));
    assert_eq!(reason(ask(&other, &opaque).await), Some(Reason::WrongAudience));
    // Tokens of the client credentials grant have no `sub`.
    let by_subject = of(&provider, secret, AUDIENCE);
    let Err(Decline::Rejected(rejection)) = ask(&by_subject, &opaque).await else {
        panic!("not rejected")
    };
    assert_eq!(rejection.reason, Reason::BadToken);
    assert!(rejection.detail.contains("client_id"), "{}", rejection.detail);
}

#[tokio::test]
async fn token_revoked_at_a_real_provider_ends_within_remember() {
    let provider = OidcProvider::npm().await;
    let opaque = provider.mint_opaque().await;
    let remember = Duration::from_millis(500);
    let with = |remember: &str| {
        let more = format!("{RULES}\nremember = \"{remember}\"");
        of(&provider, INTROSPECTING_CLIENT.1, &more)
    };
    let (short, long) = (with("500ms"), with("1h"));
    for authenticator in [&short, &long] {
        assert_eq!(reason(ask(authenticator, &opaque).await), Some(Reason::Admitted));
    }
    let asked = provider.front().asked(ENDPOINT);
    provider.revoke(&opaque).await;
    let revoked = Instant::now();
    assert_eq!(reason(ask(&long, &opaque).await), Some(Reason::Admitted));
    assert_eq!(provider.front().asked(ENDPOINT), asked);
    loop {
        let started = Instant::now();
        let answer = reason(ask(&short, &opaque).await);
        if answer != Some(Reason::Admitted) {
            assert_eq!(answer, Some(Reason::BadToken));
            break;
        }
        assert!(started <= revoked + remember, "remembered for too long");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(provider.front().asked(ENDPOINT), asked + 1);
}

#[tokio::test]
async fn wrong_client_secret_at_a_real_provider_is_unavailable() {
    let provider = OidcProvider::npm().await;
    let opaque = provider.mint_opaque().await;
    let authenticator = of(&provider, "canary-secret", RULES);
    let answer = ask(&authenticator, &opaque).await;
    let Err(Decline::Unavailable(error)) = answer else { panic!("{answer:?}") };
    assert!(error.to_string().contains("401"), "{error}");
    assert!(!error.to_string().contains("canary"), "{error}");
}
