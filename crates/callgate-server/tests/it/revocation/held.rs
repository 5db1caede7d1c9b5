//! Changes that would end too many sessions.

use std::collections::BTreeMap;

use callgate_testkit::{Service, eventually, wait::PATIENCE};
use serde_json::{Map, Value};

use super::world::{World, connects, entry};
use crate::support::{CommandOutput, Session, callgate_in};

const HELD: &str = "callgate_revocations_held";
const REMOVED: &str = "callgate_revocations_total{cause=\"user_removed\"}";

/// The users `user0` and so on.
fn users(count: usize) -> Value {
    let users = (0..count).map(|number| (format!("user{number}"), entry("APP", &["a"])));
    Value::Object(users.collect::<Map<_, _>>())
}

fn revocations(world: &World, arguments: &[&str]) -> CommandOutput {
    let arguments = [&["revocations", "--config", "callgate.toml"], arguments].concat();
    callgate_in(world.folder.path(), &arguments)
}

/// A truncated file with 3 of 300 users, when 20 users are connected.
async fn truncated(world: &World) -> (Service, BTreeMap<String, Session>) {
    world.users(&users(300));
    let gate = world.gate().await;
    let names: Vec<String> = (0..20).map(|number| format!("user{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let clients = world.clients(&gate, &names).await;
    world.users(&users(3));
    gate.metric_reaches(HELD, 1.0).await;
    (gate, clients)
}

fn assert_connected(clients: &BTreeMap<String, Session>) {
    for (name, client) in clients {
        assert_eq!(connects(client), 1, "{name}");
    }
}

#[tokio::test]
async fn truncated_users_file_ends_no_session_and_is_held() {
    let world = World::start("").await;
    let (gate, clients) = truncated(&world).await;
    let listed = revocations(&world, &["--json"]);
    assert_eq!(listed.code, 0, "{}", listed.text());
    let held = listed.json()["held"].as_array().unwrap().clone();
    assert_eq!(held.len(), 1, "{held:?}");
    assert_eq!(held[0]["cause"], "user_removed");
    assert_eq!(held[0]["sessions"], 17);
    assert!((held[0]["share"].as_f64().unwrap() - 0.85).abs() < 1e-9, "{held:?}");
    let id = held[0]["id"].as_str().unwrap();
    let table = revocations(&world, &[]);
    assert!(
        table.stdout.contains(id) && table.stdout.contains("1 change held"),
        "{}",
        table.text()
    );
    assert_eq!(gate.metric(REMOVED).await, 0.0);
    assert_connected(&clients);
    assert_eq!(revocations(&world, &["--apply", "NOSUCHID00"]).code, 1);

    // The whole file again: nothing is held.
    world.users(&users(300));
    gate.metric_reaches(HELD, 0.0).await;
    assert_connected(&clients);
}

#[tokio::test]
async fn held_change_is_dropped_or_applied_by_its_id() {
    held_change_is_dropped_or_applied(&World::start("").await).await;
}

pub(super) async fn held_change_is_dropped_or_applied(world: &World) {
    let (gate, mut clients) = truncated(world).await;
    let id = |output: CommandOutput| {
        output.json()["held"][0]["id"].as_str().unwrap_or_default().to_owned()
    };
    let first = id(revocations(world, &["--json"]));
    let dropped = revocations(world, &["--drop", &first]);
    assert_eq!(dropped.code, 0, "{}", dropped.text());
    assert_eq!(gate.metric(HELD).await, 0.0);
    assert_connected(&clients);

    // A later change is evaluated afresh.
    world.users(&users(2));
    gate.metric_reaches(HELD, 1.0).await;
    let second = id(revocations(world, &["--json"]));
    let applied = revocations(world, &["--apply", &second]);
    assert_eq!(applied.code, 0, "{}", applied.text());
    assert!(applied.stdout.contains("kicked 18, already gone 0, failed 0"), "{}", applied.text());
    for number in 2..20 {
        clients.get_mut(&format!("user{number}")).unwrap().hears("disconnected").await;
    }
    assert_eq!(gate.metric(REMOVED).await, 18.0);
    assert_eq!(gate.metric(HELD).await, 0.0);
    for number in 0..2 {
        let client = &clients[&format!("user{number}")];
        assert_eq!(connects(client), 1);
    }
    eventually("an empty list", PATIENCE, async || {
        let held = revocations(world, &["--json"]).json()["held"].clone();
        (held == Value::Array(Vec::new())).then_some(())
    })
    .await;
}

/// Commands without the control socket ask the replicas.
#[tokio::test]
async fn held_change_is_decided_with_direct() {
    let mut world = World::start("").await;
    let without = revocations(&world, &["--direct"]);
    assert_eq!(without.code, 2, "{}", without.text());
    assert!(without.text().contains("through `[state]`"), "{}", without.text());
    world.state = Some("replicas = 1\nmax_stale = \"5s\"".to_owned());
    world.configure("");
    let (gate, mut clients) = truncated(&world).await;
    let listed = revocations(&world, &["--direct", "--json"]);
    assert_eq!(listed.code, 0, "{}", listed.text());
    let listed = listed.json();
    assert_eq!(listed["held"][0]["sessions"], 17, "{listed}");
    let id = listed["held"][0]["id"].as_str().unwrap();
    let applied = revocations(&world, &["--direct", "--apply", id]);
    assert_eq!(applied.code, 0, "{}", applied.text());
    clients.get_mut("user7").unwrap().hears("disconnected").await;
    assert_eq!(gate.metric(HELD).await, 0.0);
    drop(gate);
    let without = revocations(&world, &["--direct"]);
    assert_eq!(without.code, 2, "{}", without.text());
    assert!(without.text().contains("no running service answers"), "{}", without.text());
}
