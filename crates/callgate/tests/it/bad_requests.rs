//! Messages that are not valid requests of a server to this callout are dropped: recorded with a reason,
//! never answered.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use callgate::{
    Callgate, Refusal, Reply,
    record::{Outcome, Reason},
};
use callgate_testkit::{Nkey, RequestBuilder, requests::jwt};
use serde_json::{Value, json};

use crate::support::{Bench, NOW, app_user, signer};

#[tokio::test]
async fn malformed_payloads_are_dropped() {
    let bench = Bench::new(|builder| builder);
    let not_utf8 = [0xff_u8, 0x00, 0xfe, b'.', 0xc0, b'.', 0x80];
    let claims_are_not_json = format!("{}.{}.AAAA", header(), jwt::base64url(b"{\"iss\": "));
    let claims_are_not_an_object = format!("{}.{}.AAAA", header(), jwt::base64url(b"[1, 2]"));
    let deeply_nested =
        format!("{}.{}.AAAA", header(), jwt::base64url("[".repeat(60_000).as_bytes()));
    let garbage: [&[u8]; 13] = [
        b"",
        b".",
        b"..",
        b"...",
        b"a.b.c",
        b"{}",
        b"null",
        b"\r\n",
        &not_utf8,
        claims_are_not_json.as_bytes(),
        claims_are_not_an_object.as_bytes(),
        deeply_nested.as_bytes(),
        &[b'.'; 100_000],
    ];
    for payload in garbage {
        let (reply, decision) = bench.handle(payload, None).await;
        assert_eq!((reply, decision.reason), (Reply::Silent, Reason::BadRequest));
        assert!(decision.ids.is_none(), "its content is untrusted");
    }
}

fn header() -> String {
    jwt::base64url(jwt::Header::default().0.to_string().as_bytes())
}

/// Covers cuts in the header, the claims and the signature, down to a single missing byte.
#[tokio::test]
async fn truncated_request_is_dropped_at_every_length() {
    let bench = Bench::new(|builder| builder);
    let token = bench.alice().build().token;
    for length in 0..token.len() {
        let (reply, decision) = bench.handle(&token.as_bytes()[..length], None).await;
        assert_eq!((reply, decision.reason), (Reply::Silent, Reason::BadRequest), "{length}");
    }
}

#[tokio::test]
async fn request_of_one_megabyte_is_dropped() {
    let bench = Bench::new(|builder| builder);
    let request = bench.alice().client("name", "x".repeat(1 << 20));
    let decision = bench.dropped(request, Reason::BadRequest).await;
    assert!(decision.detail.contains("larger than"), "{}", decision.detail);
    let (reply, decision) = bench.handle(&vec![b'a'; 1 << 20], None).await;
    assert_eq!((reply, decision.reason), (Reply::Silent, Reason::BadRequest));
}

#[tokio::test]
async fn request_not_signed_by_its_server_is_dropped() {
    let bench = Bench::new(|builder| builder);
    let forgeries: [(&str, RequestBuilder); 8] = [
        ("a broken signature", bench.alice().corrupt_signature()),
        ("another server's signature", bench.alice().signed_by(&Nkey::server())),
        ("the issuer's own signature", bench.alice().signed_by(&bench.issuer)),
        ("`iss` of another server", bench.alice().issuer(&Nkey::server().public())),
        ("`server_id.id` of another", bench.alice().server_id("id", Nkey::server().public())),
        ("algorithm `none`", bench.alice().jwt_header(json!({ "typ": "JWT", "alg": "none" }))),
        ("another algorithm", bench.alice().jwt_header(json!({ "typ": "JWT", "alg": "HS256" }))),
        ("another type", bench.alice().jwt_header(json!({ "typ": "JWE", "alg": "ed25519-nkey" }))),
    ];
    for (what, forgery) in forgeries {
        let decision = bench.dropped(forgery, Reason::BadRequest).await;
        assert!(decision.ids.is_none(), "{what}: its content is untrusted");
    }
}

#[tokio::test]
async fn request_without_a_valid_signature_is_dropped() {
    let bench = Bench::new(|builder| builder);
    let token = bench.alice().build().token;
    let (body, _) = token.rsplit_once('.').unwrap();
    for signature in ["", "AAAA", &jwt::base64url(&[0; 64]), &jwt::base64url(&[0; 65])] {
        let forgery = format!("{body}.{signature}");
        let (reply, decision) = bench.handle(forgery.as_bytes(), None).await;
        assert_eq!((reply, decision.reason), (Reply::Silent, Reason::BadRequest), "{signature}");
    }
}

/// Only servers send requests: keys of users, accounts and operators must not sign one.
#[tokio::test]
async fn request_signed_by_a_non_server_key_is_dropped() {
    let bench = Bench::new(|builder| builder);
    for key in [Nkey::user(), Nkey::account(), Nkey::operator(), bench.issuer.clone()] {
        bench.dropped(bench.alice().server(&key), Reason::BadRequest).await;
    }
}

