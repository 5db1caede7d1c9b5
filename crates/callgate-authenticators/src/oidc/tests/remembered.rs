//! Tokens that were verified before.

use super::*;

#[tokio::test]
async fn a_remembered_token_is_judged_again_each_time() {
    let bench = Bench::new();
    let oidc = bench.build("a", "audience = \"nats\"");
    let token = EC.token(&claims(json!({})));
    assert_eq!(word(&oidc.identify(&token, at(0)).await), "ok");
    assert_eq!(oidc.remembered.len(), 1);
    let remembered = oidc.remembered.find(&Remembered::digest(&token)).unwrap();
    assert_eq!(word(&oidc.identify(&token, at(599)).await), "ok");
    let again = oidc.remembered.find(&Remembered::digest(&token)).unwrap();
    assert!(Arc::ptr_eq(&remembered, &again), "its signature was checked a second time");
    assert_eq!(word(&oidc.identify(&token, at(600)).await), "token_expired");
    // One letter of the signature: another token.
    let (head, tail) = token.split_at(token.len() - 10);
    let swapped = if tail.starts_with('A') { 'B' } else { 'A' };
    let other = format!("{head}{swapped}{}", &tail[1..]);
    assert_eq!(word(&oidc.identify(&other, at(0)).await), "bad_token");
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
        oidc.keys.preload(keys.as_bytes()).unwrap();
        assert_eq!(judge(&oidc, &token).await, "bad_token");
    }
    assert_eq!(oidc.remembered.len(), 0);
}

#[tokio::test]
async fn a_reload_keeps_the_keys_and_forgets_the_tokens() {
    let bench = Bench::new();
    let toml = format!("issuer = \"{ISSUER}\"\njwks_file = \"keys.json\"\naudience = \"nats\"");
    let old = bench.try_build("a", 1, &toml).unwrap();
    let token = EC.token(&claims(json!({})));
    assert_eq!(judge(&old, &token).await, "ok");
    let new = bench.try_build("a", 2, &toml).unwrap();
    assert!(Arc::ptr_eq(&old.keys, &new.keys));
    assert_eq!((old.remembered.len(), new.remembered.len()), (1, 0));
    let other = bench.try_build("a", 3, &format!("{toml}\nalgorithms = [\"RS256\"]")).unwrap();
    assert!(!Arc::ptr_eq(&old.keys, &other.keys));
    assert_eq!(judge(&other, &token).await, "bad_token");
}

#[tokio::test]
async fn remembered_tokens_are_bounded_by_number_and_by_size() {
    let verified = |size| {
        Arc::new(Verified {
            authenticator: "a".into(),
            issuer: ISSUER.into(),
            key: Arc::new(match JsonWebKey::read(&EC.jwk(), &Algorithm::ALL) {
                crate::jwks::Reading::Key(key) => key,
                other => panic!("{other:?}"),
            }),
            registered: RegisteredClaims::read(claims(json!({})).as_object().unwrap()).unwrap(),
            claims: Default::default(),
            size,
        })
    };
    let small = verified(800);
    for (room, size, most) in [(0, 800, 0), (100, 800, 100), (100, 16 * 1024, 13)] {
        let remembered = Remembered::new(room);
        let verified = if size == 800 { Arc::clone(&small) } else { verified(size) };
        for n in 0..1000 {
            remembered.remember(Remembered::digest(&n.to_string()), Arc::clone(&verified));
        }
        assert!(remembered.len() <= most, "{room} {size}: {}", remembered.len());
        assert_eq!(remembered.len() == 0, room == 0);
    }
}
