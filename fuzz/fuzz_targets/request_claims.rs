//! What is inside of a request, with a valid seal and signature around it: a hostile server, or a
//! client whose texts it passes on. `@ISSUER`, `@SERVER`, `@XKEY` and `@USER` stand for the keys.

#![no_main]

use std::sync::LazyLock;

use callgate::{Reply, record::Outcome};
use callgate_fuzz::{
    NOW,
    callout::{Gate, Keys},
};
use callgate_testkit::{CurveKey, Nkey, RequestBuilder, Response};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

struct World {
    sealed: Gate,
    plain: Gate,
    keys: Keys,
    server: Nkey,
    curve: CurveKey,
    user: String,
}

static WORLD: LazyLock<World> = LazyLock::new(|| World {
    sealed: Gate::new(true),
    plain: Gate::new(false),
    keys: Keys::golden(),
    server: Nkey::server(),
    curve: CurveKey::generate(),
    user: Nkey::user().public(),
});

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let world = &*WORLD;
    let text = text
        .replace("@ISSUER", &world.keys.issuer)
        .replace("@SERVER", &world.server.public())
        .replace("@XKEY", &world.curve.public())
        .replace("@USER", &world.user);
    let Ok(claims) = serde_json::from_str::<Value>(&text) else { return };
    let builder = RequestBuilder::new(&world.keys.issuer, NOW)
        .server(&world.server)
        .server_curve(&world.curve);
    let plain = builder.clone().mutate(|all| *all = claims.clone()).build();
    let sealed = builder.sealed_for(&world.keys.xkey).mutate(|all| *all = claims.clone()).build();
    for (callout, request) in [(&world.plain, plain), (&world.sealed, sealed)] {
        let (reply, decision) =
            callout.handle(&request.payload, request.xkey_header.as_deref(), NOW);
        no_secret_is_shown(&claims, &format!("{decision:?}"));
        let Reply::Answer(answer) = reply else { continue };
        // As a server would check it: audience, signer, and sealed if requested.
        let response = request.open_response(&answer);
        assert_eq!(claims["sub"], world.keys.issuer);
        assert_eq!(claims["aud"], "nats-authorization-request");
        assert_eq!(claims["iss"], world.server.public());
        assert_eq!(claims["nats"]["server_id"]["id"], world.server.public());
        match response {
            Response::Admitted(user) => {
                assert_eq!(decision.outcome(), Outcome::Admitted);
                assert_eq!(user["aud"], "APP");
                assert!(user["name"].as_str().is_some_and(|name| !name.is_empty()), "{user}");
                assert!(user["exp"].as_i64().is_some_and(|end| end > NOW), "{user}");
                assert_eq!(user["nats"]["sub"]["deny"][0], ">", "{user}");
            }
            Response::Refused(error) => {
                assert!(["authorization failed", "temporarily unavailable"].contains(&&*error));
            }
        }
    }
});

/// Secrets that stand nowhere else in the request do not stand in the record of the decision.
fn no_secret_is_shown(claims: &Value, record: &str) {
    for field in ["pass", "auth_token", "jwt"] {
        let mut rest = claims.clone();
        let options = rest.pointer_mut("/nats/connect_opts").and_then(Value::as_object_mut);
        let Some(options) = options else { return };
        let Some(Value::String(secret)) = options.get(field).cloned() else { continue };
        for secret in ["pass", "auth_token", "jwt"] {
            options.remove(secret);
        }
        let distinct = secret.len() >= 8
            && secret.bytes().all(|byte| byte.is_ascii_alphanumeric())
            && !record_without_secrets(&rest).contains(&secret);
        assert!(!distinct || !record.contains(&secret), "{field} is in {record}");
    }
}

/// Everything that a record may be made of.
fn record_without_secrets(rest: &Value) -> String {
    let texts = "Decision reason detail authenticator_took duration open_answer decide \
                 authorization temporarily unavailable panicked credential signature";
    format!("{rest} {texts}")
}
