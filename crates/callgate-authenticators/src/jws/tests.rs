use super::*;

fn encoded(json: &str) -> String {
    BASE64URL_NOPAD.encode(json.as_bytes())
}

fn header(json: &str) -> Result<Header, JwsError> {
    let token = format!("{}.e30.AAAA", encoded(json));
    Compact::split(&token).unwrap().header()
}

#[test]
fn token_has_three_non_empty_parts() {
    let dots = ".".repeat(MAX_TOKEN);
    for text in ["", ".", "..", "a.b", "a.b.", ".b.c", "a..c", "a.b.c.d", "a.b.c.", ".a.b.c", &dots]
    {
        assert_eq!(Compact::split(text).err(), Some(JwsError::Form), "{text:.20}");
    }
    assert!(Compact::split("a.b.c").is_ok());
    let million = ".".repeat(1_000_000);
    assert_eq!(Compact::split(&million).err(), Some(JwsError::TooLong));
    let json = r#"{"payload":"e30","signatures":[{"protected":"e30","signature":"AA"}]}"#;
    assert!(Compact::split(json).is_err());
}

#[test]
fn parts_have_a_single_spelling() {
    // `e30` is `{}`; `e31` has trailing bits, the others padding, white space and base64.
    for claims in ["e31", "e30=", "e30%3D", "e3 0", "e30\n", "e30+", "e"] {
        let token = format!("e30.{claims}.AAAA");
        assert_eq!(
            Compact::split(&token).unwrap().claims().err(),
            Some(JwsError::Encoding("claims")),
            "{claims:?}"
        );
    }
    assert!(Compact::split("e30.e30.AAA=").unwrap().signature().is_err());
    assert!(Compact::split("e30.e30.AA_").unwrap().signature().is_err());
}

#[test]
fn unsupported_and_mistyped_headers_are_refused() {
    for json in [
        r#"{"alg":"RS256","crit":["exp"]}"#,
        r#"{"alg":"RS256","crit":[]}"#,
        r#"{"alg":"RS256","b64":false}"#,
        r#"{"alg":"RS256","zip":"DEF"}"#,
        r#"{"alg":"dir","enc":"A128GCM"}"#,
        r#"{"alg":"RS256","alg":"none"}"#,
        r#"{"alg":"RS256","a\u006cg":"none"}"#,
        r#"{"typ":"JWT"}"#,
        r#"{"alg":null}"#,
        r#"{"alg":["RS256"]}"#,
        r#"{"alg":"RS256","kid":1}"#,
        r#"{"alg":"RS256","typ":["JWT"]}"#,
        r#"["RS256"]"#,
        r#""RS256""#,
        r#"{"alg":"RS256"}{}"#,
        r#"{"alg":"RS256","x":[[[[[[[[[[1]]]]]]]]]]}"#,
        "",
        "\u{feff}{\"alg\":\"RS256\"}",
    ] {
        let token = format!("{}.e30.AAAA", encoded(json));
        let refused = Compact::split(&token).is_err() || header(json).is_err();
        assert!(refused, "{json}");
    }
    let long_kid = format!(r#"{{"alg":"RS256","kid":"{}"}}"#, "k".repeat(MAX_KID + 1));
    assert!(header(&long_kid).is_err());
    let long = format!(r#"{{"alg":"RS256","x":"{}"}}"#, "x".repeat(MAX_HEADER));
    assert!(header(&long).is_err());
}

#[test]
fn keys_and_urls_in_the_header_are_ignored() {
    let json = r#"{"alg":"ES256","kid":"../../etc","jwk":{"kty":"EC"},"jku":"http://169.254.169.254/",
        "x5u":"file:///etc/passwd","x5c":["AAAA"]}"#;
    let expected =
        Header { algorithm: "ES256".into(), key_id: Some("../../etc".into()), kind: None };
    assert_eq!(header(json).unwrap(), expected);
}

#[test]
fn claims_are_one_strict_object() {
    let nested = format!("{{\"a\":{}1{}}}", "[".repeat(16), "]".repeat(16));
    let deep = format!("{{\"a\":{}}}", "[".repeat(10_000));
    for json in [r#"{"sub":"a","sub":"b"}"#, "[]", "1", "{}{}", "{", &nested, &deep] {
        let token = format!("e30.{}.AAAA", encoded(json));
        let claims = Compact::split(&token).and_then(|token| token.claims());
        assert!(claims.is_err(), "{json:.40}");
    }
}

#[test]
fn media_types_are_compared_by_their_rules() {
    let of = |kind: Option<&str>| Header {
        algorithm: "RS256".into(),
        key_id: None,
        kind: kind.map(Into::into),
    };
    let default = ["JWT", "at+jwt"];
    for kind in ["JWT", "jwt", "application/jwt", "at+JWT", "Application/AT+JWT"] {
        assert!(of(Some(kind)).is_of_kind(&default), "{kind}");
    }
    for kind in ["logout+jwt", "", "application/", "application/a/jwt", "text/jwt", "JWT "] {
        assert!(!of(Some(kind)).is_of_kind(&default), "{kind}");
    }
    assert!(of(None).is_of_kind(&default));
    assert!(!of(None).is_of_kind(&["at+jwt"]));
    assert!(of(Some("at+jwt")).is_of_kind(&["application/at+jwt"]));
}

#[test]
fn algorithm_names_are_exact() {
    for name in ["none", "None", "NONE", "", "HS256", "HS512", "rs256", "RS256 ", "ES512", "RSA1_5"]
    {
        assert_eq!(name.parse::<Algorithm>(), Err(UnknownAlgorithm), "{name}");
    }
    for algorithm in Algorithm::ALL {
        assert_eq!(algorithm.as_str().parse(), Ok(algorithm));
    }
}

#[test]
fn unsafe_keys_are_refused() {
    let modulus = |bytes: usize| vec![0xff; bytes];
    let rsa = |n: &[u8], e: &[u8]| Verifier::rsa(Algorithm::Rs256, n, e).map(drop).unwrap_err();
    let mut even = modulus(256);
    even[255] = 0xfe;
    assert_eq!(rsa(&modulus(128), &[1, 0, 1]), BadKey::ModulusSize);
    assert_eq!(rsa(&modulus(1025), &[1, 0, 1]), BadKey::ModulusSize);
    assert_eq!(rsa(&[], &[1, 0, 1]), BadKey::ModulusSize);
    assert_eq!(rsa(&even, &[1, 0, 1]), BadKey::EvenModulus);
    for e in [&[][..], &[0], &[1], &[0, 0, 1], &[2], &[1, 0, 0], &[1, 0, 0, 0, 1]] {
        assert_eq!(rsa(&modulus(256), e), BadKey::Exponent, "{e:?}");
    }
    assert_eq!(Verifier::rsa(Algorithm::Es256, &modulus(256), &[3]).err(), Some(BadKey::Mismatch));
    for (x, y) in [(32, 32), (31, 32), (0, 0), (33, 31)] {
        let point = Verifier::ec(Algorithm::Es256, &modulus(x), &modulus(y));
        assert_eq!(point.err(), Some(BadKey::Point), "{x} {y}");
    }
    assert_eq!(Verifier::ec(Algorithm::EdDsa, &[1; 32], &[1; 32]).err(), Some(BadKey::Mismatch));
    // The neutral element, another point of small order, and a short coordinate.
    let mut neutral = [0; 32];
    neutral[0] = 1;
    for x in [&neutral[..], &[0; 32], &[1; 31]] {
        assert_eq!(Verifier::ed25519(x).err(), Some(BadKey::Point), "{x:?}");
    }
}
