//! Providers that answer with something other than keys: the answer is rejected and logged with its cause, and
//! the old keys stay in use.

use callgate_testkit::{
    OidcProvider, eventually,
    oidc_provider::{DISCOVERY, Misbehavior, SigningKey},
    wait::PATIENCE,
};
use serde_json::{Value, json};

use crate::support::{World, has, now};

fn answer(body: impl ToString) -> Misbehavior {
    Misbehavior::Answer("200 OK", String::new(), body.to_string())
}

fn set(keys: &[Value]) -> Misbehavior {
    answer(json!({ "keys": keys }))
}

fn with(mut jwk: Value, name: &str, value: Value) -> Value {
    jwk[name] = value;
    jwk
}

/// Invalid answers and the logged causes. `elsewhere` has valid keys.
fn attacks(elsewhere: &str) -> Vec<(&'static str, Misbehavior, &'static str)> {
    let [one, two] = ["a", "b"].map(|id| SigningKey::generate(id, "ES256").jwk());
    let same_id = with(two, "kid", json!("a"));
    let (redirect, moved) = (format!("location: {elsewhere}\r\n"), "302 Found");
    let small =
        json!({ "kty": "RSA", "kid": "s", "use": "sig", "e": "AQAB", "n": "u1SU1LfVLPHCozMxH2Mo" });
    vec![
        ("garbage", answer("<!doctype html><h1>Login</h1>"), "not a JSON object"),
        ("empty", answer(""), "not a JSON object"),
        ("cut", answer("{\"keys\":[{\"kty\":"), "not valid JSON"),
        ("other-json", answer("[1,2]"), "not a JSON object"),
        ("no-keys", set(&[]), "no usable signature key"),
        (
            "redirect",
            Misbehavior::Answer(moved, redirect, String::new()),
            "redirects are not followed",
        ),
        (
            "error",
            Misbehavior::Answer("500 Internal Server Error", String::new(), "{}".into()),
            "500",
        ),
        ("endless", Misbehavior::Endless, "longer than"),
        ("huge", answer(" ".repeat(2 * 1024 * 1024)), "longer than"),
        ("symmetric", set(&[json!({ "kty": "oct", "k": "c2VjcmV0", "kid": "a" })]), "symmetric"),
        ("private", set(&[with(one.clone(), "d", json!("c2VjcmV0"))]), "private key"),
        ("encryption", set(&[with(one.clone(), "use", json!("enc"))]), "`use` is not `sig`"),
        ("small", set(&[small]), "2048"),
        ("same-id", set(&[one, same_id]), "duplicate key id `a`"),
    ]
}

fn discovery_lies(issuer: &str) -> [(&'static str, Misbehavior, &'static str); 5] {
    let found = format!("location: {issuer}{DISCOVERY}\r\n");
    let document = |issuer: &str, keys: &str| answer(json!({ "issuer": issuer, "jwks_uri": keys }));
    let host = "http://localhost:1/jwks";
    [
        ("d-garbage", answer("<html>"), "not a JSON object"),
        (
            "d-redirect",
            Misbehavior::Answer("301 Moved", found, String::new()),
            "redirects are not followed",
        ),
        ("d-other", document(issuer, &format!("{issuer}/jwks")), "is for the issuer"),
        ("d-host", document(&format!("{issuer}/d-host"), host), "add it to `jwks_hosts`"),
        ("d-file", document(&format!("{issuer}/d-file"), "file:///etc/passwd"), "not https"),
    ]
}

/// An issuer with its keys at this URL, or discovered.
fn entry(name: &str, issuer: &str, keys: Option<&str>) -> String {
    let keys = keys.map(|url| format!("jwks_url = \"{url}\"\n")).unwrap_or_default();
    format!(
        "[[authenticators]]\nname = \"{name}\"\n[authenticators.oidc]\nissuer = \"{issuer}\"\n\
         insecure_http = true\naudience = [\"nats\"]\n{keys}"
    )
}

const ALL: &str =
    "[[bindings]]\nauthenticator = \"*\"\nroles = [\"all\"]\n[roles.all]\npublish = [\">\"]\n";

#[tokio::test]
async fn lying_provider_is_never_ready_and_each_lie_is_logged() {
    let provider = OidcProvider::stand_in().await;
    let (front, issuer) = (provider.front(), provider.issuer());
    let mut config = String::new();
    let mut reported = Vec::new();
    for (name, attack, words) in attacks(&format!("{issuer}/jwks")) {
        front.misbehave(&format!("/{name}"), attack);
        let url = format!("{issuer}/{name}");
        config.push_str(&entry(name, &format!("http://{name}.test"), Some(&url)));
        reported.push((name, words));
    }
    for (name, attack, words) in discovery_lies(issuer) {
        front.misbehave(&format!("/{name}{DISCOVERY}"), attack);
        config.push_str(&entry(name, &format!("{issuer}/{name}"), None));
        reported.push((name, words));
    }
    let world = World::of(&format!("{config}{ALL}")).not_ready().start().await;
    for (name, words) in &reported {
        world.gate.line(0, &["keys were not refreshed", &format!("/{name}"), words]).await;
    }
    let mentions = |why: &str, name: &str, words: &str| {
        why.split("; ").any(|part| part.contains(&format!("{name}: ")) && part.contains(words))
    };
    // Readiness is updated one tick after the log.
    eventually("readiness to wait for each, and to say why", PATIENCE, async || {
        let why = world.gate.not_ready().await;
        let all = reported.iter().all(|(name, words)| mentions(&why, name, words));
        (why.contains("waiting for") && all).then_some(())
    })
    .await;
    // The redirect target was never requested.
    assert_eq!((front.asked("/jwks"), front.asked(DISCOVERY)), (0, 0));
}

#[tokio::test]
async fn provider_that_starts_lying_loses_no_client() {
    let provider = OidcProvider::stand_in().await;
    let (front, issuer) = (provider.front(), provider.issuer());
    let [good, unknown] = ["good", "unknown"].map(|id| SigningKey::generate(id, "EdDSA"));
    let attacks = attacks(&format!("{issuer}/jwks"));
    let mut config = String::new();
    for (name, ..) in &attacks {
        front.misbehave(&format!("/{name}"), set(&[good.jwk()]));
        let url = format!("{issuer}/{name}");
        config.push_str(&entry(name, &format!("http://{name}.test"), Some(&url)));
    }
    let world = World::of(&format!("{config}{ALL}")).start().await;
    for (name, attack, words) in attacks {
        front.misbehave(&format!("/{name}"), attack);
        let issuer = format!("http://{name}.test");
        let claims = json!({ "iss": issuer, "aud": "nats", "sub": "a", "exp": now() + 600 });
        let (reason, detail) = world.refuses(&unknown.token(&claims)).await;
        assert_eq!(reason, "backend_unavailable", "{name}: {detail}");
        has(&detail, &[words]);
        world.admits(&good.token(&claims)).await;
    }
    assert_eq!(world.gate.get("/readyz").await.0, 200);
}
