//! `callgate decode`

use std::time::{SystemTime, UNIX_EPOCH};

use callgate_testkit::{
    CurveKey, Nkey, RequestBuilder,
    requests::jwt::{base64url, sign_as_issuer},
};
use serde_json::{Value, json};

use crate::support::{callgate, command, has, run, write_private};

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_secs()).unwrap()
}

fn request() -> RequestBuilder {
    RequestBuilder::new(&Nkey::account().public(), now()).password("bob", "canary-password")
}

#[test]
fn a_request_is_shown_without_its_secrets_and_its_checks_pass() {
    let token = request().token("canary-token").build().token;
    let ran = callgate(&["decode", &token]);
    assert_eq!(ran.code, 0, "{ran:?}");
    has(
        &ran.stdout,
        &[
            "\"authorization_request\"",
            "\"user\": \"bob\"",
            "ok      signature",
            "ok      audience",
        ],
    );
    assert!(!ran.text().contains("canary"), "{ran:?}");
    let shown = callgate(&["decode", "--show-secrets", &token]);
    has(&shown.stdout, &["canary-password", "canary-token"]);
}

/// 2.10 repeats a token in `client_info.user`.
#[test]
fn a_token_that_an_old_server_repeats_as_the_user_is_no_less_secret() {
    let request = request().token("canary-token").client("user", "canary-token");
    let ran = callgate(&["decode", &request.build().token]);
    assert!(!ran.text().contains("canary-token"), "{ran:?}");
}

#[test]
fn an_encrypted_request_is_opened_with_both_keys_from_stdin() {
    let folder = tempfile::tempdir().unwrap();
    let xkey = CurveKey::generate();
    write_private(&folder.path().join("xkey.xk"), &xkey.seed());
    let request = request().sealed_for(&xkey.public()).build();
    let server = request.xkey_header.clone().unwrap();
    let arguments = ["decode", "--xkey-seed", "@xkey.xk", "--server-xkey", &server];
    let ran = run(&mut command(folder.path(), &arguments), &request.payload);
    assert_eq!(ran.code, 0, "{ran:?}");
    has(&ran.stdout, &["\"user\": \"bob\"", "ok      xkey"]);
    let without = run(&mut command(folder.path(), &["decode"]), &request.payload);
    assert_eq!(without.code, 2, "{without:?}");
    has(&without.stderr, &["--xkey-seed", "--server-xkey"]);
}

#[test]
fn a_response_is_shown_with_the_user_jwt_in_it() {
    let (issuer, user) = (Nkey::account(), Nkey::user().public());
    let inner = json!({
        "sub": user, "aud": "APP", "name": "bob", "iat": now(), "exp": now() + 60,
        "nats": { "type": "user", "version": 2, "pub": { "allow": ["bob.>"] } },
    });
    let inner = sign_as_issuer(&inner, &issuer);
    let outer = json!({
        "sub": user, "aud": "NSERVER", "iat": now(),
        "nats": { "type": "authorization_response", "version": 2, "jwt": inner },
    });
    let ran = callgate(&["decode", &sign_as_issuer(&outer, &issuer)]);
    assert_eq!(ran.code, 0, "{ran:?}");
    has(&ran.stdout, &["\"authorization_response\"", "\"name\": \"bob\"", "bob.>", "valid until"]);
    assert!(!ran.stdout.contains(&inner), "{ran:?}");
    let alone = callgate(&["decode", &inner]);
    assert_eq!(alone.code, 0, "{alone:?}");
    has(&alone.stdout, &["\"type\": \"user\""]);
}

#[test]
fn what_does_not_check_is_exit_code_one() {
    let old = RequestBuilder::new(&Nkey::account().public(), now() - 500).build().token;
    let ran = callgate(&["decode", &old]);
    assert_eq!(ran.code, 1, "{ran:?}");
    has(&ran.stdout, &["FAILED  times", "expired"]);
    let forged = callgate(&["decode", &request().corrupt_signature().build().token]);
    assert_eq!(forged.code, 1, "{forged:?}");
    has(&forged.stdout, &["FAILED  signature"]);
}

#[test]
fn what_is_no_token_is_wrong_usage() {
    for input in ["", "garbage", "a.b.c", "e30.e30"] {
        let ran = run(&mut command(".".as_ref(), &["decode"]), input.as_bytes());
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{input}");
        assert!(ran.stderr.starts_with("error: "), "{ran:?}");
    }
}

/// A JWT of these parts.
fn bearer(header: &Value, claims: &Value, signature: &str) -> String {
    let part = |value: &Value| base64url(value.to_string().as_bytes());
    format!("{}.{}.{signature}", part(header), part(claims))
}

