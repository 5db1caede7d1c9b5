//! Changes that end live sessions, with real servers and clients.

mod audited;
mod everywhere;
mod held;
mod replicas;
mod sources;
mod world;

use callgate_testkit::{eventually, wait::PATIENCE};
use serde_json::json;

use crate::support::callgate_in;
use world::{World, connects, entry};

#[tokio::test]
async fn users_file_ends_exactly_the_sessions_that_lost_something() {
    users_file_ends_sessions(&World::start("").await).await;
}

async fn users_file_ends_sessions(world: &World) {
    let publish = |subjects: &[&str]| entry("APP", subjects);
    let users = |changes: serde_json::Value| {
        let mut users = json!({
            "removed": publish(&["a"]), "disabled": publish(&["a"]), "expired": publish(&["a"]),
            "password": publish(&["a"]), "smaller": publish(&["foo.>"]), "moved": publish(&["a"]),
            "wider": publish(&["foo.>"]), "same": publish(&["a"]),
        });
        for (user, entry) in changes.as_object().unwrap() {
            match entry.is_null() {
                true => drop(users.as_object_mut().unwrap().remove(user)),
                false => users[user] = entry.clone(),
            }
        }
        users
    };
    world.users(&users(json!({})));
    let gate = world.gate().await;
    let names = ["removed", "disabled", "expired", "password", "smaller", "moved", "wider", "same"];
    let mut clients = world.clients(&gate, &names).await;

    let with = |key: &str, value: serde_json::Value| {
        let mut entry = publish(&["a"]);
        entry[key] = value;
        entry
    };
    world.users(&users(json!({
        "removed": null,
        "disabled": with("disabled", json!(true)),
        "expired": with("expires", json!("2001-01-01T00:00:00Z")),
        "password": with("pass", json!("another")),
        "smaller": publish(&["foo.*"]),
        "moved": entry("OTHER", &["a"]),
        "wider": publish(&["foo.*", "foo.>", "bar"]),
    })));
    for (cause, count) in [
        ("user_removed", 1.0),
        ("user_disabled", 1.0),
        ("user_expired", 1.0),
        ("credential_changed", 1.0),
        ("grant_smaller", 2.0),
    ] {
        let sample = format!("callgate_revocations_total{{cause=\"{cause}\"}}");
        gate.metric_reaches(&sample, count).await;
    }
    for name in &names[..6] {
        clients.get_mut(*name).unwrap().hears("disconnected").await;
    }
    for name in &names[6..] {
        assert_eq!(connects(&clients[*name]), 1, "{name}");
    }
    // Those who may come back are decided about again.
    eventually("a new decision", PATIENCE, async || {
        (connects(&clients["smaller"]) == 2).then_some(())
    })
    .await;
}

#[tokio::test]
async fn gain_ends_no_session_but_a_loss_does() {
    only_a_loss_ends_sessions(&mut World::start("").await).await;
}

async fn only_a_loss_ends_sessions(world: &mut World) {
    world.users(&json!({
        "al": { "pass": "x", "account": "APP", "roles": ["gains"] },
        "bo": { "pass": "x", "account": "APP", "roles": ["loses"] },
    }));
    world.configure("[roles.gains]\npublish = [\"foo.>\"]\n[roles.loses]\npublish = [\"foo.>\"]");
    let gate = world.gate().await;
    let mut clients = world.clients(&gate, &["al", "bo"]).await;
    world.configure(
        "[roles.gains]\npublish = [\"foo.>\", \"foo.*\", \"bar\"]\n[roles.loses]\npublish = [\"foo.*\"]",
    );
    clients.get_mut("bo").unwrap().hears("disconnected").await;
    gate.metric_reaches("callgate_revocations_total{cause=\"grant_smaller\"}", 1.0).await;
    assert_eq!(connects(&clients["al"]), 1);
}

#[tokio::test]
async fn authenticator_and_account_that_are_gone_end_their_sessions() {
    let mut world = World::start("").await;
    world.users(&json!({ "al": entry("APP", &["a"]), "bo": entry("OTHER", &["a"]) }));
    let accounts = |names: &[&str]| -> String {
        names.iter().map(|name| format!("[[accounts]]\nname = \"{name}\"\n")).collect()
    };
    world.configure(&accounts(&["APP", "OTHER"]));
    let gate = world.gate().await;
    let mut clients = world.clients(&gate, &["al", "bo"]).await;
    world.configure(&accounts(&["APP"]));
    clients.get_mut("bo").unwrap().hears("disconnected").await;
    gate.metric_reaches("callgate_revocations_total{cause=\"account_removed\"}", 1.0).await;
    assert_eq!(connects(&clients["al"]), 1);
    world.authenticator = "people".to_owned();
    world.configure(&accounts(&["APP"]));
    clients.get_mut("al").unwrap().hears("disconnected").await;
    gate.metric_reaches("callgate_revocations_total{cause=\"authenticator_removed\"}", 1.0).await;
}

#[tokio::test]
async fn mode_off_ends_no_session() {
    let mut world = World::start("mode = \"off\"").await;
    world.users(&json!({ "al": entry("APP", &["a"]), "bo": entry("APP", &["a"]) }));
    let gate = world.gate().await;
    let clients = world.clients(&gate, &["al", "bo"]).await;
    let mark = gate.mark();
    world.users(&json!({ "al": entry("APP", &["a"]) }));
    gate.says(mark, "removed or disabled").await;
    // Nothing was kept of these decisions, so a mode that ends sessions leaves them alone, too.
    let mark = gate.mark();
    world.revocation = "mode = \"changed\"".to_owned();
    world.configure("");
    gate.says(mark, "live sessions are evaluated again").await;
    let mut carol = json!({ "al": entry("APP", &["a"]), "carol": entry("APP", &["a"]) });
    world.users(&carol);
    gate.says(mark, "the changed file is in force").await;
    let mut later = world.clients(&gate, &["carol"]).await;
    carol.as_object_mut().unwrap().remove("carol");
    world.users(&carol);
    later.get_mut("carol").unwrap().hears("disconnected").await;
    for (name, client) in &clients {
        assert_eq!(connects(client), 1, "{name}");
    }
}

#[test]
fn ending_sessions_needs_the_system_account() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("callgate.toml"),
        "[nats]\nservers = \"nats://127.0.0.1\"\n[revocation]\nmode = \"changed\"\n",
    )
    .unwrap();
    let checked = callgate_in(folder.path(), &["check", "--config", "callgate.toml"]);
    assert_eq!(checked.code, 2);
    assert!(checked.text().contains("revocation.mode"), "{}", checked.text());
}
