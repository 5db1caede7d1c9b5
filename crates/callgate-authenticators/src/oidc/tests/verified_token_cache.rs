//! Tokens that were verified before.

use std::time::Duration;

use callgate_testkit::ManualClock;

use super::*;

#[tokio::test]
async fn a_remembered_token_is_judged_again_each_time() {
    let bench = Bench::new();
    let oidc = bench.build("a", "audience = \"nats\"");
    let token = EC.token(&claims(json!({})));
    assert_eq!(word(&oidc.identify(&token, at(0)).await), "ok");
    assert_eq!(oidc.verifier.cache.len(), 1);
    let first = oidc.identify(&token, at(0)).await.unwrap();
    let again = oidc.identify(&token, at(599)).await.unwrap();
    assert_eq!((&first.user, &first.claims), (&again.user, &again.claims));
    assert_eq!(bench.counted(), [false, true, true], "one check of the signature, and two without");
    assert_eq!(word(&oidc.identify(&token, at(600)).await), "token_expired");
    // One letter of the signature: another token.
    let other = callgate_testkit::conformance::forged(&token);
    assert_eq!(word(&oidc.identify(&other, at(0)).await), "bad_token");
    // Other claims under the old signature: another token too.
    let (head, signature) = token.rsplit_once('.').unwrap();
    let (header, _) = head.split_once('.').unwrap();
    let mallory = BASE64URL_NOPAD.encode(claims(json!({"sub": "mallory"})).to_string().as_bytes());
    let other = format!("{header}.{mallory}.{signature}");
    assert_eq!(word(&oidc.identify(&other, at(0)).await), "bad_token");
}

#[tokio::test]
async fn ten_thousand_who_come_again_cost_no_second_check_of_signatures() {
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
    assert!(first.iter().all(|remembered| !remembered), "each is checked once");
    assert_eq!((later.len(), later.iter().all(|remembered| *remembered)), (2 * CLIENTS, true));
    // And not one is let in past its end.
    clock.set(NOW + 600);
    for token in &tokens {
        assert_eq!(word(&oidc.identify(token, clock.now()).await), "token_expired");
    }
}

#[tokio::test]
async fn only_tokens_that_are_good_in_all_are_remembered() {
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
async fn a_key_that_is_taken_back_ends_what_it_signed() {
    let bench = Bench::new();
    let oidc = bench.build("a", "audience = \"nats\"");
    let token = EC.token(&claims(json!({})));
    assert_eq!(judge(&oidc, &token).await, "ok");
    // The same id, another key; and then none of that id.
    let successor = TestKey::new("ec", Algorithm::Es256);
    for keys in [key_set(&[&successor]), key_set(&[&RSA])] {
        fs::write(bench.folder.path().join("keys.json"), &keys).unwrap();
        oidc.verifier.keys.preload(keys.as_bytes()).unwrap();
        assert_eq!(judge(&oidc, &token).await, "bad_token");
    }
    assert_eq!(oidc.verifier.cache.len(), 0);
}

#[tokio::test]
async fn a_new_key_under_an_old_id_serves_at_once_and_ends_the_old_one() {
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
async fn a_reload_keeps_the_keys_and_forgets_the_tokens() {
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
