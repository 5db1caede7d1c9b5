//! Golden vectors: requests of real servers, and keys, sealed messages and JWTs of other libraries.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex},
};

use callgate::{
    AccountKeys, Callgate, CallgateBuilder, Refusal, Reply,
    clock::UnixTime,
    connection::ConnectionKind,
    keys::{AccountSigner, CurveKey, KeyKind, KeyPair, Seed, parse_public},
    record::{Decision, Reason},
    request::{AuthRequest, Credential},
    secret::Secret,
};
use callgate_testkit::{Nkey, requests::jwt};
use data_encoding::BASE64;
use serde_json::Value;

use crate::support::app_user;

const SERVERS: [&str; 2] = ["2.10.26", "2.15.1"];

fn vectors(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors").join(name);
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_else(|| panic!("no `{field}` in {value}"))
}

fn bytes(value: &Value, field: &str) -> Vec<u8> {
    BASE64.decode(text(value, field).as_bytes()).unwrap()
}

fn list<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value[field].as_array().filter(|list| !list.is_empty()).unwrap()
}

fn files() -> impl Iterator<Item = Value> {
    let forms = ["plain", "sealed"];
    let modes = ["configuration", "operator"];
    SERVERS.into_iter().flat_map(move |server| {
        modes.into_iter().flat_map(move |mode| {
            forms.map(|form| vectors(&format!("requests-{server}-{mode}-{form}.json")))
        })
    })
}

/// A builder with the keys of a request file.
fn builder(file: &Value) -> CallgateBuilder {
    let signer = || AccountSigner::from_seed(&Secret::from(text(&file["issuer"], "seed"))).unwrap();
    let mut builder = Callgate::builder(signer());
    if !file["xkey"].is_null() {
        let seed = Secret::from(text(&file["xkey"], "seed"));
        builder = builder.xkey(CurveKey::from_seed(&seed).unwrap());
    }
    if text(file, "mode") == "operator" {
        let app = Nkey::account();
        let keys = AccountKeys {
            id: app.public().parse().unwrap(),
            signer: Arc::new(crate::support::signer(&app)),
            scoped: BTreeMap::new(),
        };
        let account = text(&file["issuer"], "public").parse().unwrap();
        builder = builder.operator_mode(account).account("APP", keys);
    }
    builder
}

/// The expected connection kind, and the expected credential or refusal, of a request.
fn expected(name: &str) -> (ConnectionKind, Result<&'static str, Reason>) {
    let password = Ok("password alice");
    match name {
        "password" => (ConnectionKind::Nats, password),
        "token" => (ConnectionKind::Nats, Ok("token")),
        "nkey" => (ConnectionKind::Nats, Ok("nkey")),
        "no credential" => (ConnectionKind::Nats, Err(Reason::NoCredential)),
        "password over websocket" => (ConnectionKind::WebSocket, password),
        "token over websocket" => (ConnectionKind::WebSocket, Ok("token")),
        "password over mqtt" => (ConnectionKind::Mqtt, password),
        "leaf node" => (ConnectionKind::LeafNode, password),
        "client certificate" => (ConnectionKind::Nats, Ok("certificate")),
        "sentinel and password" => (ConnectionKind::WebSocket, password),
        "sentinel and token" => (ConnectionKind::WebSocket, Ok("token")),
        "sentinel alone" => (ConnectionKind::WebSocket, Err(Reason::NoCredential)),
        other => panic!("unexpected vector: {other}"),
    }
}

fn describe(credential: &Credential) -> String {
    match credential {
        Credential::Password { user, .. } => format!("password {user}"),
        other => other.kind().to_owned(),
    }
}

#[tokio::test]
async fn captured_requests_decode_correctly() {
    for file in files() {
        let seen = Arc::<Mutex<Option<Arc<AuthRequest>>>>::default();
        let decided = Arc::<Mutex<Vec<Decision>>>::default();
        let (capture, record) = (Arc::clone(&seen), Arc::clone(&decided));
        let gate = builder(&file)
            .authorize(move |request| {
                *capture.lock().unwrap() = Some(request);
                std::future::ready(Err(Refusal::deny("seen")))
            })
            .on_decision(move |decision| record.lock().unwrap().push(decision.clone()))
            .build()
            .unwrap();
        for request in list(&file, "requests") {
            let name = text(request, "name");
            let (payload, header) = (bytes(request, "payload_base64"), &request["xkey_header"]);
            let made = gate.request_time(&payload, header.as_str()).unwrap();
            assert_eq!(made.seconds(), request["claims"]["iat"]);
            let reply = gate.handle(&payload, header.as_str(), made).await;
            assert!(matches!(reply, Reply::Answer(_)), "{name}: {:?}", decided.lock().unwrap());
            let decision = decided.lock().unwrap().pop().unwrap();
            let opened = seen.lock().unwrap().take();
            let (connection, credential) = expected(name);
            check_ids(&decision, &request["claims"], connection);
            match (opened, credential) {
                (None, Err(reason)) => assert_eq!(decision.reason, reason, "{name}"),
                (Some(opened), Ok(credential)) => {
                    assert_eq!(describe(opened.credential()), credential, "{name}");
                    check_request(&opened, &request["claims"]["nats"]);
                }
                (opened, expected) => panic!("{name}: {opened:?}, not {expected:?}"),
            }
        }
    }
}

