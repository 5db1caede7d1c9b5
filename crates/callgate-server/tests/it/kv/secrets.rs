//! Secrets of entries appear in no output.

use serde_json::json;

use super::world::{OWNED, World, put_entry};
use crate::support::{Credential, callgate_in, connect_to, write_private};

/// Base32 of 20 bytes.
const SEED: &str = "CANARYCANARYCANARYCANARYCANARYCA";

#[tokio::test(flavor = "multi_thread")]
async fn secrets_of_entries_are_shown_nowhere() {
    let world = World::with(1, OWNED, "level = \"trace\"", &super::world::NEEDED).await;
    let bucket = world.create().await;
    let entry = |totp: serde_json::Value| json!({ "pass": "canary-password", "token": "canary-token", "account": "APP", "totp": totp });
    put_entry(&bucket, "alice", entry(json!({ "secret": SEED }))).await;
    // An invalid entry: the log names its error.
    put_entry(&bucket, "bob", entry(json!({ "secret": "canary-short" }))).await;
    let gate = world.gate().await;
    let url = world.servers.servers[0].url();
    for credential in [
        Credential::password("alice", "canary-password"),
        Credential::password("alice", "canary-wrong000000"),
        Credential::password("bob", "canary-password"),
        Credential::token("canary-token"),
    ] {
        drop(connect_to(&url, &credential).await);
    }
    write_private(&world.path("password"), "canary-password");
    let run = |arguments: &[&str]| {
        let configured = [arguments, &["--config", "callgate.toml"]].concat();
        callgate_in(world.folder.path(), &configured).text()
    };
    let explain = ["explain", "--user", "alice", "--password", "@password"];
    let texts = [
        run(&["check", "--connect"]),
        run(&[&explain[..], &["--why"]].concat()),
        run(&[&explain[..], &["--json"]].concat()),
        world.users(&["list"]).text(),
        world.users(&["show", "alice"]).text(),
        world.users(&["show", "bob"]).text(),
        gate.get("/metrics").await.1,
        gate.log(),
    ];
    for text in texts {
        let shown = text.to_lowercase().find("canary").map(|at| &text[at.saturating_sub(200)..]);
        assert!(shown.is_none(), "{shown:?}");
    }
}
