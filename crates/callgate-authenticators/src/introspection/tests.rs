//! Attacks on introspected tokens.

use callgate::{record::Reason, request::Certificate};
use callgate_config::{Document, Format, Report, Sources, Type};
use serde_json::json;

#[cfg(feature = "node")]
mod provider;

use super::*;
use crate::{
    kind::SharedResources,
    test_server::{Reply, TestServer},
};

const AUDIENCE: &str = "audience = \"nats\"";

fn build(toml: &str) -> Result<Arc<dyn Authenticator>, Vec<String>> {
    build_within(Duration::from_millis(600), toml)
}

fn build_within(timeout: Duration, toml: &str) -> Result<Arc<dyn Authenticator>, Vec<String>> {
    let document = Document::parse(toml.as_bytes(), Format::Toml).unwrap();
    let (report, sources) = (Report::new(), Sources::new("."));
    let mut context =
        BuildContext::new("opaque", sources.clone(), Arc::new(SharedResources::new(1)));
    context.timeout = timeout;
    let table = Table::root(&document, "introspection", &report, &sources)
        .with_keys(Type::Table(config::KEYS));
    let built = IntrospectionKind.build(&context, table);
    built.ok_or_else(|| report.faults().iter().map(ToString::to_string).collect())
}

fn at(server: &TestServer, more: &str) -> Arc<dyn Authenticator> {
    let url = server.url("/introspect");
    let login = "client_id = \"call gate\"\nclient_secret = \"canary:secret\"";
    build(&format!("url = \"{url}\"\n{login}\n{more}")).unwrap()
}

fn token(text: &str) -> AuthRequest {
    AuthRequest::for_tests(Credential::Token(text.into()))
}

fn in_seconds(seconds: i64) -> i64 {
    UnixTime::now().seconds() + seconds
}

fn active(changes: Value) -> String {
    let mut claims =
        json!({ "active": true, "sub": "alice", "aud": "nats", "exp": in_seconds(600) });
    let members = claims.as_object_mut().unwrap();
    for (name, value) in changes.as_object().unwrap() {
        match value.is_null() {
            true => drop(members.remove(name)),
            false => drop(members.insert(name.clone(), value.clone())),
        }
    }
    claims.to_string()
}

async fn answer(server: &TestServer, body: &str) -> Result<Identity, Decline> {
    server.on("/introspect", Reply::json(body));
    at(server, AUDIENCE).authenticate(&token("opaque")).await
}

fn reason(answer: Result<Identity, Decline>) -> Option<Reason> {
    match answer {
        Ok(_) => Some(Reason::Admitted),
        Err(Decline::Rejected(rejection)) => Some(rejection.reason),
        Err(Decline::Unavailable(_)) => Some(Reason::BackendUnavailable),
        Err(Decline::NotMine) => None,
    }
}

#[tokio::test]
async fn introspection_active_must_be_the_boolean_true() {
    let server = TestServer::start().await;
    for body in [
        "",
        "[]",
        "null",
        "{}",
        "<html>",
        r#"{"active":"true"}"#,
        r#"{"active":1}"#,
        r#"{"active":[true]}"#,
        r#"{"active":null}"#,
        r#"{"active":false,"active":true}"#,
        r#"{"active":true} x"#,
    ] {
        assert_eq!(reason(answer(&server, body).await), Some(Reason::BackendUnavailable), "{body}");
    }
    for (changes, expected) in [
        (json!({}), Reason::Admitted),
        (json!({ "active": false }), Reason::BadToken),
        (json!({ "aud": ["other", "nats"], "token_type": "bearer" }), Reason::Admitted),
        (json!({ "aud": null }), Reason::BadToken),
        (json!({ "aud": "other" }), Reason::WrongAudience),
        (json!({ "aud": 7 }), Reason::BadToken),
        (json!({ "exp": in_seconds(-1) }), Reason::TokenExpired),
        (json!({ "exp": in_seconds(600).to_string() }), Reason::BadToken),
        (json!({ "exp": null }), Reason::BadToken),
        (json!({ "nbf": in_seconds(60) }), Reason::BadToken),
        (json!({ "token_type": "DPoP" }), Reason::BadToken),
        (json!({ "token_type": 1 }), Reason::BadToken),
        (json!({ "sub": null, "client_id": "service" }), Reason::BadToken),
        (json!({ "sub": "" }), Reason::BadToken),
        (json!({ "cnf": { "jkt": "x" } }), Reason::BadToken),
    ] {
        assert_eq!(
            reason(answer(&server, &active(changes.clone())).await),
            Some(expected),
            "{changes}"
        );
    }
    let Err(Decline::Rejected(rejection)) =
        answer(&server, &active(json!({ "sub": null, "client_id": "service" }))).await
    else {
        panic!("admitted")
    };
    assert!(rejection.detail.contains("client_id"), "{}", rejection.detail);
    server.on("/introspect", Reply::json(&active(json!({}))));
    let scoped = at(&server, &format!("{AUDIENCE}\nscopes = [\"events\"]"));
    assert_eq!(reason(scoped.authenticate(&token("t")).await), Some(Reason::BadToken));
    server.on("/introspect", Reply::json(&active(json!({ "scope": "events other" }))));
    assert_eq!(reason(scoped.authenticate(&token("u")).await), Some(Reason::Admitted));
}

