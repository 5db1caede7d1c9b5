//! `callgate explain` with users in a bucket.

use callgate_testkit::{ports::free_port, service::CommandOutput};
use serde_json::json;

use super::world::{OWNED, World, put, put_entry};
use crate::support::{callgate_in, has, write_private};

fn explain(world: &World, more: &[&str]) -> CommandOutput {
    let arguments = [&["explain", "--config", "callgate.toml"], more].concat();
    callgate_in(world.folder.path(), &arguments)
}

#[tokio::test]
async fn explain_reads_the_users_of_a_bucket() {
    let world = World::start(OWNED).await;
    let bucket = world.create().await;
    put(&bucket, "alice").await;
    put_entry(&bucket, "bob", json!({ "pass": "bob", "account": "OTHER" })).await;
    write_private(&world.path("alice"), "alice");
    let login = ["--user", "alice", "--password", "@alice", "--json"];
    let admitted = explain(&world, &login);
    assert_eq!(admitted.code, 0, "{admitted:?}");
    assert_eq!(admitted.json()["account"], "APP");
    let wrong = explain(&world, &["--user", "bob", "--password", "@alice", "--json"]);
    assert_eq!(wrong.json()["reason"], "bad_password", "{wrong:?}");
    let named = explain(&world, &["--as", "people/bob", "--json"]);
    assert_eq!(named.json()["account"], "OTHER", "{named:?}");
    let holders = explain(&world, &["--who", "pub:news"]);
    has(&holders.stdout, &["people/alice", "in APP", "people/bob", "in OTHER"]);
}

#[tokio::test]
async fn explain_without_a_connection_finds_the_bucket_unavailable() {
    let world = World::start(OWNED).await;
    put(&world.create().await, "alice").await;
    write_private(&world.path("alice"), "alice");
    let unreachable = format!("nats://127.0.0.1:{}", free_port());
    let login = ["--user", "alice", "--password", "@alice", "--json"];
    let failed = explain(&world, &[&login[..], &["--nats-url", &unreachable]].concat());
    assert_eq!(failed.json()["reason"], "backend_unavailable", "{failed:?}");
    has(&failed.stderr, &["warning: nats: ", "authenticators that need this connection"]);
    let offline = explain(&world, &[&login[..], &["--offline"]].concat());
    assert_eq!(offline.json()["reason"], "backend_unavailable", "{offline:?}");
    assert!(!offline.stderr.contains("warning: nats: "), "{offline:?}");
}
