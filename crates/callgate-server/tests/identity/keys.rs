//! Key rotation, key removal, and unavailable or slow providers.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use callgate_testkit::{
    OidcProvider, eventually,
    oidc_provider::{DISCOVERY, KEYS, Misbehavior, SigningKey},
    service::Launch,
    wait::{LONG, PATIENCE},
};
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::{CALLGATE, World, has, now};

with_each_provider![
    a_rotation_while_clients_connect_refuses_no_good_client,
    a_retired_key_ends_its_tokens_also_remembered_ones,
    a_provider_that_is_down_at_start_is_waited_for_by_its_address,
    keys_that_were_fetched_serve_while_the_provider_is_down,
    saved_keys_serve_after_a_restart_while_the_provider_is_down,
    a_slow_provider_is_bounded_by_the_deadline_and_slows_nobody_else,
];

/// The provider's tokens, preceded by a user with a static token.
fn config(provider: &OidcProvider, common: &str, oidc: &str) -> String {
    let issuer = provider.issuer();
    format!(
        r#"
[[authenticators]]
name = "staff"
[authenticators.users]
file = "users.json"
[[authenticators]]
name = "sso"
{common}
[authenticators.oidc]
issuer = "{issuer}"
insecure_http = true
audience = ["nats"]
{oidc}
[[bindings]]
authenticator = "sso"
roles = ["all"]
[roles.all]
publish = [">"]
"#
    )
}

const USERS: &str = r#"{ "bob": { "token": "bobs-own-token" } }"#;

async fn world(provider: &OidcProvider) -> World {
    World::of(&config(provider, "", "")).file("users.json", USERS).start().await
}

fn key_of(token: &str) -> String {
    let header = token.split('.').next().unwrap();
    let header = data_encoding::BASE64URL_NOPAD.decode(header.as_bytes()).unwrap();
    let header: Value = serde_json::from_slice(&header).unwrap();
    header["kid"].as_str().unwrap().to_owned()
}

async fn a_rotation_while_clients_connect_refuses_no_good_client(provider: OidcProvider) {
    const CLIENTS: usize = 4;
    let world = world(&provider).await;
    let (by_old_key, by_new_key) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let rotated = AtomicBool::new(false);
    let clients = (0..CLIENTS).map(async |client| {
        // Until each client has connected often enough with both keys.
        let mut rounds = 0;
        while by_new_key.load(Ordering::SeqCst) < 5 * CLIENTS {
            let token = provider.mint("ES256", json!({ "sub": format!("client {client}") })).await;
            let counter = if key_of(&token).ends_with("-1") { &by_old_key } else { &by_new_key };
            let (session, decision) = world.attempt(&token).await;
            assert!(session.is_some(), "a good client was refused: {decision}");
            counter.fetch_add(1, Ordering::SeqCst);
            rounds += 1;
            if rounds == 5 && !rotated.swap(true, Ordering::SeqCst) {
                provider.rotate().await;
            }
        }
    });
    join_all(clients).await;
    assert!(by_old_key.load(Ordering::SeqCst) >= 5);
    // One fetch at start, and one for all clients with the new key.
    assert_eq!(provider.front().asked(KEYS), 2);
    assert_eq!(provider.front().asked(DISCOVERY), 1);
}

async fn a_retired_key_ends_its_tokens_also_remembered_ones(provider: OidcProvider) {
    let world = world(&provider).await;
    let (old, unseen) =
        (provider.mint("ES256", json!({})).await, provider.mint("RS256", json!({})).await);
    world.admits(&old).await;
    world.admits(&old).await;
    let remembered = "callgate_token_signatures_total{authenticator=\"sso\",result=\"remembered\"}";
    assert_eq!(world.gate.metric(remembered).await, 1.0);
    provider.rotate().await;
    provider.retire().await;
    // The unknown key triggers a fetch.
    world.admits(&provider.mint("ES256", json!({})).await).await;
    for token in [old, unseen] {
        let (reason, detail) = world.refuses(&token).await;
        assert_eq!(reason, "bad_token");
        has(&detail, &["the issuer has no key", &key_of(&token)]);
    }
}

async fn a_provider_that_is_down_at_start_is_waited_for_by_its_address(mut provider: OidcProvider) {
    provider.front_mut().go_down().await;
    let config = config(&provider, "", "");
    let world = World::of(&config).file("users.json", USERS).not_ready().start().await;
    let address = format!("{}{DISCOVERY}", provider.issuer());
    let words = ["an authenticator's source has not loaded", "sso", &address, "onnection refused"];
    let line = world.gate.line(0, &words).await;
    has(&line, &["\"level\":\"WARN\""]);
    let why = world.gate.not_ready().await;
    has(&why, &["sso", &address, "onnection refused"]);
    provider.front_mut().come_up().await;
    world.gate.ready().await;
    world.admits(&provider.mint("EdDSA", json!({})).await).await;
}

