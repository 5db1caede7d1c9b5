//! Several replicas.

use std::time::Duration;

use async_nats::connection::State;
use callgate_testkit::{eventually, wait::LONG};
use serde_json::json;
use tokio::time::sleep;

use super::world::{World, entry, write_users};

#[tokio::test]
async fn three_replicas_end_their_sessions_and_those_of_a_dead_one() {
    let mut world = World::with(3, "").await;
    world.state = Some("max_stale = \"5s\"".to_owned());
    world.configure("");
    let names: Vec<String> = (0..9).map(|number| format!("user{number}")).collect();
    let all = names.iter().map(|name| (name.clone(), entry("APP", &["a"])));
    world.users(&serde_json::Value::Object(all.collect()));
    let folders: Vec<_> = (0..3).map(|_| world.copy()).collect();
    let mut gates = Vec::new();
    for folder in &folders {
        gates.push(world.gate_in(folder.path()).await);
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let clients = world.clients(&gates[0], &names).await;
    // Peers learn of sessions in batches. What is admitted just before a replica is killed, they never know.
    sleep(Duration::from_secs(2)).await;
    // Killed: its sessions are on the others' tables.
    drop(gates.remove(0));
    for folder in &folders[1..] {
        write_users(folder.path(), &json!({}));
    }
    for (name, client) in &clients {
        eventually(&format!("the end of {name}"), LONG, async || {
            (client.client.connection_state() != State::Connected).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn replicas_with_different_files_warn_each_other() {
    let mut world = World::start("").await;
    world.state = Some("replicas = 1\nmax_stale = \"5s\"".to_owned());
    world.configure("");
    let folders = [world.copy(), world.copy()];
    write_users(folders[1].path(), &json!({ "bob": entry("APP", &["a"]) }));
    let first = world.gate_in(folders[0].path()).await;
    let second = world.gate_in(folders[1].path()).await;
    for gate in [&first, &second] {
        gate.says(0, "configurations differ").await;
    }
    write_users(folders[0].path(), &json!({ "bob": entry("APP", &["a"]) }));
    for gate in [&first, &second] {
        gate.says(0, "configurations agree again").await;
    }
}
