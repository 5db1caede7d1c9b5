//! What nats-server silently ignores in a callout's answer, so that Callgate enforces it. When a server
//! line begins to enforce one of these, its scenario fails, and we know.

use async_nats::Client;
use callgate_testkit::{NatsServer, eventually, nats_server::Version, wait::PATIENCE};
use futures_util::StreamExt;
use serde_json::{Value, json};

use super::manual_callout::ManualCallout;
use crate::{
    certificates::Certificates,
    clients::{Login, Script, Task, leaf, options, run_script},
    environment,
    mode::Mode,
    report::Outcome,
    site::{Site, Variation},
    transport::Transport,
};

/// A server that listens in every way, and a callout that admits with `more` in the user's claims.
struct Admitting {
    site: Site,
    version: Version,
    server: NatsServer,
    _hand: ManualCallout,
}

impl Admitting {
    async fn start(mode: Mode, version: Version, more: Value) -> Self {
        let site = Site::new(mode, version, &Variation::default());
        let server = environment::server(&site, version, &Certificates::generate()).await;
        let hand = ManualCallout::start(&site, &server, move |asked| asked.admit(&more)).await;
        Self { site, version, server, _hand: hand }
    }

    async fn native(&self, url: String) -> Client {
        options(&self.site, &guest()).connect(url).await.unwrap_or_else(|error| {
            panic!("{} now enforces this, so Callgate could leave it: {error}", self.version)
        })
    }

    /// Every connection type is admitted; returns which.
    async fn every_kind(&self) -> Vec<&'static str> {
        self.native(self.server.url()).await;
        self.native(self.server.websocket_url()).await;
        let mut kinds = vec!["a client over TCP is let in", "over WebSocket"];
        if Transport::Mqtt.absence(self.site.mode, self.version).is_none() {
            let told = run_script(Script::Python, &[self.mqtt()]).await;
            assert!(told[0].connected, "{} now enforces this: {told:?}", self.version);
            kinds.push("over MQTT");
        }
        let leaf = leaf::leaf_node(&self.site, self.version, &self.server, &[guest()]).await;
        let app = [self.site.accounts["APP"].clone()];
        let is_up = async || (leaf::up(&self.site, &self.server).await == app).then_some(());
        eventually("a leaf node that is let in", PATIENCE, is_up).await;
        drop(leaf);
        kinds.push("as a leaf node");
        kinds
    }

    fn mqtt(&self) -> Task {
        Task {
            way: "mqtt",
            url: format!("127.0.0.1:{}", self.server.mqtt_port()),
            login: guest(),
            sentinel: None,
            cookies: Vec::new(),
            publish: vec!["any.subject".to_owned()],
        }
    }
}

fn guest() -> Login {
    Login::password("guest", "x")
}

pub(super) async fn source(mode: Mode, version: Version) -> Outcome {
    // No client has this address (RFC 5737).
    let more = json!({ "src": ["192.0.2.0/24"] });
    Outcome::passed(Admitting::start(mode, version, more).await.every_kind().await)
}

pub(super) async fn connection_types(mode: Mode, version: Version) -> Outcome {
    // A type that no client here uses.
    let more = json!({ "allowed_connection_types": ["LEAFNODE_WS"] });
    Outcome::passed(Admitting::start(mode, version, more).await.every_kind().await)
}

pub(super) async fn limits(mode: Mode, version: Version) -> Outcome {
    let more = json!({ "subs": 1, "payload": 4, "data": 4 });
    let callout = Admitting::start(mode, version, more).await;
    for url in [callout.server.url(), callout.server.websocket_url()] {
        is_not_limited(&callout.native(url).await).await;
    }
    Outcome::passed(["subscriptions", "payload", "data", "over TCP and over WebSocket"])
}

async fn is_not_limited(client: &Client) {
    let mut received = Vec::new();
    for subject in ["one", "two", "three"] {
        received.push(client.subscribe(subject).await.expect("a connection"));
    }
    for subject in ["one", "two", "three"] {
        client.publish(subject, "more than four bytes".into()).await.expect("a connection");
    }
    for subscriber in &mut received {
        let message = tokio::time::timeout(PATIENCE, subscriber.next());
        let message = message.await.expect("nats-server now enforces a limit");
        assert!(message.is_some(), "nats-server now enforces a limit");
    }
}
