//! Native, WebSocket, MQTT and leaf node connections.

use callgate_testkit::{MqttClient, NatsServer, Session, eventually, wait::LONG};
use serde_json::{Value, json};

use super::world::{Options, World, staff};
use crate::support::{Credential, Mode};

/// One connection of each kind.
struct Kinds {
    native: Session,
    websocket: Session,
    mqtt: Option<MqttClient>,
    _leaf: NatsServer,
}

impl Kinds {
    /// Connects these users, at these servers.
    async fn connect(world: &World, users: [&str; 4], servers: [usize; 4], has_mqtt: bool) -> Self {
        let [native, web, meter, branch] = users;
        let [first, second, third, fourth] = servers.map(|server| &world.servers.servers[server]);
        let options = world.site.options(&Credential::password(native, native));
        let native = Session::connect(&first.url(), options).await.unwrap();
        let websocket = websocket(world, second, web).await;
        let mqtt = match has_mqtt {
            true => Some(mqtt(third, meter).await),
            false => None,
        };
        let _leaf = world.site.leaf_node(fourth, branch).await;
        Self { native, websocket, mqtt, _leaf }
    }
}

/// 2.10 cannot pass on a credential of an MQTT client in operator mode.
fn has_mqtt(world: &World, line: &str) -> bool {
    line != "2.10" || world.site.mode == Mode::Configuration
}

async fn websocket(world: &World, server: &NatsServer, user: &str) -> Session {
    let options = world.site.options(&Credential::password(user, user));
    Session::connect(&server.websocket_url(), options).await.unwrap()
}

async fn mqtt(server: &NatsServer, user: &str) -> MqttClient {
    // Its account needs JetStream, which may not be ready at once.
    eventually("an MQTT client", LONG, async || {
        MqttClient::connect(server.mqtt_port(), "meter-7", user, user).await
    })
    .await
}

/// The users of each kind.
const USERS: [&str; 4] = ["user0", "user1", "user2", "user3"];

fn kinds(has_mqtt: bool) -> Vec<(&'static str, &'static str)> {
    let all = USERS.into_iter().zip(["nats", "websocket", "mqtt", "leafnode"]);
    all.filter(|(_, kind)| has_mqtt || *kind != "mqtt").collect()
}

/// Waits for the one session of a kind.
async fn session_of(world: &World, kind: &str, user: &str) -> Value {
    let description = format!("a session of {user} over {kind}");
    eventually(&description, LONG, async || {
        let listed = world.json(0, &["sessions", "--kind", kind]);
        let [one] = &listed["sessions"].as_array()?[..] else { return None };
        (one["user"] == user && one["attributed"] == true).then(|| one.clone())
    })
    .await
}

pub(super) async fn every_kind_is_listed_kicked_locked_and_revoked(world: &World, line: &str) {
    let has_mqtt = has_mqtt(world, line);
    let mut clients = Kinds::connect(world, USERS, [0; 4], has_mqtt).await;
    for (user, kind) in kinds(has_mqtt) {
        let session = session_of(world, kind, user).await;
        assert_eq!(session["account"], "APP", "{session}");
        assert_eq!(session["authenticator"], "staff", "{session}");
        let mqtt_id = if kind == "mqtt" { json!("meter-7") } else { Value::Null };
        assert_eq!(session["mqtt_id"], mqtt_id, "{session}");
        let kicked = world.kick(&["--kind", kind]);
        assert_eq!((&kicked["kicked"], &kicked["failed"]), (&json!(1), &json!(0)), "{kicked}");
        assert_eq!(kicked["sessions"][0]["client_id"], session["client_id"], "{kicked}");
        match kind {
            "nats" => clients.native.hears("disconnected").await,
            "websocket" => clients.websocket.hears("disconnected").await,
            "mqtt" => clients.mqtt.as_mut().unwrap().closed().await,
            _ => has_left(world, &session).await,
        }
    }
    if let Some(client) = &mut clients.mqtt {
        *client = mqtt(&world.servers.servers[0], "user2").await;
    }
    locks_by_kind(world, &mut clients, has_mqtt).await;
    revocation_ends_all_kinds(world, has_mqtt).await;
}

/// Waits until a connection is listed no more.
async fn has_left(world: &World, session: &Value) {
    let id = format!("{}/{}", session["server_id"].as_str().unwrap(), session["client_id"]);
    world.sessions(0, &["--id", &id]).await;
}

