//! A request must contain exactly one credential; several kinds are ambiguous and refused.

use std::sync::{Arc, Mutex};

use callgate::{record::Reason, request::Credential};
use callgate_testkit::{Nkey, RequestBuilder, requests::jwt};
use serde_json::json;

use crate::support::{Bench, app_user};

/// Has the form of a JWT; its signature is not checked here.
const BEARER: &str = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl";

/// A gate, and the last credential that its function received.
fn capturing_gate() -> (Bench, Arc<Mutex<Option<Credential>>>) {
    let captured = Arc::<Mutex<Option<Credential>>>::default();
    let capture = Arc::clone(&captured);
    let bench = Bench::deciding(move |request| {
        *capture.lock().unwrap() = Some(request.credential().clone());
        std::future::ready(Ok(app_user()))
    });
    (bench, captured)
}

fn text(credential: &Credential) -> String {
    match credential {
        Credential::Password { user, password } => format!("password {user} {}", password.expose()),
        Credential::Token(token) => format!("token {}", token.expose()),
        Credential::Nkey(key) => format!("nkey {key}"),
        Credential::Certificate => "certificate".to_owned(),
        other => panic!("{other:?}"),
    }
}

fn nats_user() -> String {
    jwt::sign_as_issuer(
        &json!({ "sub": "U", "nats": { "type": "user", "version": 2 } }),
        &Nkey::account(),
    )
}

/// Nothing that decides, records or explains sees the name.
#[tokio::test]
async fn token_or_seed_as_user_name_is_refused_and_redacted() {
    let (bench, captured) = capturing_gate();
    let seed = Nkey::user().seed();
    let bearer = format!("Bearer {BEARER}");
    for (name, said) in [
        (BEARER, "a token was sent as the user name"),
        (&bearer, "a token was sent as the user name"),
        (&seed, "an nkey seed was sent as the user name"),
    ] {
        for (request, reason) in [
            (bench.request().password(name, "secret"), Reason::UnknownUser),
            (bench.request().connect("user", name), Reason::NoCredential),
        ] {
            let decision = bench.refused(request, reason).await;
            assert!(decision.detail.starts_with(said), "{}", decision.detail);
            assert!(!format!("{decision:?}").contains(name), "{decision:?}");
        }
        assert!(captured.lock().unwrap().is_none());
        // Next to another credential the name does not count, and it is not recorded.
        let request = bench.request().connect("user", name).token("opaque");
        bench.admitted(request).await;
        assert_eq!(text(&captured.lock().unwrap().take().unwrap()), "token opaque");
    }
}

#[tokio::test]
async fn every_credential_kind_is_found_where_clients_put_it() {
    let (bench, captured) = capturing_gate();
    let request = || bench.request();
    let key = Nkey::user();
    let bearer = format!("token {BEARER}");
    let cases = [
        (request().password("alice", "secret"), "password alice secret"),
        (request().token("opaque"), "token opaque"),
        (request().token(BEARER), &bearer),
        (request().jwt(BEARER), &bearer),
        // MQTT clients can only send a bearer token as the password.
        (request().password("ignored", BEARER), &bearer),
        (request().connect("pass", BEARER), &bearer),
        (request().nkey(&key), &format!("nkey {}", key.public())),
        (request().verified_chain(&["leaf"]), "certificate"),
        (request().password("alice", "secret").verified_chain(&["leaf"]), "password alice secret"),
        (request().token("opaque").verified_chain(&["leaf"]), "token opaque"),
        (request().nkey(&key).verified_chain(&["leaf"]), &format!("nkey {}", key.public())),
    ];
    for (request, expected) in cases {
        bench.admitted(request).await;
        let credential = captured.lock().unwrap().take().expect("a credential");
        assert_eq!(text(&credential), expected);
    }
}

/// nats-server copies an MQTT password into `auth_token`, and 2.10 into `jwt` too.
#[tokio::test]
async fn server_copies_of_a_password_are_not_ambiguous() {
    let (bench, captured) = capturing_gate();
    for (user, password) in [("alice", "secret"), ("ignored", BEARER)] {
        let copied = bench
            .request()
            .password(user, password)
            .connect("auth_token", password)
            .connect("jwt", password)
            .client_type("mqtt");
        bench.admitted(copied).await;
        let credential = captured.lock().unwrap().take().expect("a credential");
        assert!(text(&credential).ends_with(password));
    }
}

