//! All settings of a users file entry, on a real server.

use std::time::Duration;

use callgate_testkit::{NatsServer, eventually, wait::PATIENCE};
use serde_json::{Value, json};

use crate::support::{Credential, Pair, connect, has};

/// `users.json` of nats-by-example, verbatim.
const BY_EXAMPLE: &str = r#"{
  "sys": {
    "pass": "sys",
    "account": "SYS"
  },
  "alice": {
    "pass": "alice",
    "account": "APP"
  },
  "bob": {
    "pass": "bob",
    "account": "APP",
    "permissions": {
      "pub": {
        "allow": ["bob.>"]
      },
      "sub": {
        "allow": ["bob.>"]
      },
      "resp": {
        "max": 1
      }
    }
  }
}
"#;

#[tokio::test]
async fn nats_by_example_users_work_unchanged() {
    let pair = Pair::builder(Value::Null).users_text(BY_EXAMPLE).start().await;
    let alice = pair.admits(&Credential::password("alice", "alice")).await;
    let mut bob = pair.admits(&Credential::password("bob", "bob")).await;
    bob.is_refused_to_publish("test").await;
    // Bob may reply once to each request, although the reply subject is not permitted otherwise.
    let mut requests = bob.client.subscribe("bob.service").await.unwrap();
    // A flush only writes; until the server has read Bob's subscription, Alice gets no response.
    let response = eventually("bob answers", PATIENCE, async || {
        alice.client.request("bob.service", "who?".into()).await.ok()
    });
    let answers = async {
        let request = futures_util::StreamExt::next(&mut requests).await.unwrap();
        bob.client.publish(request.reply.unwrap(), "bob".into()).await.unwrap();
    };
    let (answer, ()) = tokio::join!(response, answers);
    assert_eq!(answer.payload, "bob");
    assert_eq!(pair.admits(&Credential::password("sys", "sys")).await.account().await, "SYS");
}

/// Made with Python's hashlib; for bcrypt, test vectors of its authors (password `U*U`).
const HASHES: [(&str, &str, &str); 7] = [
    (
        "scrypt",
        "secret",
        "$scrypt$ln=10,r=8,p=1$MDEyMzQ1Njc4OWFiY2RlZg$S7FwBvpu+z8K0PUVUagFRTUAB2dAxIZpzVHvLZir+98",
    ),
    (
        "pbkdf2-sha256",
        "secret",
        "$pbkdf2-sha256$i=1000,l=32$MDEyMzQ1Njc4OWFiY2RlZg$tiKWHy4FAGCWE8gn6GtKhaxD2OeeAUUWXFT/p1aaNl8",
    ),
    (
        "pbkdf2-sha512",
        "secret",
        "$pbkdf2-sha512$i=1000,l=64$MDEyMzQ1Njc4OWFiY2RlZg$vgFvU7zWIDgDAUi7d8ayt+cfRiPWVVWfv8iQRsGZaZviWzsSNgWYXEE5PmvI/VELMsOmEbqLz0PKuePNjOk41A",
    ),
    (
        "passlib",
        "secret",
        "$pbkdf2-sha512$1000$MDEyMzQ1Njc4OWFiY2RlZg$vgFvU7zWIDgDAUi7d8ayt.cfRiPWVVWfv8iQRsGZaZviWzsSNgWYXEE5PmvI/VELMsOmEbqLz0PKuePNjOk41A",
    ),
    ("bcrypt-2a", "U*U", "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"),
    ("bcrypt-2b", "U*U", "$2b$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"),
    ("bcrypt-2y", "U*U", "$2y$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"),
];

#[tokio::test]
async fn every_hash_kind_admits_only_the_right_password() {
    let entry = |hash: &str| json!({ "password": hash, "account": "APP" });
    let mut users: Value =
        HASHES.iter().map(|(user, _, hash)| ((*user).to_owned(), entry(hash))).collect();
    // Cleartext that looks like a hash, in the field for cleartext.
    users["plain"] = json!({ "password_plain": "$2b$not-a-hash", "account": "APP" });
    let pair = Pair::of(users).await;
    for (user, password, hash) in HASHES {
        pair.admits(&Credential::password(user, password)).await;
        assert_eq!(pair.refuses(&Credential::password(user, "wrong")).await, "bad_password");
        assert_eq!(pair.refuses(&Credential::password(user, hash)).await, "bad_password");
    }
    pair.admits(&Credential::password("plain", "$2b$not-a-hash")).await;
}

#[tokio::test]
async fn token_admits_its_entry() {
    let users = json!({ "sensor": { "token": "t-123", "account": "APP", "permissions": {} } });
    let pair = Pair::of(users).await;
    let (outcome, decision) = pair.attempt(&Credential::token("t-123")).await;
    assert_eq!(decision["user"], "sensor");
    // Empty permissions count: admitted without any permission.
    let mut sensor = outcome.unwrap();
    sensor.is_refused_to_publish("anything").await;
    sensor.is_refused_to_subscribe("anything").await;
    assert_eq!(pair.refuses(&Credential::token("t-124")).await, "bad_token");
}

