//! `streams`: consume, publish, manage, configure.

use async_nats::jetstream::{
    AckKind,
    consumer::{Consumer, DeliverPolicy, PullConsumer, pull, push},
    stream::{self, StorageType},
};
use callgate::policy::settings::{RoleSettings, StreamAccess, StreamSettings};
use futures_util::{StreamExt, TryStreamExt};
use serde_json::json;

use super::{
    VERSIONS,
    world::{Attempt, Peer, World, all, attempt, orders, text},
};

/// The role of this name.
fn roles(domain: Option<&'static str>) -> Vec<(&'static str, RoleSettings)> {
    let entry = |change: fn(&mut StreamSettings)| {
        let mut role = orders(StreamAccess::Consume, domain);
        change(&mut role.streams[0]);
        role
    };
    vec![
        ("consume", orders(StreamAccess::Consume, domain)),
        ("named", entry(|entry| entry.consumer = Some("worker".to_owned()))),
        (
            "publish",
            entry(|entry| {
                entry.access = StreamAccess::Publish;
                entry.subjects = vec!["orders.new.>".to_owned()];
            }),
        ),
        ("manage", orders(StreamAccess::Manage, domain)),
        ("configure", orders(StreamAccess::Configure, domain)),
    ]
}

#[tokio::test]
async fn each_access_level_permits_exactly_its_operations() {
    for version in VERSIONS {
        check(World::new(version, None, roles(None)).await).await;
    }
}

#[tokio::test]
async fn each_access_level_works_only_in_its_domain() {
    let direct = World::new("2.15", Some("hub"), roles(Some("hub"))).await;
    let behind_a_leaf = World::behind_a_leaf("2.15", "hub", roles(Some("hub"))).await;
    for world in [direct, behind_a_leaf] {
        foreign_domains(&world).await;
        check(world).await;
    }
}

async fn foreign_domains(world: &World) {
    for role in ["consume", "named", "manage", "configure"] {
        let peer = world.peer(role).await;
        peer.cannot_publish(&["$JS.west.API.STREAM.INFO.ORDERS"]).await;
    }
}

async fn check(world: World) {
    consume(&world).await;
    named(&world).await;
    publish(&world).await;
    manage(&world).await;
    configure(&world).await;
    let mut other = world.stream("OTHER").await;
    assert_eq!(other.info().await.unwrap().state.messages, 20);
    let theirs: PullConsumer = other.get_consumer("theirs").await.unwrap();
    assert_eq!(theirs.cached_info().num_ack_pending, 1, "only what `theirs` itself was given");
}

async fn consume(world: &World) {
    let peer = world.peer("consume").await;
    peer.can(reading(&peer)).await;
    peer.can(pulling(&peer, "worker")).await;
    peer.can(making_consumers(&peer)).await;
    let hasty = peer.hasty();
    peer.cannot(all([
        others(&hasty),
        managing(&hasty, 9),
        configuring(&hasty),
        publishing(&hasty, "orders.new.1"),
    ]))
    .await;
    peer.cannot_publish(&["orders.new.1", "$JS.API.STREAM.MSG.GET.ORDERS"]).await;
    others_acks(world, &peer).await;
}

async fn named(world: &World) {
    let peer = world.peer("named").await;
    peer.can(vec![attempt("info", peer.js.get_stream("ORDERS"))]).await;
    peer.can(pulling(&peer, "worker")).await;
    let hasty = peer.hasty();
    let js = &hasty.js;
    let second = js.get_consumer_from_stream::<pull::Config, _, _>("second", "ORDERS");
    peer.cannot(all([
        others(&hasty),
        making_consumers(&hasty),
        managing(&hasty, 9),
        configuring(&hasty),
        vec![
            attempt("another consumer", second),
            attempt("delete", js.delete_consumer_from_stream("worker", "ORDERS")),
            attempt("names", js.stream_by_subject("orders.>")),
        ],
    ]))
    .await;
    let api = &peer.api;
    peer.cannot_publish(&[
        &format!("{api}.CONSUMER.MSG.NEXT.ORDERS.second"),
        &format!("{api}.CONSUMER.NAMES.ORDERS"),
        "$JS.ACK.ORDERS.second.1.1.1.1700000000.0",
        "$JS.ACK._.hash.ORDERS.second.1.1.1.1700000000.0.rnd",
        "$JS.FC.ORDERS.worker.x",
    ])
    .await;
    others_acks(world, &peer).await;
}

async fn publish(world: &World) {
    let peer = world.peer("publish").await;
    peer.can(publishing(&peer, "orders.new.21")).await;
    let hasty = peer.hasty();
    peer.cannot(all([
        others(&hasty),
        publishing(&hasty, "orders.old.1"),
        reading(&hasty),
        managing(&hasty, 9),
        configuring(&hasty),
    ]))
    .await;
}

async fn manage(world: &World) {
    let peer = world.peer("manage").await;
    peer.can(reading(&peer)).await;
    peer.can(pulling(&peer, "worker")).await;
    peer.can(making_consumers(&peer)).await;
    peer.can(managing(&peer, 7)).await;
    let hasty = peer.hasty();
    peer.cannot(all([others(&hasty), configuring(&hasty), publishing(&hasty, "orders.new.1")]))
        .await;
    others_acks(world, &peer).await;
}