#[tokio::test]
async fn request_for_another_issuer_is_dropped_naming_both_keys() {
    let bench = Bench::new(|builder| builder);
    let other = Nkey::account().public();
    let decision = bench.dropped(bench.alice().subject(&other), Reason::WrongAudienceRequest).await;
    assert!(decision.detail.contains(&bench.issuer.public()), "{}", decision.detail);
    assert!(decision.detail.contains(&other), "{}", decision.detail);
    assert!(decision.ids.is_some(), "the signature proves which server sent it");
    for subject in ["", "$SYS.REQ.USER.AUTH", "alice\n\u{1b}[31m"] {
        let request = bench.alice().subject(subject);
        let decision = bench.dropped(request, Reason::WrongAudienceRequest).await;
        assert!(!decision.detail.contains('\u{1b}'));
    }
}

#[tokio::test]
async fn request_with_wrong_audience_is_dropped() {
    let bench = Bench::new(|builder| builder);
    for audience in ["", "nats-authorization-response", "NATS-AUTHORIZATION-REQUEST"] {
        bench.dropped(bench.alice().audience(audience), Reason::WrongAudienceRequest).await;
    }
    let list = |claims: &mut Value| claims["aud"] = json!(["nats-authorization-request"]);
    bench.dropped(bench.alice().mutate(list), Reason::BadRequest).await;
}

#[tokio::test]
async fn claims_of_another_type_are_dropped() {
    let bench = Bench::new(|builder| builder);
    let request = |kind: Value| bench.alice().replace("/nats/type", kind);
    for kind in [json!("authorization_request"), json!(""), json!(null)] {
        bench.admitted(request(kind)).await;
    }
    for kind in ["user", "authorization_response", "Authorization_Request", "account"] {
        let decision = bench.dropped(request(json!(kind)), Reason::BadRequest).await;
        assert!(decision.detail.contains("the type"), "{}", decision.detail);
    }
    bench.dropped(request(json!(["authorization_request"])), Reason::BadRequest).await;
}

#[tokio::test]
async fn clock_skew_of_up_to_30_seconds_is_tolerated() {
    for (seconds, reason) in [
        (-30, Reason::Admitted),
        (0, Reason::Admitted),
        (2, Reason::Admitted),
        (32, Reason::Admitted),
        (-31, Reason::StaleRequest),
        (33, Reason::StaleRequest),
        (3_600, Reason::StaleRequest),
        (-3_600, Reason::StaleRequest),
        (i64::MAX - NOW, Reason::StaleRequest),
    ] {
        let bench = Bench::new(|builder| builder);
        let request = bench.alice().build();
        bench.clock.set(NOW + seconds);
        let (reply, decision) = bench.handle(&request.payload, None).await;
        assert_eq!(decision.reason, reason, "{seconds} s after it was made");
        assert_eq!(matches!(reply, Reply::Answer(_)), reason == Reason::Admitted);
        assert_eq!(decision.clock_skew, Some(-seconds));
    }
}

#[tokio::test]
async fn stale_request_reports_the_clock_difference() {
    let bench = Bench::new(|builder| builder);
    let request = bench.alice().build();
    bench.clock.advance(Duration::from_secs(600));
    let (_, decision) = bench.handle(&request.payload, None).await;
    assert_eq!(decision.reason, Reason::StaleRequest);
    assert!(decision.detail.contains("-600 s"), "{}", decision.detail);
    assert!(decision.detail.contains("check both clocks"), "{}", decision.detail);
}

#[tokio::test]
async fn impossible_timestamps_are_dropped() {
    let bench = Bench::new(|builder| builder);
    let times = [
        json!({ "iat": NOW, "exp": NOW }),
        json!({ "iat": NOW, "exp": NOW - 1 }),
        json!({ "iat": i64::MAX, "exp": i64::MIN }),
        json!({ "iat": NOW, "exp": null }),
        json!({ "iat": NOW, "exp": "1700000002" }),
        json!({ "iat": NOW, "exp": 1.7e300 }),
        json!({ "iat": NOW, "exp": u64::MAX }),
        json!({ "iat": null, "exp": NOW + 2 }),
    ];
    for time in times {
        let change = |claims: &mut Value| {
            claims["iat"] = time["iat"].clone();
            claims["exp"] = time["exp"].clone();
        };
        bench.dropped(bench.alice().mutate(change), Reason::BadRequest).await;
    }
    for (iat, exp) in [(i64::MIN, i64::MAX), (i64::MIN, i64::MIN + 2), (i64::MAX - 2, i64::MAX)] {
        let change = |claims: &mut Value| {
            claims["iat"] = json!(iat);
            claims["exp"] = json!(exp);
        };
        let request = bench.alice().mutate(change).build();
        let (_, decision) = bench.handle(&request.payload, None).await;
        assert_eq!(decision.reason, Reason::StaleRequest, "{iat} to {exp}");
    }
}

