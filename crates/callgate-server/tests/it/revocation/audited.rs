//! Changes that end sessions in the audit.

use std::collections::BTreeMap;

use callgate_testkit::Service;
use serde_json::{Map, Value, json};

use super::world::{World, entry};
use crate::{
    audit::support::{record, records},
    support::{Session, callgate_in},
};

fn users(count: usize) -> Value {
    let users = (0..count).map(|number| (format!("user{number}"), entry("APP", &["a"])));
    Value::Object(users.collect::<Map<_, _>>())
}

/// Twenty connected users, and an audit.
async fn started() -> (World, Service, BTreeMap<String, Session>) {
    let mut world = World::start("").await;
    world.configure("[[audit.sinks]]\nfile = \"audit.jsonl\"");
    world.users(&users(30));
    let gate = world.gate().await;
    let names: Vec<String> = (0..20).map(|number| format!("user{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let clients = world.clients(&gate, &names).await;
    (world, gate, clients)
}

#[tokio::test]
async fn ended_sessions_are_recorded_with_the_change_and_its_cause() {
    let (world, _gate, _clients) = started().await;
    let audit = world.folder.path().join("audit.jsonl");
    world.users(&users(18));
    let ended = json!({ "type": "revocation", "cause": "user_removed", "result": "ended" });
    let ended = record(&audit, ended).await;
    assert_eq!(ended["sessions"], 2, "{ended}");
    assert_eq!(ended["id"].as_str().unwrap().len(), 10, "{ended}");
    assert!(ended["actor"].is_null(), "{ended}");
    for user in ["user18", "user19"] {
        let kick = record(&audit, json!({ "type": "kick", "user": user })).await;
        assert_eq!((&kick["cause"], &kick["result"]), (&json!("user_removed"), &json!("kicked")));
        let end = record(&audit, json!({ "type": "session_end", "user": user })).await;
        assert_eq!(end["cause"], "user_removed", "{end}");
    }
}

#[tokio::test]
async fn held_change_and_the_decision_about_it_are_recorded() {
    let (world, _gate, _clients) = started().await;
    let audit = world.folder.path().join("audit.jsonl");
    let held = async |count: usize| {
        world.users(&users(count));
        let sessions = 20 - count;
        let held = json!({ "type": "revocation", "result": "held", "sessions": sessions });
        record(&audit, held).await["id"].as_str().unwrap().to_owned()
    };
    let rule = |arguments: &[&str]| {
        let base = ["revocations", "--config", "callgate.toml", "--as", "night shift"];
        let ran = callgate_in(world.folder.path(), &[&base[..], arguments].concat());
        assert_eq!(ran.code, 0, "{}", ran.text());
    };
    let first = held(4).await;
    world.users(&users(30));
    record(&audit, json!({ "type": "revocation", "result": "withdrawn", "id": first })).await;

    let second = held(3).await;
    rule(&["--drop", &second]);
    let dropped = json!({ "type": "revocation", "result": "dropped", "id": second });
    let dropped = record(&audit, dropped).await;
    assert_eq!((&dropped["via"], &dropped["sessions"]), (&json!("socket"), &json!(17)));
    assert!(dropped["actor"].as_str().unwrap().contains("night shift"), "{dropped}");

    let third = held(2).await;
    rule(&["--apply", &third]);
    let applied = json!({ "type": "revocation", "result": "applied", "id": third });
    record(&audit, applied).await;
    let end = record(&audit, json!({ "type": "session_end", "user": "user19" })).await;
    assert_eq!(end["cause"], "user_removed", "{end}");
    let kicks = |record: &&Value| record["type"] == "kick" && record["result"] == "kicked";
    assert_eq!(records(&audit).iter().filter(kicks).count(), 18);
}