#[tokio::test]
async fn multiple_credentials_are_ambiguous() {
    let bench = Bench::new(|builder| builder);
    let key = Nkey::user();
    let both: [RequestBuilder; 7] = [
        bench.alice().token("opaque"),
        bench.alice().nkey(&key),
        bench.alice().jwt(BEARER),
        bench.request().token("opaque").nkey(&key),
        bench.request().token("opaque").jwt(BEARER),
        bench.request().password("alice", BEARER).token("opaque"),
        bench.alice().token("opaque").nkey(&key).jwt(BEARER).verified_chain(&["leaf"]),
    ];
    for request in both {
        let decision = bench.refused(request, Reason::AmbiguousCredential).await;
        assert!(!decision.detail.contains("secret") && !decision.detail.contains("opaque"));
    }
}

#[tokio::test]
async fn fields_that_prove_nothing_are_not_credentials() {
    let bench = Bench::new(|builder| builder);
    let nothing = [
        bench.request(),
        bench.request().connect("pass", "secret"),
        bench.request().password("", "secret"),
        bench.request().token(""),
        bench.request().connect("nkey", "").connect("sig", "AAAA"),
        bench.request().token(&nats_user()),
        bench.request().jwt(&nats_user()),
        bench.request().password("alice", &nats_user()),
        bench.request().client_tls(json!({ "version": "1.3", "certs": ["unverified"] })),
    ];
    for request in nothing {
        bench.refused(request, Reason::NoCredential).await;
    }
    // A user name is not nothing: nats-server does not tell an empty password from none.
    for request in [bench.request().connect("user", "alice"), bench.request().password("alice", "")]
    {
        bench.refused(request, Reason::BadPassword).await;
    }
}

#[tokio::test]
async fn nkey_requires_a_signature_of_the_server_nonce() {
    let bench = Bench::new(|builder| builder);
    let key = Nkey::user();
    let signed = |message: &str| jwt::base64url(&key.sign(message.as_bytes()));
    let with_key = |key: &Nkey| bench.request().connect("nkey", key.public());
    let nonce = "aNonceOfTheServ";
    let bad = [
        ("no nonce", with_key(&key).connect("sig", signed(""))),
        ("an empty nonce", with_key(&key).nonce("").connect("sig", signed(""))),
        ("a short nonce", with_key(&key).nonce("0123456789").connect("sig", signed("0123456789"))),
        ("no signature", with_key(&key).nonce(nonce)),
        ("an empty signature", with_key(&key).nonce(nonce).connect("sig", "")),
        ("a short signature", with_key(&key).nonce(nonce).connect("sig", "AAAA")),
        ("a long signature", with_key(&key).nonce(nonce).connect("sig", "A".repeat(10_000))),
        ("not base64", with_key(&key).nonce(nonce).connect("sig", "!".repeat(86))),
        (
            "a signature of another nonce",
            with_key(&key).nonce(nonce).connect("sig", signed("anotherNonceOfIt")),
        ),
        (
            "a signature by another key",
            with_key(&Nkey::user()).nonce(nonce).connect("sig", signed(nonce)),
        ),
        ("a key of another kind", bench.request().nonce(nonce).nkey(&Nkey::account())),
        ("not a key", bench.request().nonce(nonce).nkey(&key).connect("nkey", "alice")),
        ("a seed", bench.request().nonce(nonce).nkey(&key).connect("nkey", key.seed())),
    ];
    for (what, request) in bad {
        let decision = bench.refused(request, Reason::BadSignature).await;
        assert!(!decision.detail.contains(&key.seed()), "{what}");
    }
}

#[tokio::test]
async fn invalid_nkey_never_falls_back_to_a_password() {
    let bench = Bench::new(|builder| builder);
    let request = bench.alice().nonce("aNonceOfTheServ").connect("nkey", Nkey::user().public());
    bench.refused(request, Reason::BadSignature).await;
}

#[tokio::test]
async fn nkey_signature_accepts_both_base64_alphabets() {
    let bench = Bench::new(|builder| builder);
    let nonce = "aNonceOfTheServ";
    for _ in 0..8 {
        let key = Nkey::user();
        let url = jwt::base64url(&key.sign(nonce.as_bytes()));
        let standard = url.replace('-', "+").replace('_', "/");
        for sig in [url.clone(), format!("{url}=="), standard.clone(), format!("{standard}==")] {
            bench.admitted(bench.request().nonce(nonce).nkey(&key).connect("sig", sig)).await;
        }
    }
}

#[tokio::test]
async fn oversized_credentials_are_refused() {
    let bench = Bench::new(|builder| builder);
    let cases = [
        (bench.request().password("alice", &"p".repeat(1_025)), Reason::BadPassword),
        (bench.request().password(&"u".repeat(513), "secret"), Reason::UnknownUser),
        (bench.request().token(&"t".repeat(16_385)), Reason::BadToken),
        (bench.request().jwt(&"t".repeat(16_385)), Reason::BadToken),
    ];
    for (request, reason) in cases {
        bench.refused(request, reason).await;
    }
}
