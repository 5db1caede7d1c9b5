use super::*;

#[test]
fn duplicate_key_ids_are_refused() {
    let (a, b) = (key("same"), TestKey::new("same", Algorithm::Es256));
    let expected = KeySetError::DuplicateId("same".into());
    assert_eq!(parse(&json!([a.jwk(), b.jwk()])).unwrap_err(), expected);
    // An unsafe key was meant for signing too.
    let private = with(b.jwk(), json!({"d": "AAAA"}));
    assert_eq!(parse(&json!([a.jwk(), private])).unwrap_err(), expected);
    // It does not matter why the other key is left out.
    for other in [
        json!({"kty": "oct", "k": "AAAA", "kid": "same"}),
        json!({"kty": "unheard-of", "kid": "same"}),
        json!({"kid": "same"}),
        with(b.jwk(), json!({"crv": "P-521"})),
        with(b.jwk(), json!({"alg": "HS256"})),
        with(b.jwk(), json!({"key_ops": ["encrypt"]})),
        with(b.jwk(), json!({"use": "other"})),
        with(b.jwk(), json!({"use": 1})),
    ] {
        assert_eq!(parse(&json!([a.jwk(), other])).unwrap_err(), expected, "{other}");
        assert_eq!(parse(&json!([other, a.jwk()])).unwrap_err(), expected, "{other}");
    }
    let set = json!({"keys": [a.jwk(), b.jwk()]}).to_string();
    assert_eq!(KeySet::parse(set.as_bytes(), &[ED]).unwrap_err(), expected);
    // Keys for encryption do not count.
    let encrypts = with(b.jwk(), json!({"use": "enc"}));
    assert_eq!(parse(&json!([a.jwk(), encrypts])).unwrap().len(), 1);
}

#[test]
fn identical_key_may_be_listed_twice() {
    let (rsa, other) = (TestKey::new("same", Algorithm::Rs256), key("other"));
    for again in [
        rsa.jwk(),
        with(rsa.jwk(), json!({"x5t": "AAAA"})),
        with(rsa.jwk(), json!({"key_ops": ["verify"]})),
        with(rsa.jwk(), json!({"use": null})),
    ] {
        let set = parse(&json!([rsa.jwk(), other.jwk(), again])).unwrap();
        assert_eq!((set.len(), set.remarks()), (2, &[][..]), "{again}");
        assert!(set.find(Some("same"), Algorithm::Rs256).is_ok());
        assert!(set.find(None, Algorithm::Rs256).is_ok());
    }
    let unnamed = with(rsa.jwk(), json!({"kid": null}));
    let set = parse(&json!([unnamed, unnamed])).unwrap();
    assert!(set.find(None, Algorithm::Rs256).is_ok());
    // A key that is left out may be repeated too.
    let symmetric = json!({"kty": "oct", "k": "AAAA", "kid": "hmac"});
    assert_eq!(parse(&json!([rsa.jwk(), symmetric, symmetric])).unwrap().len(), 1);
    let private = with(rsa.jwk(), json!({"d": "AAAA"}));
    assert!(parse(&json!([rsa.jwk(), private])).is_err());
    assert!(parse(&json!([private, rsa.jwk()])).is_err());
}

#[test]
fn padded_key_numbers_are_accepted() {
    for algorithm in [Algorithm::Rs256, Algorithm::Es256, Algorithm::Es384, ED] {
        let key = TestKey::new("a", algorithm);
        let mut jwk = key.jwk();
        for name in ["n", "e", "x", "y"] {
            let Some(text) = jwk[name].as_str().map(str::to_owned) else { continue };
            jwk[name] = json!(format!("{text}{}", "=".repeat((4 - text.len() % 4) % 4)));
        }
        let set = parse(&json!([key.jwk(), jwk])).unwrap();
        let found = set.find(Some("a"), algorithm).unwrap();
        assert!(found.verifies(algorithm, b"x", &key.sign(algorithm, b"x")), "{algorithm:?}");
    }
    let wrong = with(key("a").jwk(), json!({"x": "AA=="}));
    assert!(parse(&json!([wrong])).is_err());
}

#[test]
fn null_members_of_a_key_are_absent() {
    let nulls = json!({"use": null, "alg": null, "key_ops": null, "kid": null, "d": null, "k": null,
        "x5c": null});
    for algorithm in [Algorithm::Rs256, Algorithm::Es256, ED] {
        let key = TestKey::new("a", algorithm);
        let set = parse(&json!([with(key.jwk(), nulls.clone())])).unwrap();
        assert_eq!((set.len(), set.remarks()), (1, &[][..]));
        assert!(set.find(None, algorithm).is_ok());
    }
    for required in ["kty", "crv", "x"] {
        let set = parse(&json!([with(key("a").jwk(), json!({required: null}))]));
        assert!(matches!(set, Err(KeySetError::Nothing(_))), "{required}");
    }
}

