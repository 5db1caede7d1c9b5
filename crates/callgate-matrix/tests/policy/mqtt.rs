//! MQTT over a role of topics: which QoS works on which release line, and what `mqtt = true` changes.

use std::time::Duration;

use callgate::policy::{
    Policy,
    settings::{RoleSettings, SideSettings},
};
use callgate_testkit::{Process, tools, wait::PATIENCE};
use futures_util::StreamExt;
use serde::Deserialize;

use crate::site::{Site, login, member, policy_of};

const CLIENT: &str = r#"
import json, sys, threading
import paho.mqtt.client as mqtt

port, user, qos = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
connected, answered, received = threading.Event(), threading.Event(), threading.Event()
codes = []

def on_subscribe(_client, _data, _id, reasons, _properties):
    codes.extend(reason.value for reason in reasons)
    answered.set()

client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=f"{user}-{qos}", protocol=mqtt.MQTTv311)
client.on_connect = lambda *_: connected.set()
client.on_subscribe = on_subscribe
client.on_message = lambda *_: received.set()
client.username_pw_set(user, user)
client.connect("127.0.0.1", port)
client.loop_start()
assert connected.wait(30), "no CONNACK"
client.subscribe(f"sensors/{user}/#", qos)
assert answered.wait(30), "no SUBACK"
if codes[0] < 128:
    client.publish(f"sensors/{user}/1", b"x", qos)
    received.wait(30)
print(json.dumps({"suback": codes[0], "received": received.is_set()}))
client.disconnect()
client.loop_stop()
"#;

/// What a client experienced.
#[derive(Debug, Deserialize, PartialEq, Eq)]
struct Outcome {
    /// The granted QoS, or 128 for a refusal.
    suback: u8,
    /// Whether its own message came back.
    received: bool,
}

async fn subscribe(site: &Site, user: &str, qos: u8) -> Outcome {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("session.py");
    std::fs::write(&file, CLIENT).unwrap();
    let mut client = Process::builder("session.py", tools::python())
        .arg(file)
        .arg(site.server.mqtt_port().to_string())
        .arg(user)
        .arg(qos.to_string())
        .start();
    let status = client.wait_for_exit(Duration::from_secs(120)).await;
    assert!(status.success(), "{user} {qos}: {status}\n{}", client.stderr());
    serde_json::from_str(&client.stdout()).unwrap()
}

async fn qos_of(version: &str, without_subscriptions: u8) {
    let topics = || SideSettings { allow: vec!["sensors.>".to_owned()], deny: Vec::new() };
    let role = |mqtt| RoleSettings {
        publish: topics(),
        subscribe: topics(),
        mqtt,
        ..RoleSettings::default()
    };
    let roles = vec![("topics", role(false)), ("sessions", role(true))];
    let people = roles.iter().map(|(name, _)| member(name, &[name])).collect();
    let policy = Policy::build(policy_of(roles)).unwrap();
    let extra = "jetstream { store_dir: \"{{dir}}/js\" }
                 mqtt { listen: \"127.0.0.1:{{mqtt_port}}\" }";
    let site = Site::with_policy(version, extra, people, policy).await;
    let granted = |qos| Outcome { suback: qos, received: true };
    let refused = || Outcome { suback: 128, received: false };
    for qos in [0, 1, 2] {
        assert_eq!(subscribe(&site, "sessions", qos).await, granted(qos), "{version} {qos}");
        let expected = if qos <= without_subscriptions { granted(qos) } else { refused() };
        assert_eq!(subscribe(&site, "topics", qos).await, expected, "{version} {qos}");
    }
    // The subscriptions are those of all MQTT clients of the account.
    let client = login("sessions").connect(site.server.url()).await.unwrap();
    let mut all = client.subscribe("$MQTT.sub.>").await.unwrap();
    client.flush().await.unwrap();
    let other = if without_subscriptions == 0 { "sessions" } else { "topics" };
    assert_eq!(subscribe(&site, other, 1).await, granted(1));
    let seen = tokio::time::timeout(PATIENCE, all.next()).await.unwrap().unwrap();
    assert!(String::from_utf8_lossy(&seen.payload).contains('x'), "{seen:?}");
}

#[tokio::test]
async fn mqtt_qos_on_2_10() {
    qos_of("2.10", 0).await;
}

#[tokio::test]
async fn mqtt_qos_on_2_11() {
    qos_of("2.11", 0).await;
}

#[tokio::test]
async fn mqtt_qos_on_2_12() {
    qos_of("2.12", 2).await;
}

#[tokio::test]
async fn mqtt_qos_on_2_14() {
    qos_of("2.14", 2).await;
}

#[tokio::test]
async fn mqtt_qos_on_2_15() {
    qos_of("2.15", 2).await;
}