async fn keys_that_were_fetched_serve_while_the_provider_is_down(mut provider: OidcProvider) {
    let world = world(&provider).await;
    let (first, second) =
        (provider.mint("PS256", json!({})).await, provider.mint("RS256", json!({})).await);
    world.admits(&first).await;
    provider.rotate().await;
    let by_new_key = provider.mint("RS256", json!({})).await;
    provider.front_mut().go_down().await;
    // The key cannot be looked up, so the token cannot be called invalid.
    let (reason, detail) = world.refuses(&by_new_key).await;
    assert_eq!(reason, "backend_unavailable");
    has(&detail, &["RS256-2", provider.issuer(), "onnection refused"]);
    world.gate.line(0, &["keys were not refreshed", "\"old_keys_kept\":true"]).await;
    world.server_says("temporarily unavailable").await;
    world.admits(&second).await;
    world.admits(&first).await;
    world.admits("bobs-own-token").await;
    assert_eq!(world.gate.get("/readyz").await.0, 200);
    let failed = "callgate_jwks_refresh_total{authenticator=\"sso\",result=\"failed\"}";
    assert_eq!(world.gate.metric(failed).await, 1.0);
}

async fn saved_keys_serve_after_a_restart_while_the_provider_is_down(mut provider: OidcProvider) {
    let mut world = world(&provider).await;
    let token = provider.mint("RS256", json!({})).await;
    world.admits(&token).await;
    provider.front_mut().go_down().await;
    world.restart().await;
    world.gate.ready().await;
    world.admits("bobs-own-token").await;
    world.admits(&token).await;
    let log = ["keys that an earlier process fetched are in force", "\"age_seconds\":"];
    world.gate.line(0, &log).await;
    let remark = "sso: the keys of";
    let (status, text) = world.gate.get("/readyz").await;
    assert_eq!(status, 200);
    has(&text, &["ready\n", remark, "were fetched 0 h 0 min ago by an earlier process"]);
    world.write("token", &token);
    let explain = ["explain", "--config", "callgate.toml", "--token", "@token"];
    let explained = callgate_testkit::service::run(
        &mut callgate_testkit::service::command(CALLGATE, world.folder(), &explain),
        b"",
    );
    assert_eq!(explained.code, 0, "{explained:?}");
    has(&explained.stderr, &["note: ", remark, "by an earlier process"]);

    // A file that was changed is not used: only this provider's users are refused.
    world.gate.terminate().await;
    for file in std::fs::read_dir(world.folder().join("state")).unwrap() {
        let path = file.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replace("\"fetched\":1", "\"fetched\":2")).unwrap();
    }
    world.gate = callgate_testkit::Service::start(world.folder(), &Launch::of(CALLGATE)).await;
    let refused = ["saved keys are not used", "was changed", "\"level\":\"ERROR\""];
    world.gate.line(0, &refused).await;
    eventually("the provider to be named", PATIENCE, async || {
        world.gate.not_ready().await.contains("sso").then_some(())
    })
    .await;
    provider.front_mut().come_up().await;
    world.gate.ready().await;
    world.admits(&token).await;
    assert_eq!(world.gate.get("/readyz").await.1, "ready\n");
}

async fn a_slow_provider_is_bounded_by_the_deadline_and_slows_nobody_else(provider: OidcProvider) {
    // The server waits longer than the provider takes, so only Callgate's time limits apply.
    let config = config(&provider, "timeout = \"1500ms\"", "");
    let world = World::of(&config).file("users.json", USERS).server_timeout(20).start().await;
    let known = provider.mint("ES256", json!({})).await;
    provider.rotate().await;
    provider.front().misbehave(KEYS, Misbehavior::Held);
    let by_new_key = provider.mint("ES256", json!({})).await;
    let slow = async {
        let answer = world.refuses(&by_new_key).await;
        (answer, world.gate.log().len())
    };
    let others = async {
        provider.front().asked_reaches(KEYS, 2).await;
        // The slow login is waiting; these are not.
        world.admits("bobs-own-token").await;
        world.admits(&known).await;
        world.gate.log()
    };
    let (((reason, _), _), log) = tokio::join!(slow, others);
    assert_eq!(reason, "backend_unavailable");
    assert!(!log.contains("backend_unavailable"), "the others waited for the slow one: {log}");
    world.server_says("temporarily unavailable").await;
    // A late answer is still used.
    provider.front().behave();
    world
        .gate
        .metric_reaches("callgate_jwks_refresh_total{authenticator=\"sso\",result=\"ok\"}", 2.0)
        .await;
    world.admits(&by_new_key).await;
    assert_eq!(provider.front().asked(KEYS), 2);
}

