//! Service tokens, minted by the command and accepted by the service.

use callgate_testkit::Nkey;
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};

use crate::support::{World, callgate, has, now};

fn config(keys: &[&Nkey]) -> String {
    let keys: Vec<String> = keys.iter().map(|key| key.public()).collect();
    format!(
        r#"
[[authenticators]]
name = "services"
[authenticators.service_tokens]
audience = "nats"
max_token_lifetime = "30m"
[[authenticators.service_tokens.services]]
public_keys = {keys:?}
user = "svc:llm-api"
account = "OTHER"
roles = ["worker"]
[roles.worker]
publish = ["jobs.>"]
subscribe = ["jobs.>"]
"#
    )
}

/// Returns the token that the command prints.
fn minted(world: &World, key: &Nkey, more: &[&str]) -> String {
    world.write("service.nk", &key.seed());
    let arguments =
        ["token", "--seed", "@service.nk", "--user", "svc:llm-api", "--audience", "nats"];
    let ran = callgate(world.folder(), &[&arguments[..], more].concat());
    assert_eq!(ran.code, 0, "{ran:?}");
    ran.stdout.trim_end().to_owned()
}

/// A token with these claims.
fn signed(key: &Nkey, claims: &Value) -> String {
    let part = |text: String| BASE64URL_NOPAD.encode(text.as_bytes());
    let header = json!({ "typ": "JWT", "alg": "EdDSA" });
    let signed = format!("{}.{}", part(header.to_string()), part(claims.to_string()));
    format!("{signed}.{}", BASE64URL_NOPAD.encode(&key.sign(signed.as_bytes())))
}

#[tokio::test]
async fn minted_token_admits_its_service() {
    let (old, new, account) = (Nkey::user(), Nkey::user(), Nkey::account());
    let world = World::of(&config(&[&old, &account])).start().await;
    let by_old = minted(&world, &old, &["--ttl", "15m"]);
    for token in [&by_old, &minted(&world, &account, &["--ttl", "30m"])] {
        let (mut session, decision) = world.admits(token).await;
        let reported = ["authenticator", "user", "account"].map(|name| decision[name].clone());
        assert_eq!(reported, ["services", "svc:llm-api", "OTHER"]);
        session.talks_to_itself_on("jobs.1").await;
        session.is_refused_to_publish("other.1").await;
    }
    // Key rotation: the new key beside the old one, then alone.
    let by_new = minted(&world, &new, &["--ttl", "15m"]);
    assert_eq!(world.refuses(&by_new).await.0, "bad_token");
    world.reload(&config(&[&old, &new])).await;
    world.admits(&by_old).await;
    world.admits(&by_new).await;
    world.reload(&config(&[&new])).await;
    world.admits(&by_new).await;
    assert_eq!(world.refuses(&by_old).await.0, "bad_token");
}

#[tokio::test]
async fn invalid_service_tokens_are_refused() {
    let (key, other) = (Nkey::user(), Nkey::user());
    let world = World::of(&config(&[&key])).start().await;
    let now = now();
    let good = json!({
        "sub": "svc:llm-api", "iss": key.public(), "iat": now, "exp": now + 60, "aud": "nats",
    });
    world.admits(&signed(&key, &good)).await;
    let cases = [
        (json!({ "iat": now - 60, "exp": now - 1 }), "token_expired"),
        (json!({ "exp": now + 1801 }), "token_lifetime"),
        (json!({ "sub": "svc:other" }), "bad_token"),
        (json!({ "aud": "elsewhere" }), "wrong_audience"),
        (json!({ "aud": null }), "wrong_audience"),
        (json!({ "iat": null }), "bad_token"),
        (json!({ "exp": null }), "bad_token"),
        (json!({ "iss": other.public() }), "bad_token"),
        (json!({ "iat": now + 600, "exp": now + 700 }), "bad_token"),
    ];
    for (changes, reason) in cases {
        let mut claims = good.clone();
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        let (got, detail) = world.refuses(&signed(&key, &claims)).await;
        assert_eq!(got, reason, "{changes}: {detail}");
    }
    assert_eq!(world.refuses(&signed(&other, &good)).await.0, "bad_token");
    assert_eq!(world.refuses(&minted(&world, &key, &["--ttl", "31m"])).await.0, "token_lifetime");
}

