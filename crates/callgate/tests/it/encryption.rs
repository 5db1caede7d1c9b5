//! Sealed requests are opened only with our own keys, and their answers are sealed with the same key.

use callgate::{Reply, record::Reason};
use callgate_testkit::CurveKey;
use serde_json::json;

use crate::support::{Bench, xkey};

/// The test kit's server accepts only answers sealed by the key that it sealed the request for.
#[tokio::test]
async fn every_configured_xkey_opens_requests_and_seals_answers() {
    let keys = [(); 3].map(|()| CurveKey::generate());
    let bench =
        Bench::new(|builder| keys.iter().fold(builder, |builder, key| builder.xkey(xkey(key))));
    for _ in 0..2 {
        for key in &keys {
            let user = bench.admitted(bench.alice().sealed_for(&key.public())).await;
            assert_eq!(user["aud"], "APP");
        }
    }
}

#[tokio::test]
async fn shared_secrets_are_cached_per_xkey() {
    let keys = [(); 2].map(|()| CurveKey::generate());
    let bench =
        Bench::new(|builder| keys.iter().fold(builder, |builder, key| builder.xkey(xkey(key))));
    let server = CurveKey::generate();
    for key in keys.iter().chain(keys.iter().rev()) {
        bench.admitted(bench.alice().server_curve(&server).sealed_for(&key.public())).await;
    }
}

#[tokio::test]
async fn refusals_are_sealed() {
    let key = CurveKey::generate();
    let bench = Bench::new(|builder| builder.xkey(xkey(&key)));
    let request = bench.request().sealed_for(&key.public());
    bench.refused(request, Reason::NoCredential).await;
}

#[tokio::test]
async fn plaintext_request_is_dropped_with_an_xkey() {
    let bench = Bench::new(|builder| builder.xkey(xkey(&CurveKey::generate())));
    let decision = bench.dropped(bench.alice(), Reason::NotEncrypted).await;
    assert!(decision.detail.contains("insecure_allow_plaintext"), "{}", decision.detail);
    // The header alone does not make a request encrypted.
    let header = CurveKey::generate().public();
    bench.dropped(bench.alice().xkey_header(Some(&header)), Reason::NotEncrypted).await;
}

#[tokio::test]
async fn plaintext_option_accepts_plain_and_sealed_requests() {
    let key = CurveKey::generate();
    let bench = Bench::new(|builder| builder.xkey(xkey(&key)).insecure_allow_plaintext());
    bench.admitted(bench.alice()).await;
    bench.admitted(bench.alice().sealed_for(&key.public())).await;
    let other = CurveKey::generate().public();
    bench.dropped(bench.alice().sealed_for(&other), Reason::CannotDecrypt).await;
}

#[tokio::test]
async fn request_for_another_xkey_is_dropped_naming_ours() {
    let key = CurveKey::generate();
    let bench = Bench::new(|builder| builder.xkey(xkey(&key)));
    let other = CurveKey::generate().public();
    let request = bench.alice().sealed_for(&other);
    let decision = bench.dropped(request, Reason::CannotDecrypt).await;
    assert!(decision.detail.contains(&key.public()), "{}", decision.detail);
    assert!(!decision.detail.contains(&key.seed()));
}

#[tokio::test]
async fn sealed_request_is_dropped_without_an_xkey() {
    let bench = Bench::new(|builder| builder);
    let request = bench.alice().sealed_for(&CurveKey::generate().public());
    let decision = bench.dropped(request, Reason::CannotDecrypt).await;
    assert!(decision.detail.contains("issuer.xkeys"), "{}", decision.detail);
}

#[tokio::test]
async fn sealed_request_requires_the_header_of_its_sealing_key() {
    let key = CurveKey::generate();
    let bench = Bench::new(|builder| builder.xkey(xkey(&key)));
    let sealed = || bench.alice().sealed_for(&key.public());
    bench.dropped(sealed().xkey_header(None), Reason::CannotDecrypt).await;
    for header in ["", "X", "not a key", &bench.issuer.public(), &key.seed()] {
        let request = sealed().xkey_header(Some(header));
        let decision = bench.dropped(request, Reason::CannotDecrypt).await;
        assert!(decision.detail.contains("Nats-Server-Xkey"), "{}", decision.detail);
        assert!(!decision.detail.contains(&key.seed()));
    }
    let other = CurveKey::generate().public();
    bench.dropped(sealed().xkey_header(Some(&other)), Reason::CannotDecrypt).await;
}

/// Otherwise a client that may publish requests could reseal a captured one and receive the answer.
#[tokio::test]
async fn header_xkey_must_match_the_signed_xkey() {
    let key = CurveKey::generate();
    let bench = Bench::new(|builder| builder.xkey(xkey(&key)));
    let signed = CurveKey::generate().public();
    for xkey in [json!(signed), json!(""), json!(null)] {
        let request = bench.alice().sealed_for(&key.public()).server_id("xkey", xkey);
        let decision = bench.dropped(request, Reason::BadRequest).await;
        assert!(decision.detail.contains("not the one that was signed"), "{}", decision.detail);
    }
}

/// The header is checked even where it is not needed to open the request.
#[tokio::test]
async fn plaintext_header_xkey_must_match_the_signed_xkey() {
    let bench = Bench::new(|builder| builder);
    let own = CurveKey::generate().public();
    let signed = |header: &str| bench.alice().server_id("xkey", &*own).xkey_header(Some(header));
    bench.admitted(signed(&own)).await;
    for header in [&*CurveKey::generate().public(), "", "not a key"] {
        let decision = bench.dropped(signed(header), Reason::BadRequest).await;
        assert!(decision.detail.contains("not the one that was signed"), "{}", decision.detail);
    }
    let unsigned = bench.alice().xkey_header(Some(&own));
    bench.dropped(unsigned, Reason::BadRequest).await;
}

#[tokio::test]
async fn damaged_sealed_request_is_dropped() {
    let key = CurveKey::generate();
    let bench = Bench::new(|builder| builder.xkey(xkey(&key)));
    let request = bench.alice().sealed_for(&key.public()).build();
    let header = request.xkey_header.as_deref();
    for length in (0..request.payload.len()).filter(|n| *n < 64 || n % 97 == 0) {
        let (reply, decision) = bench.handle(&request.payload[..length], header).await;
        assert_eq!(reply, Reply::Silent, "{length}");
        let expected = match length {
            0..4 => Reason::NotEncrypted,
            _ => Reason::CannotDecrypt,
        };
        assert_eq!(decision.reason, expected, "{length}");
    }
    for place in (0..request.payload.len()).filter(|n| *n < 64 || n % 97 == 0) {
        let mut damaged = request.payload.clone();
        damaged[place] ^= 1;
        let (reply, decision) = bench.handle(&damaged, header).await;
        let expected = if place < 4 { Reason::NotEncrypted } else { Reason::CannotDecrypt };
        assert_eq!((reply, decision.reason), (Reply::Silent, expected), "byte {place}");
    }
}