/// A lock of a kind ends its sessions, keeps it out, and leaves the others alone.
async fn locks_by_kind(world: &World, clients: &mut Kinds, has_mqtt: bool) {
    for (user, kind) in kinds(has_mqtt) {
        let others = kinds(has_mqtt).into_iter().filter(|(_, it)| *it != kind);
        let mut before = Vec::new();
        for (user, kind) in others.clone() {
            before.push(session_of(world, kind, user).await["client_id"].clone());
        }
        session_of(world, kind, user).await;
        let mark = world.gates[0].mark();
        let locked = world.lock(&["--kind", kind]);
        assert_eq!((&locked["kicked"], &locked["failed"]), (&json!(1), &json!(0)), "{locked}");
        let words = ["\"reason\":\"locked\"", &format!("\"connection\":\"{kind}\"")];
        if kind == "mqtt" {
            clients.mqtt.as_mut().unwrap().closed().await;
            let server = &world.servers.servers[0];
            let back = MqttClient::connect(server.mqtt_port(), "meter-7", "user2", "user2").await;
            assert!(back.is_none());
        }
        // All others come back by themselves, and are refused.
        world.gates[0].record(mark, &words).await;
        world.sessions(0, &["--kind", kind]).await;
        let mut after = Vec::new();
        for (user, kind) in others {
            after.push(session_of(world, kind, user).await["client_id"].clone());
        }
        assert_eq!(before, after, "{kind}");
        assert_eq!(world.run(&["unlock", "--all"]).code, 0);
        match kind {
            "nats" => clients.native = world.login(user).await,
            "websocket" => {
                clients.websocket = websocket(world, &world.servers.servers[0], user).await;
            }
            "mqtt" => clients.mqtt = Some(mqtt(&world.servers.servers[0], user).await),
            _ => {}
        }
    }
}

/// The users are removed: none of their connections is left, and none comes back.
async fn revocation_ends_all_kinds(world: &World, has_mqtt: bool) {
    for (user, kind) in kinds(has_mqtt) {
        session_of(world, kind, user).await;
    }
    let mut users = staff();
    for (user, _) in kinds(has_mqtt) {
        users.as_object_mut().unwrap().remove(user);
    }
    world.replace("staff.json", &users.to_string());
    eventually("no session is left", LONG, async || {
        let listed = world.json(0, &["sessions"]);
        listed["sessions"].as_array().unwrap().is_empty().then_some(())
    })
    .await;
    let sample = "callgate_revocations_total{cause=\"user_removed\"}";
    let expected = f64::from(u32::try_from(kinds(has_mqtt).len()).unwrap());
    world.gates[0].metric_reaches(sample, expected).await;
}

/// One user on every server of a cluster, over every kind of connection.
pub(super) async fn lock_ends_all_kinds_in_a_cluster(world: &World, line: &str) {
    let has_mqtt = has_mqtt(world, line);
    let mut clients = Kinds::connect(world, ["alice"; 4], [0, 1, 2, 0], has_mqtt).await;
    let mut more = [world.login_at(1, "alice").await, world.login_at(2, "alice").await];
    let bob = world.login_at(1, "bob").await;
    let count = if has_mqtt { 6 } else { 5 };
    // Only attributed sessions have an authenticator.
    world.sessions(count, &["--user", "alice", "--authenticator", "staff"]).await;
    let locked = world.lock(&["--user", "alice"]);
    assert_eq!(locked["confirmed"].as_array().unwrap().len(), 3, "{locked}");
    assert_eq!(locked["unconfirmed"], json!([]), "{locked}");
    assert_eq!((&locked["kicked"], &locked["failed"]), (&json!(count), &json!(0)), "{locked}");
    assert_eq!(locked["servers"]["answered"], 3, "{locked}");
    for client in [&mut clients.native, &mut clients.websocket].into_iter().chain(&mut more) {
        client.hears("disconnected").await;
    }
    if let Some(client) = &mut clients.mqtt {
        client.closed().await;
    }
    for server in 0..3 {
        assert!(!world.admits(server, "alice").await);
    }
    world.sessions(0, &["--user", "alice"]).await;
    world.sessions(1, &["--user", "bob"]).await;
    for replica in 0..3 {
        let locks = world.run_at(replica, &["locks", "--json"]).json();
        assert_eq!(locks["locks"][0]["id"], locked["id"], "{locks}");
    }
    drop(bob);
}

/// `sessions` and `kick` know a leaf node that its server does not list.
#[tokio::test]
async fn leaf_node_is_listed_and_kicked_on_2_10_too() {
    for mode in Mode::ALL {
        for line in ["2.10", "2.15"] {
            let options = Options { mode, line: Some(line), ..Options::default() };
            let world = World::with(options).await;
            let _leaf = world.site.leaf_node(&world.servers.servers[0], "user3").await;
            let session = session_of(&world, "leafnode", "user3").await;
            let kicked = world.kick(&["--user", "user3"]);
            assert_eq!(kicked["kicked"], 1, "{mode:?} {line}: {kicked}");
            assert_eq!(kicked["sessions"][0]["kind"], "leafnode", "{mode:?} {line}: {kicked}");
            has_left(&world, &session).await;
            // It comes back, and stays away while it is locked.
            session_of(&world, "leafnode", "user3").await;
            let locked = world.lock(&["--user", "user3"]);
            assert_eq!(locked["kicked"], 1, "{mode:?} {line}: {locked}");
            world.sessions(0, &["--kind", "leafnode"]).await;
        }
    }
}
