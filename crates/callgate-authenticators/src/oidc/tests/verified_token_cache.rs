//! Tokens that were verified before.

use std::time::Duration;

use callgate_testkit::ManualClock;

use super::*;

#[tokio::test]
async fn cached_token_is_checked_on_every_login() {
    let bench = Bench::new();
    let oidc = bench.build("a", "audience = \"nats\"");
    let token = EC.token(&claims(json!({})));
    assert_eq!(word(&oidc.identify(&token, at(0)).await), "ok");
    assert_eq!(oidc.verifier.cache.len(), 1);
    let first = oidc.identify(&token, at(0)).await.unwrap();
    let again = oidc.identify(&token, at(599)).await.unwrap();
    assert_eq!((&first.user, &first.claims), (&again.user, &again.claims));
    assert_eq!(bench.counted(), [false, true, true], "one signature check, and two without");
    assert_eq!(word(&oidc.identify(&token, at(600)).await), "token_expired");
    // Another signature is another token.
    let other = callgate_testkit::conformance::forged(&token);
    assert_eq!(word(&oidc.identify(&other, at(0)).await), "bad_token");
    // Other claims with the old signature are another token.
    let (head, signature) = token.rsplit_once('.').unwrap();
    let (header, _) = head.split_once('.').unwrap();
    let mallory = BASE64URL_NOPAD.encode(claims(json!({"sub": "mallory"})).to_string().as_bytes());
    let other = format!("{header}.{mallory}.{signature}");
    assert_eq!(word(&oidc.identify(&other, at(0)).await), "bad_token");
}

#[tokio::test]
async fn reconnect_storm_causes_no_repeated_signature_checks() {
    const CLIENTS: usize = 10_000;
    let bench = Bench::new();
    let oidc = bench.build("a", "audience = \"nats\"");
    let clock = ManualClock::at(NOW);
    let token = |n| EC.token(&claims(json!({ "sub": format!("client {n}") })));
    let tokens: Vec<_> = (0..CLIENTS).map(token).collect();
    for _ in 0..3 {
        for (n, token) in tokens.iter().enumerate() {
            let identity = oidc.identify(token, clock.now()).await.unwrap();
            assert_eq!(identity.user, format!("client {n}"));
        }
        clock.advance(Duration::from_secs(60));
    }
    let counted = bench.counted();
    let (first, later) = counted.split_at(CLIENTS);
    assert!(first.iter().all(|remembered| !remembered), "each signature is checked once");
    assert_eq!((later.len(), later.iter().all(|remembered| *remembered)), (2 * CLIENTS, true));
    // None is accepted after it expired.
    clock.set(NOW + 600);
    for token in &tokens {
        assert_eq!(word(&oidc.identify(token, clock.now()).await), "token_expired");
    }
}

#[tokio::test]
async fn only_accepted_tokens_are_cached() {
    let bench = Bench::new();
    let oidc = bench.build("a", "audience = \"nats\"\nrequired_claims = { team = \"blue\" }");
    for (changes, expected) in [
        (json!({"team": "red"}), "bad_token"),
        (json!({"team": "blue", "aud": "other"}), "wrong_audience"),
        (json!({"team": "blue", "exp": NOW}), "token_expired"),
        (json!({"team": "blue", "nbf": NOW + 60}), "bad_token"),
    ] {
        assert_eq!(judge(&oidc, &EC.token(&claims(changes))).await, expected);
    }
    assert_eq!(oidc.verifier.cache.len(), 0);
}

#[tokio::test]
async fn withdrawn_key_invalidates_its_tokens() {
    let bench = Bench::new();
    let oidc = bench.build("a", "audience = \"nats\"");
    let token = EC.token(&claims(json!({})));
    assert_eq!(judge(&oidc, &token).await, "ok");
    // First another key with the same id, then no key with it.
    let successor = TestKey::new("ec", Algorithm::Es256);
    for keys in [key_set(&[&successor]), key_set(&[&RSA])] {
        fs::write(bench.folder.path().join("keys.json"), &keys).unwrap();
        oidc.verifier.keys.preload(keys.as_bytes()).unwrap();
        assert_eq!(judge(&oidc, &token).await, "bad_token");
    }
    assert_eq!(oidc.verifier.cache.len(), 0);
}

#[tokio::test]
async fn new_key_with_the_same_id_replaces_the_old_one() {
    let bench = Bench::new();
    let oidc = bench.build("a", "audience = \"nats\"");
    let old = EC.token(&claims(json!({})));
    assert_eq!(judge(&oidc, &old).await, "ok");
    let successor = TestKey::new("ec", Algorithm::Es256);
    bench.keys(&[&successor]);
    assert_eq!(judge(&oidc, &successor.token(&claims(json!({})))).await, "ok");
    assert_eq!(judge(&oidc, &old).await, "bad_token");
}

#[tokio::test]
async fn reload_keeps_keys_but_not_cached_tokens() {
    let bench = Bench::new();
    let toml = format!("issuer = \"{ISSUER}\"\njwks_file = \"keys.json\"\naudience = \"nats\"");
    let old = bench.try_build("a", 1, &toml).unwrap();
    let token = EC.token(&claims(json!({})));
    assert_eq!(judge(&old, &token).await, "ok");
    let new = bench.try_build("a", 2, &toml).unwrap();
    assert!(Arc::ptr_eq(&old.verifier.keys, &new.verifier.keys));
    assert_eq!((old.verifier.cache.len(), new.verifier.cache.len()), (1, 0));
    let other = bench.try_build("a", 3, &format!("{toml}\nalgorithms = [\"RS256\"]")).unwrap();
    assert!(!Arc::ptr_eq(&old.verifier.keys, &other.verifier.keys));
    assert_eq!(judge(&other, &token).await, "bad_token");
}
