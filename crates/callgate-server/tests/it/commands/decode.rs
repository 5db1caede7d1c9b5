//! `callgate decode`

use std::{
    fs,
    time::{SystemTime, UNIX_EPOCH},
};

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
fn request_is_decoded_without_secrets() {
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

/// nats-server 2.10 copies a token into `client_info.user`.
#[test]
fn token_copied_into_user_name_is_redacted() {
    let request = request().token("canary-token").client("user", "canary-token");
    let ran = callgate(&["decode", &request.build().token]);
    assert!(!ran.text().contains("canary-token"), "{ran:?}");
}

/// Wherever it is, so that a new server version cannot reveal it in another field.
#[test]
fn token_or_seed_sent_as_user_name_is_redacted() {
    let bearer = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJib2IifQ.canary";
    let seed = Nkey::user().seed();
    for secret in [bearer, &format!("Bearer {bearer}"), &seed] {
        let request = request().password(secret, "x").client("user", secret).client("name", secret);
        let token = request.build().token;
        let ran = callgate(&["decode", &token]);
        assert!(!ran.text().contains("canary") && !ran.text().contains(&seed), "{ran:?}");
        has(&callgate(&["decode", &token, "--show-secrets"]).stdout, &[secret]);
    }
}

/// C1 control characters, text direction, zero-width characters.
#[test]
fn hidden_characters_are_escaped_in_every_output() {
    let hidden = "a\u{9b}31m\u{202e}b\u{200b}c";
    let is_hidden = |c: char| matches!(c, '\u{9b}' | '\u{202e}' | '\u{200b}');
    let token = request().client("name", hidden).build().token;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("callgate.toml"), format!("\"{hidden}\" = 1\n")).unwrap();
    for arguments in [
        &["decode", &token][..],
        &["decode", &token, "--json"],
        &["decode", &format!("{token}.{hidden}")],
        &["decode", &token, "--server-xkey", hidden],
        &["check", "--config", "callgate.toml"],
        &["check", "--config", hidden],
        &["explain", "--config", hidden, "--json"],
        &[hidden],
    ] {
        let ran = run(&mut command(folder.path(), arguments), b"");
        assert!(
            !ran.text().is_empty() && !ran.text().contains(is_hidden),
            "{arguments:?}: {ran:?}"
        );
    }
    let decoded = callgate(&["decode", &token, "--json"]).stdout;
    let decoded: Value = serde_json::from_str(&decoded).unwrap();
    assert_eq!(decoded["claims"]["nats"]["client_info"]["name"], hidden);
}

#[test]
fn encrypted_request_from_stdin_is_decrypted() {
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
fn response_is_decoded_with_its_user_jwt() {
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
fn failed_checks_exit_with_one() {
    let old = RequestBuilder::new(&Nkey::account().public(), now() - 500).build().token;
    let ran = callgate(&["decode", &old]);
    assert_eq!(ran.code, 1, "{ran:?}");
    has(&ran.stdout, &["FAILED  times", "expired"]);
    let forged = callgate(&["decode", &request().corrupt_signature().build().token]);
    assert_eq!(forged.code, 1, "{forged:?}");
    has(&forged.stdout, &["FAILED  signature"]);
}

#[test]
fn input_that_is_not_a_token_is_wrong_usage() {
    for input in ["", "garbage", "a.b.c", "e30.e30"] {
        let ran = run(&mut command(".".as_ref(), &["decode"]), input.as_bytes());
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{input}");
        assert!(ran.stderr.starts_with("error: "), "{ran:?}");
    }
}

/// A JWT with these parts.
fn bearer(header: &Value, claims: &Value, signature: &str) -> String {
    let part = |value: &Value| base64url(value.to_string().as_bytes());
    format!("{}.{}.{signature}", part(header), part(claims))
}

#[test]
fn bearer_token_signature_is_reported_as_unchecked() {
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
fn missing_and_non_nkey_signatures_fail() {
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
fn times_that_are_not_whole_numbers_fail() {
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
fn json_output_has_checks_and_no_secrets() {
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
fn json_output_includes_the_user_jwt() {
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
fn dash_reads_standard_input() {
    let token = request().build().token;
    let decode = |input: &str| run(&mut command(".".as_ref(), &["decode", "-"]), input.as_bytes());
    for input in [token.clone(), format!("\u{feff}{token}\r\n")] {
        let ran = decode(&input);
        assert_eq!(ran.code, 0, "{ran:?}");
    }
    let header = decode(&format!("Bearer {token}\n"));
    assert_eq!(header.code, 2, "{header:?}");
    has(&header.stderr, &["begins with the prefix `Bearer`"]);
}

#[test]
fn token_is_read_from_a_file_or_variable() {
    let folder = tempfile::tempdir().unwrap();
    let token = request().build().token;
    fs::write(folder.path().join("token"), format!("{token}\n")).unwrap();
    let run = |token: &str, value: &str| {
        run(command(folder.path(), &["decode", token]).env("TOKEN", value), b"")
    };
    let literal = run(&token, "");
    has(&literal.stderr, &["warning: the token is visible to other users", "@FILE or env:NAME"]);
    for source in ["@token", "env:TOKEN"] {
        let ran = run(source, &token);
        assert_eq!((ran.code, ran.stderr.as_str()), (literal.code, ""), "{ran:?}");
        assert_eq!(ran.stdout, literal.stdout);
    }
    for (source, error) in
        [("@absent", "cannot read `absent`"), ("env:CALLGATE_NOT_SET", "is not set")]
    {
        let ran = run(source, "");
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{ran:?}");
        has(&ran.stderr, &[error]);
    }
}