#[tokio::test]
async fn restrictions_apply_only_after_the_password() {
    let entry = |more: Value| {
        let mut entry = json!({ "pass": "right", "account": "APP" });
        entry.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        entry
    };
    let cases = [
        ("here", json!({ "source": ["127.0.0.0/8"] }), "admitted"),
        ("elsewhere", json!({ "source": ["10.0.0.0/8", "2001:db8::/32"] }), "source_not_allowed"),
        ("nats", json!({ "connection_types": ["STANDARD"] }), "admitted"),
        ("websocket", json!({ "connection_types": ["websocket"] }), "connection_type_not_allowed"),
        ("past", json!({ "expires": "2020-01-01T00:00:00Z" }), "user_expired"),
        ("future", json!({ "expires": "2120-01-01T00:00:00+02:00" }), "admitted"),
        ("disabled", json!({ "disabled": true }), "user_disabled"),
        ("callout", json!({ "account": "AUTH" }), "account_not_allowed"),
        ("nowhere", json!({ "roles": [] }), "no_binding"),
    ];
    let users: Value =
        cases.iter().map(|(user, more, _)| ((*user).to_owned(), entry(more.clone()))).collect();
    let pair = Pair::of(users).await;
    for (user, _, expected) in cases {
        let (outcome, decision) = pair.attempt(&Credential::password(user, "right")).await;
        assert_eq!(decision["reason"], expected, "{user}: {decision}");
        assert_eq!(outcome.is_ok(), expected == "admitted", "{user}");
        // Other restrictions of an entry are revealed only to clients with its password.
        assert_eq!(pair.refuses(&Credential::password(user, "wrong")).await, "bad_password");
    }
}

#[tokio::test]
async fn websocket_entry_is_admitted_over_websocket() {
    let users = json!({
        "web": { "pass": "web", "account": "APP", "connection_types": ["websocket"] },
        "tcp": { "pass": "tcp", "account": "APP", "connection_types": ["nats"] },
    });
    let websocket = "websocket { listen: \"127.0.0.1:{{websocket_port}}\", no_tls: true }";
    let pair = Pair::builder(users).server_config(websocket).start().await;
    let url = pair.server.websocket_url();
    let (web, decision) = pair.attempt_at(&url, &Credential::password("web", "web")).await;
    assert_eq!(decision["connection"], "websocket");
    web.unwrap().talks_to_itself_on("news").await;
    let (tcp, decision) = pair.attempt_at(&url, &Credential::password("tcp", "tcp")).await;
    assert!(tcp.is_err());
    assert_eq!(decision["reason"], "connection_type_not_allowed");
}

#[tokio::test]
async fn session_ends_when_its_entry_expires() {
    let users = json!({ "brief": { "pass": "brief", "account": "APP", "expires_after": "1s" } });
    let pair = Pair::of(users).await;
    let mut brief = pair.admits(&Credential::password("brief", "brief")).await;
    brief.hears("User Authentication Expired").await;
}

#[tokio::test]
async fn session_never_outlives_max_lifetime() {
    let users = json!({ "long": { "pass": "long", "account": "APP", "expires_after": "5h" } });
    let session = "[session]\nmax_lifetime = \"10m\"\njitter = 0.0";
    let pair = Pair::builder(users).gate_config(session).start().await;
    let (outcome, decision) = pair.attempt(&Credential::password("long", "long")).await;
    let info = outcome.unwrap().client.request("$SYS.REQ.USER.INFO", "".into()).await.unwrap();
    let info: Value = serde_json::from_slice(&info.payload).unwrap();
    let nanoseconds = info["data"]["expires"].as_i64().unwrap();
    assert!((590..=600).contains(&(nanoseconds / 1_000_000_000)), "{info} {decision}");
}

/// A leaf node with these credentials, until it is dropped.
async fn leaf(hub: &Pair, user: &str) -> NatsServer {
    let port = hub.server.leaf_port();
    NatsServer::start(&format!(
        "leafnodes {{ reconnect: 1, remotes: [ {{ url: \"nats-leaf://{user}:{user}@127.0.0.1:{port}\" }} ] }}"
    ))
    .await
}

#[tokio::test]
async fn leaf_node_needs_an_entry_for_leaf_nodes() {
    let users = json!({
        "alice": { "pass": "alice", "account": "APP" },
        "branch": { "pass": "branch", "account": "APP", "connection_types": ["leafnode"] },
    });
    let leafs = "leafnodes { listen: \"127.0.0.1:{{leaf_port}}\" }";
    let pair = Pair::builder(users).server_config(leafs).start().await;
    let mark = pair.gate.mark();
    let mut refused = leaf(&pair, "alice").await;
    refused.wait_for_log("Authorization Violation").await;
    let decision = pair.gate.decision(mark).await;
    assert_eq!(decision["reason"], "connection_type_not_allowed");
    assert_eq!(decision["connection"], "leafnode");
    has(decision["detail"].as_str().unwrap(), &["leafnode"]);
    drop(refused);

    let admitted = leaf(&pair, "branch").await;
    let alice = connect(&pair.server.url(), "alice", "alice").await.unwrap();
    let behind = async_nats::connect(admitted.url()).await.unwrap();
    let mut inbox = behind.subscribe("news").await.unwrap();
    // Interest is propagated asynchronously, so publish until it has arrived.
    eventually("a message through the leaf node", PATIENCE, async || {
        alice.client.publish("news", "hello".into()).await.unwrap();
        let wait = Duration::from_millis(100);
        tokio::time::timeout(wait, futures_util::StreamExt::next(&mut inbox)).await.ok()
    })
    .await;
}