#[test]
fn a_bearer_token_of_another_issuer_is_shown_and_said_to_be_unchecked() {
    let claims = json!({ "iss": "https://issuer.example", "sub": "bob", "exp": now() + 60 });
    for algorithm in ["RS256", "HS256"] {
        let token = bearer(&json!({ "alg": algorithm, "typ": "JWT" }), &claims, "c2ln");
        let ran = callgate(&["decode", &token]);
        assert_eq!(ran.code, 0, "{ran:?}");
        has(&ran.stdout, &["https://issuer.example", "-       signature: not checked", algorithm]);
        assert!(!ran.stdout.contains("ok      signature"), "{ran:?}");
        let json = callgate(&["decode", "--json", &token]).json();
        assert_eq!(json["checks"][0]["result"], "unchecked");
    }
}

#[test]
fn a_signature_that_is_none_fails_and_so_does_one_that_no_nkey_makes() {
    let (claims, nkey) = (json!({ "iss": "i", "exp": now() + 60 }), Nkey::user().public());
    let cases = [
        (json!({ "alg": "none" }), claims.clone(), "", "missing: the token could"),
        (json!({ "alg": "NonE" }), claims.clone(), "c2ln", "missing: the token could"),
        (json!({ "alg": "RS256" }), claims.clone(), "", "missing: the token could"),
        (json!({ "typ": "JWT" }), claims, "c2ln", "has no `alg`"),
        (json!({ "alg": "HS256" }), json!({ "iss": nkey }), "c2ln", "the issuer is an nkey"),
    ];
    for (header, claims, signature, words) in cases {
        let ran = callgate(&["decode", &bearer(&header, &claims, signature)]);
        assert_eq!(ran.code, 1, "{ran:?}");
        has(&ran.stdout, &["FAILED  signature: ", words]);
    }
}

#[test]
fn times_that_are_no_whole_numbers_fail() {
    for (name, value) in [
        ("exp", json!(1.5e9)),
        ("exp", json!("tomorrow")),
        ("exp", json!(null)),
        ("nbf", json!(1.0)),
        ("nbf", json!(u64::MAX)),
    ] {
        let nkey = Nkey::user();
        let token = sign_as_issuer(&json!({ "sub": "x", name: value }), &nkey);
        let ran = callgate(&["decode", &token]);
        assert_eq!(ran.code, 1, "{ran:?}");
        has(
            &ran.stdout,
            &["FAILED  times: ", &format!("`{name}` is not a whole number of seconds")],
        );
    }
    let without = callgate(&["decode", &sign_as_issuer(&json!({ "sub": "x" }), &Nkey::user())]);
    assert_eq!(without.code, 0, "{without:?}");
    has(&without.stdout, &["ok      times: no expiry"]);
}

#[test]
fn json_is_one_document_with_the_checks_and_without_secrets() {
    let token = request().token("canary-token").corrupt_signature().build().token;
    let ran = callgate(&["decode", "--json", &token]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(!ran.text().contains("canary"), "{ran:?}");
    let json = ran.json();
    assert_eq!((&json["ok"], &json["user_jwt"]), (&json!(false), &json!(null)));
    assert_eq!(json["header"]["alg"], "ed25519-nkey");
    assert_eq!(json["claims"]["nats"]["connect_opts"]["user"], "bob");
    let of = |name: &str| {
        let checks = json["checks"].as_array().unwrap();
        checks.iter().find(|check| check["check"] == name).unwrap()["result"].clone()
    };
    assert_eq!(["signature", "times", "audience"].map(of), ["failed", "ok", "ok"]);
}

#[test]
fn the_user_jwt_in_a_response_is_part_of_the_json() {
    let issuer = Nkey::account();
    let response = |jwt: &str| {
        let nats = json!({ "type": "authorization_response", "version": 2, "jwt": jwt });
        sign_as_issuer(&json!({ "sub": "U", "aud": "NSERVER", "nats": nats }), &issuer)
    };
    let inner = sign_as_issuer(&json!({ "name": "bob", "exp": 1 }), &issuer);
    let ran = callgate(&["decode", "--json", &response(&inner)]);
    assert_eq!((ran.code, ran.json()["ok"].clone()), (1, json!(false)), "{ran:?}");
    assert_eq!(ran.json()["user_jwt"]["claims"]["name"], "bob");
    let broken = callgate(&["decode", &response("garbage")]);
    assert_eq!(broken.code, 1, "{broken:?}");
    has(&broken.stdout, &["\"authorization_response\"", "FAILED  user_jwt: not a JWT"]);
}

#[test]
fn a_dash_is_standard_input() {
    let token = request().build().token;
    let ran = run(&mut command(".".as_ref(), &["decode", "-"]), token.as_bytes());
    assert_eq!(ran.code, 0, "{ran:?}");
}