#[tokio::test]
async fn introspection_revoked_token_ends_within_remember() {
    let server = TestServer::start().await;
    server.on("/introspect", Reply::json(&active(json!({}))));
    let more = format!("{AUDIENCE}\nremember = \"300ms\"\nremember_rejected = \"0s\"");
    let authenticator = at(&server, &more);
    let ask = async || reason(authenticator.authenticate(&token("opaque")).await);
    assert_eq!(ask().await, Some(Reason::Admitted));
    server.on("/introspect", Reply::json(r#"{"active":false}"#));
    let revoked = std::time::Instant::now();
    while ask().await == Some(Reason::Admitted) {
        assert!(revoked.elapsed() < Duration::from_secs(10), "remembered for too long");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(ask().await, Some(Reason::BadToken));
    // A remembered token is judged again: it never outlives its `exp`.
    server.on("/introspect", Reply::json(&active(json!({ "exp": in_seconds(5) }))));
    let authenticator = at(&server, AUDIENCE);
    assert_eq!(reason(authenticator.authenticate(&token("short")).await), Some(Reason::Admitted));
    let asked = server.request_count();
    let later = UnixTime::from_seconds(in_seconds(6));
    let answer = authenticator.authenticate(&token("short").received_at(later)).await;
    assert_eq!(reason(answer), Some(Reason::TokenExpired));
    assert_eq!(server.request_count(), asked);
}

#[tokio::test]
async fn refused_own_credentials_are_unavailable_not_bad_token() {
    let server = TestServer::start().await;
    for status in ["401 Unauthorized", "403 Forbidden", "400 Bad Request", "500 Oops", "204 None"] {
        server.on("/introspect", Reply::with_head(status, "", r#"{"active":false}"#));
        let answer = at(&server, AUDIENCE).authenticate(&token("opaque")).await;
        assert_eq!(reason(answer), Some(Reason::BackendUnavailable), "{status}");
    }
}

#[tokio::test]
async fn introspection_flood_of_invented_tokens_is_bounded() {
    let server = TestServer::start().await;
    server.on("/introspect", Reply::json(&active(json!({}))));
    let authenticator = at(&server, &format!("{AUDIENCE}\nconnections = 2\nremember = \"1m\""));
    let ask = async |text: &str| {
        let far_off = Instant::now() + Duration::from_secs(60);
        reason(authenticator.authenticate(&token(text).due_at(far_off)).await)
    };
    assert_eq!(ask("good").await, Some(Reason::Admitted));
    server.on("/introspect", Reply::json(r#"{"active":false}"#));
    for number in 0..200 {
        assert_eq!(ask(&format!("made-up-{number}")).await, Some(Reason::BadToken));
    }
    let asked = server.request_count();
    // The same made-up token is asked about once; the good one is still remembered.
    for _ in 0..50 {
        assert_eq!(ask("made-up-199").await, Some(Reason::BadToken));
        assert_eq!(ask("good").await, Some(Reason::Admitted));
    }
    assert_eq!(server.request_count(), asked);
    let rejected = AnswerCache::<[u8; 32], ()>::new(MAX_REMEMBERED);
    let end = Instant::now() + Duration::from_secs(5);
    for number in 0..3 * MAX_REMEMBERED {
        rejected.insert(digest(&[&number.to_le_bytes()]), (), end);
    }
    let kept = (0..3 * MAX_REMEMBERED)
        .filter(|number| rejected.get(&digest(&[&number.to_le_bytes()])).is_some());
    assert!(kept.count() <= MAX_REMEMBERED + MAX_REMEMBERED / 4);
}

/// A certificate whose content does not matter: only its bytes are compared.
fn certificate(der: &[u8]) -> Certificate {
    let text = data_encoding::BASE64.encode(der);
    let pem = format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n");
    Certificate {
        verified_chains: vec![vec![pem]],
        tls_version: "1.3".to_owned(),
        cipher: String::new(),
    }
}

#[tokio::test]
async fn introspection_bound_token_without_its_certificate() {
    use sha2::{Digest as _, Sha256};
    let server = TestServer::start().await;
    let thumbprint = BASE64URL_NOPAD.encode(&Sha256::digest(b"own"));
    server.on("/introspect", Reply::json(&active(json!({ "cnf": { "x5t#S256": thumbprint } }))));
    let authenticator = at(&server, AUDIENCE);
    let own = token("bound").with_certificate(certificate(b"own"));
    let other = token("bound").with_certificate(certificate(b"other"));
    // The second round is answered from memory, and judged all the same.
    for _ in 0..2 {
        assert_eq!(reason(authenticator.authenticate(&own).await), Some(Reason::Admitted));
        assert_eq!(reason(authenticator.authenticate(&other).await), Some(Reason::BadToken));
        assert_eq!(
            reason(authenticator.authenticate(&token("bound")).await),
            Some(Reason::BadToken)
        );
    }
    assert_eq!(server.request_count(), 1);
}

#[tokio::test]
async fn tokens_of_others_are_not_mine_and_never_asked_about() {
    let server = TestServer::start().await;
    server.on("/introspect", Reply::json(&active(json!({}))));
    let jwt = "eyJhbGciOiJub25lIn0.eyJpc3MiOiJhIn0.x";
    let password =
        |user: &str| Credential::Password { user: user.to_owned(), password: "pre_1".into() };
    let authenticator =
        at(&server, &format!("{AUDIENCE}\nprefix = \"pre_\"\npassword_user = \"token\""));
    for credential in [
        Credential::Token("other".into()),
        Credential::Token(jwt.into()),
        password("alice"),
        Credential::Certificate,
        Credential::Anonymous,
    ] {
        let answer = authenticator.authenticate(&AuthRequest::for_tests(credential)).await;
        assert_eq!(reason(answer), None);
    }
    assert_eq!(server.request_count(), 0);
    for credential in [Credential::Token("pre_2".into()), password("token")] {
        let answer = authenticator.authenticate(&AuthRequest::for_tests(credential)).await;
        assert_eq!(reason(answer), Some(Reason::Admitted));
    }
    let head = server.last_request().to_ascii_lowercase();
    assert!(head.contains("content-type: application/x-www-form-urlencoded"), "{head}");
    // Both parts are form-encoded before base64 (RFC 6749 section 2.3.1).
    let basic = data_encoding::BASE64.encode(b"call+gate:canary%3Asecret").to_ascii_lowercase();
    assert!(head.contains(&format!("authorization: basic {basic}")), "{head}");
    assert_eq!(server.last_body(), "token=pre_1&token_type_hint=access_token");
    assert!(!format!("{authenticator:?}").contains("canary"));
}

#[tokio::test]
async fn endpoint_is_discovered_only_for_the_own_issuer() {
    let server = TestServer::start().await;
    server.on("/introspect", Reply::json(&active(json!({}))));
    let issuer = server.url("/realm");
    let discover = async |document: Value, more: &str| {
        server.on("/realm/.well-known/openid-configuration", Reply::json(&document.to_string()));
        let login = "client_id = \"a\"\nclient_secret = \"b\"\nauth = \"post\"";
        let built = build(&format!("issuer = \"{issuer}\"\n{login}\n{AUDIENCE}\n{more}")).unwrap();
        reason(built.authenticate(&token("t")).await)
    };
    let endpoint = server.url("/introspect");
    let good = json!({ "issuer": issuer, "introspection_endpoint": endpoint });
    assert_eq!(discover(good, "").await, Some(Reason::Admitted));
    assert!(server.last_body().ends_with("&client_id=a&client_secret=b"));
    for document in [
        json!({ "issuer": "https://other", "introspection_endpoint": endpoint }),
        json!({ "issuer": issuer, "introspection_endpoint": "http://127.0.0.1:1/" }),
        json!({ "issuer": issuer, "introspection_endpoint": "https://u:p@host/" }),
        json!({ "issuer": issuer }),
        json!([]),
    ] {
        let answer = discover(document.clone(), "").await;
        assert_eq!(answer, Some(Reason::BackendUnavailable), "{document}");
    }
    let elsewhere = json!({ "issuer": issuer, "introspection_endpoint": endpoint.replace("127.0.0.1", "localhost") });
    assert_eq!(discover(elsewhere.clone(), "").await, Some(Reason::BackendUnavailable));
    assert_eq!(discover(elsewhere, "hosts = [\"localhost\"]").await, Some(Reason::Admitted));
}

#[test]
fn errors_name_the_key_and_the_remedy() {
    let login = "client_id = \"a\"\nclient_secret = \"canary\"";
    for (toml, expected) in [
        (format!("{login}\n{AUDIENCE}"), "has neither `issuer` nor `url`"),
        (
            format!("issuer = \"https://a\"\nurl = \"https://a\"\n{login}\n{AUDIENCE}"),
            "keep one of the two",
        ),
        (format!("url = \"http://a/\"\n{login}\n{AUDIENCE}"), "set `insecure_http = true`"),
        (format!("url = \"https://a/\"\n{AUDIENCE}"), "are required, unless"),
        (
            format!("url = \"https://a/\"\n{login}\nbearer = \"x\"\n{AUDIENCE}"),
            "cannot be combined",
        ),
        (format!("url = \"https://a/\"\n{login}"), "`audience` is missing"),
        (
            format!("url = \"https://a/\"\n{login}\n{AUDIENCE}\nany_audience = true"),
            "keep one of the two",
        ),
        (
            format!("url = \"https://a/\"\n{login}\n{AUDIENCE}\nauth = \"digest\""),
            "`digest` is not one of \"basic\", \"post\"",
        ),
        (
            format!("url = \"https://a/\"\n{login}\n{AUDIENCE}\nfall_through = true"),
            "nothing to fall through to",
        ),
    ] {
        let faults = build(&toml).unwrap_err();
        assert!(faults.iter().any(|fault| fault.contains(expected)), "{toml}: {faults:?}");
        assert!(!faults.iter().any(|fault| fault.contains("canary")), "{faults:?}");
    }
}
