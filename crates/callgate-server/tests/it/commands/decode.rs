//! `callgate decode`

use std::time::{SystemTime, UNIX_EPOCH};

use callgate_testkit::{CurveKey, Nkey, RequestBuilder, requests::jwt::sign_as_issuer};
use serde_json::json;

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
    has(&ran.stdout, &["\"authorization_response\"", "\"name\": \"bob\"", "bob.>", "good until"]);
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

#[test]
fn a_bearer_token_of_another_issuer_is_shown_and_said_to_be_unchecked() {
    let part = |value: serde_json::Value| {
        callgate_testkit::requests::jwt::base64url(value.to_string().as_bytes())
    };
    let header = part(json!({ "alg": "RS256", "typ": "JWT" }));
    let claims = part(json!({ "iss": "https://issuer.example", "sub": "bob", "exp": now() + 60 }));
    let ran = callgate(&["decode", &format!("{header}.{claims}.c2ln")]);
    assert_eq!(ran.code, 0, "{ran:?}");
    has(&ran.stdout, &["https://issuer.example", "not checked here", "RS256"]);
}
