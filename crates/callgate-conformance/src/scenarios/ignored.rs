//! What nats-server silently ignores in a callout's answer, so that Callgate enforces it. When a server
//! line begins to enforce one of these, its scenario fails, and we know.

use async_nats::Client;
use callgate_testkit::{NatsServer, nats_server::Version};
use futures_util::StreamExt;
use serde_json::{Value, json};

use super::{hand::Hand, server};
use crate::{
    clients::{Login, options},
    mode::Mode,
    report::Outcome,
    site::{Site, Variation},
};

async fn admitted_with(mode: Mode, version: Version, more: Value) -> (Client, NatsServer, Hand) {
    let site = Site::new(mode, version, &Variation::default());
    let server = server(&site, version, "").await;
    let hand = Hand::start(&site, &server, move |asked| asked.admit(&more)).await;
    let login = Login::password("anybody", "x");
    let connected = options(&site, &login).connect(server.url()).await;
    let client = connected.unwrap_or_else(|error| {
        panic!("nats-server {version} now enforces this, so Callgate could leave it: {error}")
    });
    (client, server, hand)
}

pub(super) async fn source(mode: Mode, version: Version) -> Outcome {
    // Nobody comes from there (RFC 5737).
    admitted_with(mode, version, json!({ "src": ["192.0.2.0/24"] })).await;
    Outcome::passed(["a client from elsewhere is let in"])
}

pub(super) async fn connection_types(mode: Mode, version: Version) -> Outcome {
    admitted_with(mode, version, json!({ "allowed_connection_types": ["MQTT"] })).await;
    Outcome::passed(["a TCP client is let in as one that may only speak MQTT"])
}

pub(super) async fn limits(mode: Mode, version: Version) -> Outcome {
    let more = json!({ "subs": 1, "payload": 4, "data": 4 });
    let (client, _server, _hand) = admitted_with(mode, version, more).await;
    let mut received = Vec::new();
    for subject in ["one", "two", "three"] {
        received.push(client.subscribe(subject).await.expect("a connection"));
    }
    for subject in ["one", "two", "three"] {
        client.publish(subject, "more than four bytes".into()).await.expect("a connection");
    }
    for subscriber in &mut received {
        let message = tokio::time::timeout(callgate_testkit::wait::PATIENCE, subscriber.next());
        let message = message.await.expect("nats-server now enforces a limit");
        assert!(message.is_some(), "nats-server now enforces a limit");
    }
    Outcome::passed(["subscriptions", "payload", "data"])
}
