//! Records of sessions and orders in the audit.

use serde_json::json;

use super::world::World;
use crate::audit::support::{record, records};

#[tokio::test]
async fn sessions_and_orders_are_in_the_audit() {
    let world = World::start().await;
    let audit = world.path(0, "audit.jsonl");
    let mut alice = world.login("alice").await;
    let listed = world.sessions(1, &["--user", "alice"]).await;
    let client_id = &listed[0]["client_id"];
    let start = record(&audit, json!({ "type": "session_start", "client_id": client_id })).await;
    assert_eq!((&start["user"], &start["account"]), (&json!("alice"), &json!("APP")), "{start}");

    world.json(
        0,
        &["kick", "--user", "alice", "--reason", "new role", "--as", "night shift", "--yes"],
    );
    alice.hears("disconnected").await;
    let kick = record(&audit, json!({ "type": "kick", "client_id": client_id })).await;
    assert_eq!((&kick["cause"], &kick["result"]), (&json!("kick"), &json!("kicked")), "{kick}");
    assert_eq!((&kick["reason"], &kick["via"]), (&json!("new role"), &json!("socket")), "{kick}");
    assert!(kick["actor"].as_str().unwrap().contains("claims to be `night shift`"), "{kick}");

    let lock = ["lock", "--user", "alice", "--reason", "laptop stolen", "--ttl", "1h", "--yes"];
    let locked = world.json(0, &lock);
    let id = locked["id"].as_str().unwrap();
    let stored = record(&audit, json!({ "type": "lock", "lock": id })).await;
    assert_eq!(stored["target"], json!({ "user": "alice" }), "{stored}");
    assert_eq!(stored["reason"], "laptop stolen", "{stored}");
    assert!(stored["until"].is_string(), "{stored}");
    let refused = json!({ "type": "decision", "reason": "locked", "lock": id });
    assert!(!world.admits(0, "alice").await);
    record(&audit, refused).await;

    assert_eq!(world.run(&["unlock", id]).code, 0);
    record(&audit, json!({ "type": "unlock", "lock": id })).await;
    let bob = world.login("bob").await;
    world.sessions(1, &["--user", "bob"]).await;
    drop(bob);
    let end = record(&audit, json!({ "type": "session_end", "user": "bob" })).await;
    assert!(end["reason"].is_string() && end["in_bytes"].is_u64(), "{end}");
    let seals_and_records = records(&audit);
    assert!(seals_and_records.len() > 8, "{seals_and_records:?}");
}