/// The server no longer reads an answer after its timeout, whatever timeout the authenticator has.
#[tokio::test]
async fn slow_provider_is_abandoned_before_server_timeout() {
    let provider = OidcProvider::stand_in().await;
    let config = config(&provider, "timeout = \"60s\"", "");
    let world = World::of(&config).file("users.json", USERS).server_timeout(1).start().await;
    provider.rotate().await;
    provider.front().misbehave(KEYS, Misbehavior::Held);
    let by_new_key = provider.mint("ES256", json!({})).await;
    // If the machine stalls around the deadline, the request is in fact too late.
    let refused = eventually("a refusal in time", LONG, async || {
        let (session, decision) = world.attempt(&by_new_key).await;
        assert!(session.is_none(), "let in: {decision}");
        (decision["reason"] == "backend_unavailable").then_some(decision)
    });
    has(&refused.await["detail"].to_string(), &["no answer before the server's deadline"]);
    world.server_says("temporarily unavailable").await;
}

#[tokio::test]
async fn logins_waiting_for_a_new_key_share_one_fetch() {
    let provider = OidcProvider::stand_in().await;
    let config = config(&provider, "timeout = \"15s\"", "");
    let world = World::of(&config).file("users.json", USERS).server_timeout(20).start().await;
    provider.rotate().await;
    provider.front().misbehave(KEYS, Misbehavior::Held);
    let tokens: Vec<String> = join_all(
        (0..20).map(|number| provider.mint("ES256", json!({ "sub": format!("client {number}") }))),
    )
    .await;
    let clients = join_all(tokens.iter().map(|token| world.admits(token)));
    let release = async {
        provider.front().asked_reaches(KEYS, 2).await;
        let at_work = "callgate_in_flight";
        world.gate.metric_reaches(at_work, 20.0).await;
        provider.front().behave();
    };
    tokio::join!(clients, release);
    assert_eq!(provider.front().asked(KEYS), 2);
}

#[tokio::test]
async fn unavailable_optional_provider_delays_no_other_login() {
    let mut provider = OidcProvider::stand_in().await;
    provider.front_mut().go_down().await;
    let world = World::of(&config(&provider, "required = false", ""));
    let world = world.file("users.json", USERS).start().await;
    world.admits("bobs-own-token").await;
    let token = provider.mint("ES256", json!({})).await;
    let (reason, detail) = world.refuses(&token).await;
    assert_eq!(reason, "backend_unavailable");
    has(&detail, &[provider.issuer()]);
    provider.front_mut().come_up().await;
    let fetched = "callgate_jwks_refresh_total{authenticator=\"sso\",result=\"ok\"}";
    world.gate.metric_reaches(fetched, 1.0).await;
    world.admits(&token).await;
}

#[tokio::test]
async fn changed_key_set_file_is_reloaded() {
    let provider = OidcProvider::stand_in().await;
    let [old, new] = ["old", "new"].map(|id| SigningKey::generate(id, "EdDSA"));
    let set = |key: &SigningKey| json!({ "keys": [key.jwk()] }).to_string();
    let config = config(&provider, "", "jwks_file = \"keys.json\"");
    let world = World::of(&config).file("users.json", USERS).file("keys.json", &set(&old));
    let world = world.start().await;
    let refresh = "callgate_jwks_refresh_total{authenticator=\"sso\",result=";
    let signatures = "callgate_token_signatures_total{authenticator=\"sso\",result=";
    world.gate.metric_reaches(&format!("{refresh}\"ok\"}}"), 1.0).await;
    let (_, metrics) = world.gate.get("/metrics").await;
    has(&metrics, &[&format!("{refresh}\"failed\"}} 0"), &format!("{signatures}\"checked\"}} 0")]);
    let claims = json!({
        "iss": provider.issuer(), "aud": "nats", "sub": "a", "exp": now() + 600,
    });
    world.admits(&old.token(&claims)).await;
    assert_eq!(world.refuses(&new.token(&claims)).await.0, "bad_token");
    world.write("keys.json", &set(&new));
    eventually("a client with the new key", PATIENCE, async || {
        world.attempt(&new.token(&claims)).await.0
    })
    .await;
    assert_eq!(world.refuses(&old.token(&claims)).await.0, "bad_token");
    // An invalid file is logged and changes nothing.
    world.write("keys.json", "{");
    world.gate.line(0, &["keys were not refreshed", "keys.json", "\"old_keys_kept\":true"]).await;
    world.admits(&new.token(&claims)).await;
    assert_eq!(world.gate.metric(&format!("{refresh}\"ok\"}}")).await, 2.0);
    assert_eq!(provider.front().asked(KEYS) + provider.front().asked(DISCOVERY), 0);
}
