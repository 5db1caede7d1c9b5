//! Verifies the library's golden vectors with the `nkeys` crate only.

#![expect(clippy::panic, reason = "test code: a panic is how a test fails")]

use std::fs;
use std::path::{Path, PathBuf};

use callgate_testkit::requests::jwt;
use callgate_testkit::{CurveKey, Nkey};
use data_encoding::BASE64;
use serde_json::Value;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../callgate/tests/vectors")
}

fn vectors(name: &str) -> Value {
    let text = fs::read(folder().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_else(|| panic!("no `{field}` in {value}"))
}

fn bytes(value: &Value, field: &str) -> Vec<u8> {
    BASE64.decode(text(value, field).as_bytes()).unwrap_or_else(|error| panic!("{field}: {error}"))
}

fn list<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value[field]
        .as_array()
        .filter(|list| !list.is_empty())
        .map_or_else(|| panic!("no `{field}`"), Vec::as_slice)
}

/// The request's JWT, opened if it is sealed.
fn opened(request: &Value, xkey: &Value) -> String {
    let payload = bytes(request, "payload_base64");
    let plain = if xkey.is_null() {
        assert!(request["xkey_header"].is_null());
        payload
    } else {
        let own = CurveKey::from_seed(text(xkey, "seed"));
        own.open(&payload, text(request, "xkey_header"))
            .unwrap_or_else(|| panic!("{request} does not open"))
    };
    String::from_utf8(plain).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn every_captured_request_opens_and_verifies() {
    for version in ["2.10.26", "2.15.1"] {
        for (mode, clients) in [("configuration", 9), ("operator", 3)] {
            for form in ["plain", "sealed"] {
                let file = vectors(&format!("requests-{version}-{mode}-{form}.json"));
                assert_eq!(file["xkey"].is_null(), form == "plain");
                assert_eq!(list(&file, "requests").len(), clients);
                for request in list(&file, "requests") {
                    let claims = jwt::verified_claims(&opened(request, &file["xkey"])).unwrap();
                    assert_eq!(claims, request["claims"]);
                    assert_eq!(claims["sub"], file["issuer"]["public"]);
                    assert_eq!(claims["nats"]["server_id"]["version"], version);
                }
            }
        }
    }
}

#[test]
fn every_key_signature_and_box_verifies() {
    let file = vectors("keys.json");
    for key in list(&file, "keys") {
        let seed = text(key, "seed");
        let public = match text(key, "kind") {
            "curve" => CurveKey::from_seed(seed).public(),
            _ => Nkey::from_seed(seed).public(),
        };
        assert_eq!(public, text(key, "public"));
    }
    for signature in list(&file, "signatures") {
        let made_here =
            Nkey::from_seed(text(signature, "seed")).sign(text(signature, "message").as_bytes());
        assert_eq!(made_here, bytes(signature, "signature_base64"), "Ed25519 has one signature");
    }
    for sealed in list(&file, "boxes") {
        let recipient = CurveKey::from_seed(text(sealed, "recipient_seed"));
        let plain =
            recipient.open(&bytes(sealed, "sealed_base64"), text(sealed, "sender")).unwrap();
        assert_eq!(plain, text(sealed, "plaintext").as_bytes());
    }
}

#[test]
fn every_jwt_of_the_library_verifies() {
    let file = vectors("jwts.json");
    for part in ["users", "responses"] {
        for vector in list(&file, part) {
            let claims = jwt::verified_claims(text(vector, "token")).unwrap();
            assert_eq!(claims, vector["claims"]);
            assert_eq!(claims["iss"], file["issuer"]["public"]);
            assert_eq!(claims["sub"], file["user"]);
        }
    }
}