async fn configure(world: &World) {
    let peer = world.peer("configure").await;
    peer.can(making_consumers(&peer)).await;
    peer.can(managing(&peer, 8)).await;
    peer.can(configuring(&peer)).await;
    peer.can(vec![attempt("create", peer.js.create_stream(orders_config()))]).await;
    peer.cannot(others(&peer.hasty())).await;
}

fn reading(peer: &Peer) -> Vec<Attempt<'_>> {
    let js = &peer.js;
    vec![
        attempt("stream info", js.get_stream("ORDERS")),
        attempt("stream by subject", js.stream_by_subject("orders.>")),
        attempt("consumer names", async {
            let stream = js.get_stream("ORDERS").await.map_err(text)?;
            let names: Result<Vec<String>, _> = stream.consumer_names().try_collect().await;
            let names = names.map_err(text)?;
            names.contains(&"worker".to_owned()).then_some(()).ok_or(format!("{names:?}"))
        }),
        attempt("consumer list", async {
            let stream = js.get_stream("ORDERS").await.map_err(text)?;
            let all: Result<Vec<_>, _> = stream.consumers().try_collect().await;
            all.map_err(text)
        }),
        // The JavaScript client requests it first.
        attempt("account info", js.query_account()),
    ]
}

/// Uses a consumer that exists, in every way of acknowledging.
fn pulling<'a>(peer: &'a Peer, consumer: &'static str) -> Vec<Attempt<'a>> {
    vec![attempt(format!("pull from {consumer}"), async move {
        let consumer: PullConsumer =
            peer.js.get_consumer_from_stream(consumer, "ORDERS").await.map_err(text)?;
        let batch = consumer.fetch().max_messages(5).messages().await;
        let batch = batch.map_err(text)?;
        let messages: Vec<_> = batch.try_collect().await.map_err(text)?;
        let [first, second, third, fourth, fifth] = messages.as_slice() else {
            return Err(format!("{} messages", messages.len()));
        };
        first.ack().await.map_err(text)?;
        // The server confirms this one.
        second.double_ack().await.map_err(text)?;
        for (message, kind) in [
            (third, AckKind::Nak(None)),
            (fourth, AckKind::Progress),
            (fourth, AckKind::Term),
            (fifth, AckKind::Ack),
        ] {
            message.ack_with(kind).await.map_err(text)?;
        }
        peer.client.flush().await.map_err(text)
    })]
}

fn making_consumers(peer: &Peer) -> Vec<Attempt<'_>> {
    let js = &peer.js;
    let pull = |name: Option<&str>, filter: &str| pull::Config {
        durable_name: name.map(str::to_owned),
        filter_subject: filter.to_owned(),
        ..pull::Config::default()
    };
    let several = pull::Config {
        durable_name: Some("several".to_owned()),
        filter_subjects: vec!["orders.a".to_owned(), "orders.b".to_owned()],
        ..pull::Config::default()
    };
    let push = push::Config {
        deliver_subject: peer.client.new_inbox(),
        flow_control: true,
        idle_heartbeat: std::time::Duration::from_secs(5),
        ..push::Config::default()
    };
    let ordered_push =
        push::OrderedConfig { deliver_subject: peer.client.new_inbox(), ..Default::default() };
    vec![
        attempt("ephemeral", js.create_consumer_on_stream(pull(None, ""), "ORDERS")),
        attempt("durable", js.create_consumer_on_stream(pull(Some("mine"), ""), "ORDERS")),
        attempt("filter", js.create_consumer_on_stream(pull(Some("one"), "orders.a"), "ORDERS")),
        attempt("filters", js.create_consumer_on_stream(several, "ORDERS")),
        attempt("push", async {
            let consumer = js.create_consumer_on_stream(push, "ORDERS").await.map_err(text)?;
            let mut messages = consumer.messages().await.map_err(text)?;
            let first = messages.next().await.ok_or("no message")?;
            first.map_err(text)?.ack().await.map_err(text)
        }),
        attempt("ordered push", async {
            let consumer: Consumer<push::OrderedConfig> =
                js.create_consumer_on_stream(ordered_push, "ORDERS").await.map_err(text)?;
            let mut messages = consumer.messages().await.map_err(text)?;
            messages.next().await.ok_or("no message")?.map_err(text)
        }),
        attempt("ordered pull", async {
            let config = pull::OrderedConfig {
                deliver_policy: DeliverPolicy::All,
                ..pull::OrderedConfig::default()
            };
            let consumer: Consumer<pull::OrderedConfig> =
                js.create_consumer_on_stream(config, "ORDERS").await.map_err(text)?;
            let mut messages = consumer.messages().await.map_err(text)?;
            messages.next().await.ok_or("no message")?.map_err(text)
        }),
        attempt("delete", async move {
            let config = pull(Some("gone"), "");
            js.create_consumer_on_stream(config, "ORDERS").await.map_err(text)?;
            js.delete_consumer_from_stream("gone", "ORDERS").await.map_err(text)
        }),
        attempt("the ephemeral form of old clients", async {
            let body = json!({"stream_name": "ORDERS", "config": {"ack_policy": "none"}});
            peer.ask("CONSUMER.CREATE.ORDERS", body).await
        }),
        attempt("the durable form of old clients", async {
            let config = json!({"durable_name": "old", "ack_policy": "explicit"});
            let body = json!({"stream_name": "ORDERS", "config": config});
            peer.ask("CONSUMER.DURABLE.CREATE.ORDERS.old", body).await
        }),
        attempt("flow control", async {
            for subject in ["$JS.FC.ORDERS.mine.x", "$JS.FC._.hash.ORDERS.mine.x"] {
                peer.client.publish(subject, "".into()).await.map_err(text)?;
            }
            if peer.is_hasty() {
                return Err("nothing was answered".to_owned());
            }
            peer.client.flush().await.map_err(text)
        }),
    ]
}