/// The claims count as proven only after the signature was verified.
#[tokio::test]
async fn refused_tokens_are_recorded_with_what_they_claim() {
    let (key, other) = (Nkey::user(), Nkey::user());
    let config = config(&[&key]) + "expires_after = \"1h\"\nsource = [\"203.0.113.0/24\"]\n";
    let world = World::of(&config).start().await;
    let now = now();
    let token = |signer: &Nkey, issuer: &Nkey, user: &str, audience: &str| {
        signed(
            signer,
            &json!({
                "sub": user, "iss": issuer.public(), "iat": now, "exp": now + 60, "aud": audience,
            }),
        )
    };
    let cases = [
        (
            "an unknown key",
            token(&other, &other, "svc:x", "nats"),
            "bad_token",
            "issuer",
            "claimed",
        ),
        ("a forgery", token(&other, &key, "svc:y", "nats"), "bad_token", "signature", "claimed"),
        ("another user", token(&key, &key, "svc:z", "nats"), "bad_token", "claims", "proven"),
        ("another audience", token(&key, &key, "svc:llm-api", "a"), "wrong_audience", "", "proven"),
        ("policy", token(&key, &key, "svc:llm-api", "nats"), "source_not_allowed", "", "proven"),
    ];
    for (what, token, reason, cause, mark) in cases {
        let claims = decoded(&token);
        let (session, record) = world.attempt(&token).await;
        assert!(session.is_none(), "{what}: {record}");
        assert_eq!(
            (&record["reason"], &record["cause"]),
            (&json!(reason), &json!(cause)),
            "{what}"
        );
        for (part, claim) in [("issuer", "iss"), ("user", "sub")] {
            assert_eq!(record[format!("{mark}_{part}")], claims[claim], "{what}: {record}");
            let other = if mark == "proven" { "claimed" } else { "proven" };
            assert_eq!(record.get(format!("{other}_{part}")), None, "{what}: {record}");
        }
    }
    let sample = "callgate_decisions_total{authenticator=\"services\",outcome=\"refused\",\
                  reason=\"bad_token\",cause=\"signature\"}";
    assert_eq!(world.gate.metric(sample).await, 1.0);
    let (_, unknown) = world.attempt(&token(&other, &other, "svc:x", "nats")).await;
    let detail = unknown["detail"].as_str().unwrap();
    has(detail, &[&other.public(), "not registered as the key of a service"]);
    // A token that names nothing leaves the fields out.
    let (_, opaque) = world.attempt("opaque").await;
    assert_eq!((&opaque["cause"], opaque.get("claimed_issuer")), (&json!("malformed"), None));
}

/// The claims of a token.
fn decoded(token: &str) -> Value {
    let claims = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&BASE64URL_NOPAD.decode(claims.as_bytes()).unwrap()).unwrap()
}

#[tokio::test]
async fn token_signing_key_must_not_be_a_login_key() {
    let key = Nkey::user();
    let users = format!(
        "[[authenticators]]\nname = \"staff\"\n[authenticators.users]\nfile = \"users.json\"\n\
         [[bindings]]\nauthenticator = \"staff\"\nroles = [\"worker\"]\n{}",
        config(&[&key])
    );
    let file = |key: &Nkey| json!({ "robot": { "nkey": key.public() } }).to_string();
    let world = World::of(&users).file("users.json", &file(&Nkey::user())).start().await;
    assert_eq!(world.check().0, 0, "{}", world.check().1);
    world.write("users.json", &file(&key));
    let (code, text) = world.check();
    assert_eq!(code, 2, "{text}");
    has(&text, &["robot", "nkey"]);
    // The service does not apply this file either.
    let failed = "callgate_config_reloads_total{result=\"failed\"}";
    world.gate.metric_reaches(failed, 1.0).await;
    world.admits(&minted(&world, &key, &["--ttl", "5m"])).await;
}