/// An attacker who captures plaintext requests must not be able to replay them for as long as the server's
/// timeout allows.
#[tokio::test]
async fn request_is_stale_after_five_minutes_at_any_lifetime() {
    for lifetime in [301, 3_600, 31_536_000, i64::MAX - NOW] {
        for (seconds, reason) in
            [(0, Reason::Admitted), (330, Reason::Admitted), (331, Reason::StaleRequest)]
        {
            let bench = Bench::new(|builder| builder);
            let request = bench.alice().auth_timeout(lifetime).build();
            bench.clock.set(NOW + seconds);
            let (_, decision) = bench.handle(&request.payload, None).await;
            assert_eq!(decision.reason, reason, "{lifetime} s, {seconds} s after it was made");
        }
    }
}

/// Whether it was admitted or refused; a reload changes nothing.
#[tokio::test]
async fn repeated_request_is_dropped() {
    for answer in [Ok(app_user()), Err(Refusal::deny("no"))] {
        let issuer = Nkey::account();
        let decide = move |_| std::future::ready(answer.clone());
        let bench = Bench::of_issuer(issuer.clone(), |builder| builder.authorize(decide));
        let request = bench.alice().auth_timeout(60).build();
        let (_, first) = bench.handle(&request.payload, None).await;
        assert_ne!(first.outcome(), Outcome::Dropped);
        bench.gate.explain(&request.payload, None, bench.clock.now()).await.unwrap();
        for seconds in [0, 59, 90] {
            bench.clock.set(NOW + seconds);
            let (reply, decision) = bench.handle(&request.payload, None).await;
            assert_eq!((reply, decision.reason), (Reply::Silent, Reason::BadRequest));
            assert!(decision.detail.contains("received before"), "{}", decision.detail);
            assert_eq!(decision.ids, first.ids);
        }
        let observed = Arc::<Mutex<Vec<Reason>>>::default();
        let record = Arc::clone(&observed);
        let reloaded = Callgate::builder(signer(&issuer))
            .authorize(|_| async { Ok(app_user()) })
            .on_decision(move |decision| record.lock().unwrap().push(decision.reason));
        bench.gate.replace(reloaded).unwrap();
        bench.gate.handle(&request.payload, None, bench.clock.now()).await;
        assert_eq!(*observed.lock().unwrap(), [Reason::BadRequest]);
    }
}

/// A request that was dropped for another reason may be sent again, and so may one that was explained.
#[tokio::test]
async fn only_opened_requests_count_as_received() {
    let bench = Bench::new(|builder| builder);
    let request = bench.alice().build();
    bench.clock.set(NOW - 31);
    let (_, decision) = bench.handle(&request.payload, None).await;
    assert_eq!(decision.reason, Reason::StaleRequest);
    bench.clock.set(NOW);
    bench.gate.explain(&request.payload, None, bench.clock.now()).await.unwrap();
    let (_, decision) = bench.handle(&request.payload, None).await;
    assert_eq!(decision.reason, Reason::Admitted);
}

#[tokio::test]
async fn malformed_user_nkey_is_dropped() {
    let bench = Bench::new(|builder| builder);
    let user = Nkey::user();
    let mut mistyped = user.public();
    mistyped.replace_range(9..10, if &mistyped[9..10] == "A" { "B" } else { "A" });
    for key in ["", "U", "alice", &mistyped, &user.seed(), &Nkey::account().public()] {
        let request = bench.alice().user_nkey(key);
        let decision = bench.dropped(request, Reason::BadRequest).await;
        assert!(!decision.detail.contains(&user.seed()), "the error must not contain the seed");
    }
}

#[tokio::test]
async fn duplicate_json_member_is_dropped() {
    let bench = Bench::new(|builder| builder);
    let server = Nkey::server();
    let claims = bench.alice().server(&server).build().claims.to_string();
    let duplicated = claims.replacen("\"aud\":", "\"sub\":\"A\",\"aud\":", 1);
    assert_ne!(claims, duplicated);
    let body = format!("{}.{}", header(), jwt::base64url(duplicated.as_bytes()));
    let token = format!("{body}.{}", jwt::base64url(&server.sign(body.as_bytes())));
    let (reply, decision) = bench.handle(token.as_bytes(), None).await;
    assert_eq!((reply, decision.reason), (Reply::Silent, Reason::BadRequest));
}

#[tokio::test]
async fn missing_required_fields_are_dropped() {
    let bench = Bench::new(|builder| builder);
    for path in ["/iss", "/sub", "/aud", "/nats", "/nats/server_id", "/nats/server_id/id"] {
        let (parent, name) = path.rsplit_once('/').unwrap();
        let remove = |claims: &mut Value| {
            claims.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(name);
        };
        bench.dropped(bench.alice().mutate(remove), Reason::BadRequest).await;
    }
    let remove = |claims: &mut Value| {
        claims["nats"].as_object_mut().unwrap().remove("user_nkey");
    };
    bench.dropped(bench.alice().mutate(remove), Reason::BadRequest).await;
}
