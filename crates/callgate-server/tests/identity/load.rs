//! Load: repeated tokens cost no second check, and invented keys cause no requests to the provider.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use callgate_testkit::{
    OidcProvider, eventually,
    oidc_provider::{KEYS, SigningKey},
};
use futures_util::future::join_all;
use serde_json::json;

use crate::support::{World, best_provider, connect, now};

fn config(provider: &OidcProvider) -> String {
    let issuer = provider.issuer();
    format!(
        r#"
[[authenticators]]
name = "sso"
[authenticators.oidc]
issuer = "{issuer}"
insecure_http = true
audience = ["nats"]
[[bindings]]
roles = ["all"]
[roles.all]
publish = [">"]
"#
    )
}

/// Minimum time between fetches caused by unknown key ids.
const COOL_DOWN: Duration = Duration::from_secs(10);

#[tokio::test]
async fn invented_key_ids_cause_no_fetches_and_no_rotation_delay() {
    let provider = best_provider().await;
    let world = World::of(&config(&provider)).start().await;
    let forger = SigningKey::generate("forged", "EdDSA");
    let claims = json!({
        "iss": provider.issuer(), "aud": "nats", "sub": "a", "exp": now() + 600,
    });
    let (over, attempts) = (AtomicBool::new(false), AtomicUsize::new(0));
    let url = world.server.url();
    let start = Instant::now();
    let storm = join_all((0..3).map(async |_| {
        while !over.load(Ordering::SeqCst) {
            let number = attempts.fetch_add(1, Ordering::SeqCst);
            let header =
                json!({ "alg": "EdDSA", "typ": "at+jwt", "kid": format!("made up {number}") });
            let token = forger.token_with(&header, &claims);
            assert!(connect(&url, &token, "forger").await.is_err(), "let in");
        }
    }));
    let rotation = async {
        eventually("the storm to rage", COOL_DOWN, async || {
            (attempts.load(Ordering::SeqCst) > 100).then_some(())
        })
        .await;
        // Known keys are not affected by the flood.
        world.admits(&provider.mint("ES256", json!({})).await).await;
        provider.rotate().await;
        let token = provider.mint("ES256", json!({})).await;
        eventually("a client with the new key", 2 * COOL_DOWN, async || {
            world.attempt(&token).await.0
        })
        .await;
        over.store(true, Ordering::SeqCst);
    };
    tokio::join!(storm, rotation);
    let max_fetches = 2 + start.elapsed().as_secs() / COOL_DOWN.as_secs();
    let fetches = provider.front().asked(KEYS);
    assert!(fetches as u64 <= max_fetches, "{fetches} fetches for {attempts:?} invented keys");
}

#[tokio::test]
async fn reused_tokens_need_no_second_signature_check() {
    const TOKENS: usize = 50;
    const ROUNDS: usize = 40;
    let provider = OidcProvider::stand_in().await;
    let world = World::of(&config(&provider)).start().await;
    let tokens = (0..TOKENS).map(async |number| {
        provider.mint("RS256", json!({ "sub": format!("client {number}") })).await
    });
    let tokens = join_all(tokens).await;
    let url = world.server.url();
    join_all(tokens.iter().map(|token| async { connect(&url, token, "first").await.unwrap() }))
        .await;
    let metric = |result: &str| {
        format!("callgate_token_signatures_total{{authenticator=\"sso\",result=\"{result}\"}}")
    };
    assert_eq!(world.gate.metric(&metric("checked")).await, TOKENS as f64);
    for chunk in tokens.chunks(TOKENS / 5) {
        for _ in 0..ROUNDS {
            join_all(
                chunk.iter().map(|token| async { connect(&url, token, "again").await.unwrap() }),
            )
            .await;
        }
    }
    assert_eq!(world.gate.metric(&metric("checked")).await, TOKENS as f64);
    assert_eq!(world.gate.metric(&metric("remembered")).await, (TOKENS * ROUNDS) as f64);
    assert_eq!(provider.front().asked(KEYS), 1);
}
