//! The simulated server sends well-formed requests and checks answers strictly.

use callgate_testkit::requests::jwt;
use callgate_testkit::{CurveKey, Nkey, RequestBuilder, Response, SignedRequest};
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};

const NOW: i64 = 1_700_000_000;

fn answer(request: &SignedRequest, issuer: &Nkey, change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let user = json!({ "sub": request.user_nkey(), "aud": "APP", "iat": NOW,
                       "nats": { "type": "user", "version": 2 } });
    let mut claims = json!({
        "sub": request.user_nkey(),
        "aud": request.server_id(),
        "nats": { "type": "authorization_response", "version": 2,
                  "jwt": jwt::sign_as_issuer(&user, issuer) },
    });
    change(&mut claims);
    jwt::sign_as_issuer(&claims, issuer).into_bytes()
}

#[test]
fn request_is_signed_by_server_and_sealed_for_callout() {
    let [callout, stranger] = [(); 2].map(|()| CurveKey::generate());
    let issuer = Nkey::account();
    let request = RequestBuilder::new(&issuer.public(), NOW)
        .password("alice", "secret")
        .sealed_for(&callout.public())
        .build();
    let server_curve = request.xkey_header.as_deref().unwrap();
    assert_eq!(stranger.open(&request.payload, server_curve), None);
    let token = String::from_utf8(callout.open(&request.payload, server_curve).unwrap()).unwrap();
    let claims = jwt::verified_claims(&token).unwrap();
    assert_eq!(claims["iss"], claims["nats"]["server_id"]["id"]);
    assert_eq!(claims["nats"]["server_id"]["xkey"], server_curve);
    assert_eq!((&claims["sub"], &claims["exp"]), (&json!(issuer.public()), &json!(NOW + 2)));
    assert_eq!(claims["nats"]["connect_opts"]["pass"], "secret");
}

#[test]
fn nkey_login_signs_the_nonce() {
    let user = Nkey::user();
    let request = RequestBuilder::new("A", NOW).nonce("n0nce").nkey(&user).build();
    let connect = &request.claims["nats"]["connect_opts"];
    let signature = BASE64URL_NOPAD.decode(connect["sig"].as_str().unwrap().as_bytes()).unwrap();
    let key = nkeys::KeyPair::from_public_key(connect["nkey"].as_str().unwrap()).unwrap();
    key.verify(b"n0nce", &signature).unwrap();
}

#[test]
fn forged_requests_do_not_verify() {
    let forgeries = [
        RequestBuilder::new("A", NOW).corrupt_signature(),
        RequestBuilder::new("A", NOW).signed_by(&Nkey::server()),
        RequestBuilder::new("A", NOW).issuer(&Nkey::server().public()),
        RequestBuilder::new("A", NOW).jwt_header(json!({ "typ": "JWT", "alg": "none" })),
    ];
    for forgery in forgeries {
        let token = forgery.build().token;
        assert!(jwt::verified_claims(&token).is_err(), "{token}");
    }
}

#[test]
fn valid_answer_contains_the_user_or_the_error() {
    let issuer = Nkey::account();
    let request = RequestBuilder::new(&issuer.public(), NOW).build();
    let admitted = request.open_response(&answer(&request, &issuer, |_| ()));
    assert_eq!(admitted.user()["aud"], "APP");
    let refused = answer(&request, &issuer, |claims| {
        claims["nats"] = json!({ "type": "authorization_response", "version": 2, "error": "no" });
    });
    assert_eq!(request.open_response(&refused), Response::Refused("no".to_owned()));
}

#[test]
fn answer_to_another_request_or_issuer_is_an_error() {
    type Change = fn(&mut Value);
    let faults: [(&str, Change); 7] = [
        ("`sub` of the answer", |claims| claims["sub"] = json!("U")),
        ("`aud` of the answer", |claims| claims["aud"] = json!("N")),
        ("`type`", |claims| claims["nats"]["type"] = json!("user")),
        ("`version`", |claims| claims["nats"]["version"] = json!(1)),
        ("both `jwt` and `error`", |claims| claims["nats"]["error"] = json!("no")),
        ("neither `jwt` nor `error`", |claims| claims["nats"]["jwt"] = json!("")),
        ("user JWT: ", |claims| claims["nats"]["jwt"] = json!("a.b.c")),
    ];
    let issuer = Nkey::account();
    let request = RequestBuilder::new(&issuer.public(), NOW).build();
    for (expected, change) in faults {
        let error = request.try_open_response(&answer(&request, &issuer, change)).unwrap_err();
        assert!(error.contains(expected), "{expected}: {error}");
    }
    let stranger = request.try_open_response(&answer(&request, &Nkey::account(), |_| ()));
    assert!(stranger.unwrap_err().contains("the answer is by"));
}

#[test]
fn sealed_request_requires_a_sealed_answer() {
    let (issuer, callout) = (Nkey::account(), CurveKey::generate());
    let builder = RequestBuilder::new(&issuer.public(), NOW);
    let request = builder.sealed_for(&callout.public()).build();
    let plain = answer(&request, &issuer, |_| ());
    assert!(request.try_open_response(&plain).unwrap_err().contains("not sealed"));
    let sealed = callout.seal(&plain, request.xkey_header.as_deref().unwrap());
    assert_eq!(request.open_response(&sealed).user()["aud"], "APP");
}