fn check_ids(decision: &Decision, claims: &Value, connection: ConnectionKind) {
    let ids = decision.ids.as_ref().unwrap();
    let nats = &claims["nats"];
    assert_eq!(ids.request, claims["jti"]);
    assert_eq!(ids.server_id, nats["server_id"]["id"]);
    assert_eq!(ids.user_nkey, nats["user_nkey"]);
    assert_eq!(ids.client_id, nats["client_info"]["id"]);
    assert_eq!(ids.client_host, nats["client_info"]["host"]);
    assert_eq!(ids.connection, Some(connection));
    assert_eq!(decision.clock_skew, Some(0));
}

fn check_request(request: &AuthRequest, nats: &Value) {
    let (client, info, connect) = (request.client(), &nats["client_info"], &nats["connect_opts"]);
    let or_empty = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    assert_eq!(client.host, info["host"]);
    assert_eq!(client.ip, Some("127.0.0.1".parse().unwrap()));
    assert_eq!(client.kind, info["kind"]);
    assert_eq!(client.name, or_empty(&info["name"]));
    assert_eq!(client.mqtt_id, or_empty(&info["mqtt_id"]));
    assert_eq!(client.lang, or_empty(&connect["lang"]));
    assert_eq!(client.version, or_empty(&connect["version"]));
    assert_eq!(request.server().version, nats["server_id"]["version"]);
    assert_eq!(request.server().name, nats["server_id"]["name"]);
    assert_eq!(request.certificate().is_some(), !nats["client_tls"].is_null());
    if let Credential::Nkey(key) = request.credential() {
        assert_eq!(key.as_str(), connect["nkey"]);
    }
}

/// An expired request is not answered again.
#[tokio::test]
async fn captured_request_cannot_be_replayed() {
    for file in files() {
        let gate = builder(&file).authorize(|_| async { Ok(app_user()) }).build().unwrap();
        for request in list(&file, "requests") {
            let payload = bytes(request, "payload_base64");
            let exp = request["claims"]["exp"].as_i64().unwrap();
            let late = UnixTime::from_seconds(exp + 31);
            let reply = gate.handle(&payload, request["xkey_header"].as_str(), late).await;
            assert_eq!(reply, Reply::Silent);
        }
    }
}

#[tokio::test]
async fn captured_sealed_request_is_useless_to_other_xkeys() {
    let decided = Arc::<Mutex<Vec<Reason>>>::default();
    for file in files().filter(|file| !file["xkey"].is_null()) {
        let record = Arc::clone(&decided);
        let gate = Callgate::builder(crate::support::signer(&Nkey::account()))
            .xkey(CurveKey::generate().unwrap())
            .authorize(|_| async { Ok(app_user()) })
            .on_decision(move |decision| record.lock().unwrap().push(decision.reason))
            .build()
            .unwrap();
        for request in list(&file, "requests") {
            let payload = bytes(request, "payload_base64");
            let made = UnixTime::from_seconds(request["claims"]["iat"].as_i64().unwrap());
            let reply = gate.handle(&payload, request["xkey_header"].as_str(), made).await;
            assert_eq!(reply, Reply::Silent);
        }
    }
    let decided = decided.lock().unwrap();
    assert_eq!(decided.len(), 24);
    assert!(decided.iter().all(|reason| *reason == Reason::CannotDecrypt));
}

fn kind(name: &str) -> KeyKind {
    name.parse().unwrap()
}

#[test]
fn seeds_of_other_libraries_give_the_same_public_keys() {
    for key in list(&vectors("keys.json"), "keys") {
        let seed = Secret::from(text(key, "seed"));
        let public = match kind(text(key, "kind")) {
            KeyKind::Curve => CurveKey::from_seed(&seed).unwrap().public_key().to_string(),
            other => {
                let parsed = Seed::parse(seed.expose()).unwrap();
                assert_eq!(parsed.kind(), other);
                KeyPair::from_seed(parsed).unwrap().public_key()
            }
        };
        assert_eq!(public, text(key, "public"));
    }
}

