//! One-time codes of entries in a bucket, used once among all replicas.

use callgate_testkit::{Service, totp::fresh_code};
use serde_json::{Value, json};

use super::world::{NEEDED, OWNED, World, put_entry};
use crate::support::{Credential, callgate_in, connect_to, write_private};

/// 20 bytes, and the same in base32.
const SECRET: &[u8] = b"12345678901234567890";
const BASE32: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";

/// What the bucket of used codes needs besides.
const CODES: [&str; 6] = [
    "$JS.API.INFO",
    "$JS.API.STREAM.INFO.KV_codes",
    "$JS.API.STREAM.CREATE.KV_codes",
    "$JS.API.STREAM.MSG.GET.KV_codes",
    "$JS.API.DIRECT.GET.KV_codes.>",
    "$KV.codes.>",
];

async fn world(permitted: &[&str]) -> World {
    let kv = format!("{OWNED}\n[authenticators.second_factor]\nreplay_bucket = \"codes\"");
    let world = World::with(1, &kv, "", &[&NEEDED, permitted].concat()).await;
    let bucket = world.create().await;
    let totp = json!({ "secret": BASE32 });
    put_entry(&bucket, "alice", json!({ "pass": "pw", "account": "APP", "totp": totp })).await;
    world
}

async fn log_in(world: &World, replica: &Service, sent: &str) -> Value {
    let mark = replica.mark();
    // The decision counts: a server that waits long sends a `PING`, which the client takes for success.
    drop(connect_to(&world.servers.servers[0].url(), &Credential::password("alice", sent)).await);
    replica.decision(mark).await
}

#[tokio::test]
async fn totp_code_counts_once_among_replicas() {
    let world = world(&CODES).await;
    let mut first = world.gate().await;
    assert_eq!(log_in(&world, &first, "pw").await["reason"], "bad_second_factor");
    let sent = format!("pw{}", fresh_code(SECRET).await);
    assert_eq!(log_in(&world, &first, &sent).await["outcome"], "admitted");
    let again = log_in(&world, &first, &sent).await;
    assert_eq!(again["reason"], "bad_second_factor", "{again}");
    let counted = "callgate_second_factor_total{authenticator=\"people\",result=\"replayed\"}";
    assert_eq!(first.metric(counted).await, 1.0);
    // A replica that has never seen the code, started after the first one has ended.
    first.terminate().await;
    let second = world.gate().await;
    let elsewhere = log_in(&world, &second, &sent).await;
    assert_eq!(elsewhere["reason"], "bad_second_factor", "{elsewhere}");
    assert!(elsewhere["detail"].as_str().unwrap().contains("used already"), "{elsewhere}");
}

#[tokio::test]
async fn unreachable_bucket_of_used_codes_refuses() {
    let world = world(&[]).await;
    let replica = world.gate().await;
    let sent = format!("pw{}", fresh_code(SECRET).await);
    let decision = log_in(&world, &replica, &sent).await;
    assert_eq!(decision["reason"], "backend_unavailable", "{decision}");
}

#[tokio::test]
async fn explained_code_is_not_used_up() {
    let world = world(&CODES).await;
    let replica = world.gate().await;
    let sent = format!("pw{}", fresh_code(SECRET).await);
    write_private(&world.path("sent"), &sent);
    let explain = || {
        let login = ["--user", "alice", "--password", "@sent", "--json"];
        let arguments = [&["explain", "--config", "callgate.toml"][..], &login].concat();
        callgate_in(world.folder.path(), &arguments)
    };
    for _ in 0..2 {
        let explained = explain();
        assert_eq!(explained.json()["outcome"], "admitted", "{explained:?}");
    }
    assert!(world.admin.get_key_value("codes").await.is_err(), "explain created the bucket");
    assert_eq!(log_in(&world, &replica, &sent).await["outcome"], "admitted");
    let used = explain();
    assert_eq!(used.json()["reason"], "bad_second_factor", "{used:?}");
    assert!(used.json()["detail"].as_str().unwrap().contains("used already"), "{used:?}");
}