#[test]
fn malformed_key_sets_are_refused() {
    let deep = format!(r#"{{"keys":[{}]}}"#, "[".repeat(1000));
    for text in [
        "",
        "null",
        "[]",
        "{}",
        r#"{"keys":{}}"#,
        r#"{"keys":[]}"#,
        r#"{"keys":[1]}"#,
        r#"{"keys":[],"keys":[]}"#,
        r#"{"keys":[{"kty":"oct","k":"AAAA"}]}"#,
        "<html>",
        &deep,
    ] {
        assert!(KeySet::parse(text.as_bytes(), &Algorithm::ALL).is_err(), "{text:.40}");
    }
    let many: Vec<_> = (0..257).map(|n| json!({"kty": "x", "kid": n.to_string()})).collect();
    assert_eq!(parse(&json!(many)).unwrap_err(), KeySetError::TooMany);
}

#[test]
fn unusable_keys_are_left_out_with_a_remark() {
    let good = key("good");
    let rsa = || TestKey::new("other", Algorithm::Rs256).jwk();
    let ec = || TestKey::new("other", Algorithm::Es256).jwk();
    for other in [
        json!({"kty": "oct", "k": "AAAA", "kid": "other"}),
        json!({"kty": "unheard-of", "kid": "other"}),
        json!({"kid": "other"}),
        json!({"kty": 1}),
        with(rsa(), json!({"use": "enc"})),
        with(rsa(), json!({"use": 1})),
        with(rsa(), json!({"key_ops": ["encrypt"]})),
        with(rsa(), json!({"key_ops": "verify"})),
        with(rsa(), json!({"alg": "HS256"})),
        with(rsa(), json!({"alg": "none"})),
        with(rsa(), json!({"alg": "RSA-OAEP"})),
        with(rsa(), json!({"alg": "ES256"})),
        with(rsa(), json!({"d": "AAAA"})),
        with(rsa(), json!({"e": "AQ"})),
        with(rsa(), json!({"n": "AQAB"})),
        with(rsa(), json!({"n": "AQAB="})),
        with(rsa(), json!({"kid": "k".repeat(257)})),
        with(rsa(), json!({"kid": 1})),
        with(ec(), json!({"crv": "P-384"})),
        with(ec(), json!({"crv": "P-521"})),
        with(ec(), json!({"crv": "secp256k1"})),
        with(ec(), json!({"y": ec()["x"]})),
        with(ec(), json!({"kty": "RSA"})),
    ] {
        let set = parse(&json!([good.jwk(), other])).unwrap();
        assert_eq!((set.len(), set.remarks().len()), (1, 1), "{other}");
    }
}

#[test]
fn issuer_and_key_must_allow_the_algorithm() {
    let rsa = TestKey::new("rsa", Algorithm::Rs256);
    let set = parse(&json!([rsa.jwk()])).unwrap();
    assert!(set.find(Some("rsa"), Algorithm::Ps256).is_ok());
    for other in [Algorithm::Es256, Algorithm::EdDsa] {
        assert_eq!(set.find(Some("rsa"), other).unwrap_err(), NoKey::WrongAlgorithm);
    }
    let bound = parse(&json!([with(rsa.jwk(), json!({"alg": "RS256"}))])).unwrap();
    assert_eq!(bound.find(Some("rsa"), Algorithm::Ps256).unwrap_err(), NoKey::WrongAlgorithm);
    let text = json!({"keys": [rsa.jwk()]}).to_string();
    let only = KeySet::parse(text.as_bytes(), &[Algorithm::Rs256]).unwrap();
    assert_eq!(only.find(Some("rsa"), Algorithm::Rs512).unwrap_err(), NoKey::WrongAlgorithm);
    assert!(KeySet::parse(text.as_bytes(), &[Algorithm::Es256]).is_err());
}

#[test]
fn token_without_key_id_needs_exactly_one_matching_key() {
    let (a, b) = (key("a"), key("b"));
    let rsa = TestKey::new("rsa", Algorithm::Rs256);
    let one = parse(&json!([a.jwk(), rsa.jwk()])).unwrap();
    assert!(one.find(None, ED).is_ok());
    assert_eq!(one.find(None, Algorithm::Es256).unwrap_err(), NoKey::Unknown);
    let two = parse(&json!([a.jwk(), b.jwk()])).unwrap();
    assert_eq!(two.find(None, ED).unwrap_err(), NoKey::Ambiguous);
}