#[test]
fn our_seeds_are_read_by_the_nkeys_crate() {
    for kind in [KeyKind::Account, KeyKind::User, KeyKind::Server, KeyKind::Operator] {
        let ours = KeyPair::generate(kind).unwrap();
        let theirs = Nkey::from_seed(ours.seed().expose());
        assert_eq!(theirs.public(), ours.public_key());
        let signature = ours.sign(b"a message").unwrap();
        assert_eq!(theirs.sign(b"a message"), signature, "Ed25519 signatures are deterministic");
        let verifier = nkeys::KeyPair::from_public_key(&ours.public_key()).unwrap();
        verifier.verify(b"a message", &signature).unwrap();
    }
    let ours = CurveKey::generate().unwrap();
    let theirs = callgate_testkit::CurveKey::from_seed(ours.seed().expose());
    assert_eq!(theirs.public(), ours.public_key().as_str());
}

#[test]
fn signatures_match_those_of_other_libraries() {
    for vector in list(&vectors("keys.json"), "signatures") {
        let (message, signature) = (text(vector, "message"), bytes(vector, "signature_base64"));
        let key = parse_public(text(vector, "public"), &[KeyKind::User]).unwrap();
        assert!(key.verifies(message.as_bytes(), &signature));
        assert!(!key.verifies(b"another message", &signature));
        let pair = KeyPair::from_seed(Seed::parse(text(vector, "seed")).unwrap()).unwrap();
        assert_eq!(pair.sign(message.as_bytes()).unwrap().to_vec(), signature);
    }
}

#[test]
fn sealed_vectors_open_in_both_directions() {
    for vector in list(&vectors("keys.json"), "boxes") {
        let ours = CurveKey::from_seed(&Secret::from(text(vector, "recipient_seed"))).unwrap();
        let shared = ours.shared_with(&text(vector, "sender").parse().unwrap()).unwrap();
        let plain = shared.open(&bytes(vector, "sealed_base64")).unwrap();
        assert_eq!(&plain[..], text(vector, "plaintext").as_bytes());

        let sender = callgate_testkit::CurveKey::from_seed(text(vector, "sender_seed"));
        let sealed = shared.seal(b"an answer").unwrap();
        assert_eq!(sender.open(&sealed, ours.public_key().as_str()).unwrap(), b"an answer");
    }
}

/// Our claims have the same names and types as those of the reference library.
#[tokio::test]
async fn user_jwt_has_the_fields_of_the_reference_library() {
    use callgate::{User, permissions::Responses};
    use std::time::Duration;

    let file = vectors("jwts.json");
    let issuer = Nkey::from_seed(text(&file["issuer"], "seed"));
    let user = User::in_account("APP")
        .named("alice")
        .publish("orders.>")
        .subscribe("orders.*.status")
        .subscribe("_INBOX.>")
        .respond(Responses { max: Some(1), ttl: Some(Duration::from_secs(5)) });
    let bench = crate::support::Bench::of_issuer(issuer, |builder| {
        builder.authorize(move |_| std::future::ready(Ok(user.clone())))
    });
    let ours = bench.admitted(bench.alice().user_nkey(text(&file, "user"))).await;
    let theirs = list(&file, "users")
        .iter()
        .find(|user| user["claims"]["nats"].get("resp").is_some())
        .map(|user| &user["claims"])
        .unwrap();
    for field in ["aud", "name", "sub", "iss"] {
        assert_eq!(ours[field], theirs[field], "{field}");
    }
    for field in ["data", "payload", "subs", "resp", "type", "version"] {
        assert_eq!(ours["nats"][field], theirs["nats"][field], "{field}");
    }
    for side in ["pub", "sub"] {
        assert_eq!(ours["nats"][side]["allow"], theirs["nats"][side]["allow"], "{side}");
    }
}

#[test]
fn jwts_of_the_reference_library_verify() {
    let file = vectors("jwts.json");
    let key = parse_public(text(&file["issuer"], "public"), &[KeyKind::Account]).unwrap();
    for part in ["users", "responses"] {
        for vector in list(&file, part) {
            let token = text(vector, "token");
            jwt::verified_claims(token).unwrap();
            let (signed, signature) = token.rsplit_once('.').unwrap();
            let signature = data_encoding::BASE64URL_NOPAD.decode(signature.as_bytes()).unwrap();
            assert!(key.verifies(signed.as_bytes(), &signature));
        }
    }
}