fn publishing<'a>(peer: &'a Peer, subject: &'static str) -> Vec<Attempt<'a>> {
    vec![attempt(format!("publish {subject}"), async move {
        peer.js.publish(subject, "x".into()).await.map_err(text)?.await.map_err(text)
    })]
}

fn managing(peer: &Peer, sequence: u64) -> Vec<Attempt<'_>> {
    let stream = || peer.js.get_stream_no_info("ORDERS");
    vec![
        attempt("delete a message", async move {
            let stream = stream().await.map_err(text)?;
            stream.delete_message(sequence).await.map_err(text)
        }),
        attempt("purge", async move {
            let stream = stream().await.map_err(text)?;
            stream.purge().filter("orders.none").await.map_err(text)
        }),
    ]
}

fn orders_config() -> stream::Config {
    stream::Config {
        name: "ORDERS".to_owned(),
        subjects: vec!["orders.>".to_owned()],
        storage: StorageType::Memory,
        ..stream::Config::default()
    }
}

fn configuring(peer: &Peer) -> Vec<Attempt<'_>> {
    let js = &peer.js;
    let config = stream::Config { max_messages: 1000, allow_direct: true, ..orders_config() };
    vec![attempt("update", js.update_stream(config)), attempt("delete", js.delete_stream("ORDERS"))]
}

/// Everything about a stream and a bucket that no role names.
fn others(peer: &Peer) -> Vec<Attempt<'_>> {
    let js = &peer.js;
    let config = || stream::Config {
        name: "OTHER".to_owned(),
        subjects: vec!["other.>".to_owned()],
        ..stream::Config::default()
    };
    let consumer = || pull::Config::default();
    vec![
        attempt("other info", js.get_stream("OTHER")),
        attempt("other create", js.create_stream(config())),
        attempt("other update", js.update_stream(config())),
        attempt("other delete", js.delete_stream("OTHER")),
        attempt("other consumer", js.create_consumer_on_stream(consumer(), "OTHER")),
        attempt(
            "other consumer info",
            js.get_consumer_from_stream::<pull::Config, _, _>("theirs", "OTHER"),
        ),
        attempt("other consumer delete", js.delete_consumer_from_stream("theirs", "OTHER")),
        attempt("other purge", async {
            let stream = js.get_stream_no_info("OTHER").await.map_err(text)?;
            stream.purge().await.map_err(text)
        }),
        attempt("other message", async {
            let stream = js.get_stream_no_info("OTHER").await.map_err(text)?;
            stream.get_raw_message(1).await.map_err(text)
        }),
        attempt("other direct message", async {
            let stream = js.get_stream_no_info("OTHER").await.map_err(text)?;
            stream.direct_get(1).await.map_err(text)
        }),
        attempt("other delete message", async {
            let stream = js.get_stream_no_info("OTHER").await.map_err(text)?;
            stream.delete_message(1).await.map_err(text)
        }),
        attempt("other publish", async {
            let ack = js.publish("other.x", "x".into()).await.map_err(text)?;
            ack.await.map_err(text)
        }),
        attempt("a bucket", js.get_key_value("config")),
        attempt("an object store", js.get_object_store("files")),
        attempt("all streams", async { js.streams().try_collect::<Vec<_>>().await.map_err(text) }),
        attempt("a new stream", js.create_stream("NEW")),
    ]
}

/// Messages of another client cannot be acknowledged, in the form that this server really uses.
async fn others_acks(world: &World, peer: &Peer) {
    let theirs: PullConsumer = world.stream("OTHER").await.get_consumer("theirs").await.unwrap();
    let message = match theirs.cached_info().num_ack_pending {
        0 => {
            theirs.fetch().max_messages(1).messages().await.unwrap().next().await.unwrap().unwrap()
        }
        _ => {
            peer.cannot_publish(&[
                "$JS.ACK.OTHER.theirs.1.1.1.1700000000.0",
                "$JS.ACK._.hash.OTHER.theirs.1.1.1.1700000000.0.rnd",
                "$JS.ACK.hub.hash.OTHER.theirs.1.1.1.1700000000.0",
            ])
            .await;
            return;
        }
    };
    let reply = message.reply.clone().unwrap();
    peer.cannot_publish(&[reply.as_str()]).await;
}
