//! What no permission stops: the server itself delivers to any subject that a request (its reply) or a
//! consumer (its deliver subject) names, in the whole account.
//!
//! A client that may send any JetStream request can direct a reply, or a message of a stream that it may
//! read, to a subject that it may not publish to: into another stream, another bucket, or to the JetStream API.

use async_nats::jetstream::Context;
use callgate::policy::settings::{BucketAccess, RoleSettings, StreamAccess};
use callgate_testkit::{eventually, wait::PATIENCE};
use futures_util::StreamExt;
use serde_json::json;

use crate::{
    jetstream::{
        VERSIONS,
        world::{World, bucket, orders, role},
    },
    wire::{Wire, publish, publish_with_reply},
};

fn roles() -> Vec<(&'static str, RoleSettings)> {
    let mut named = orders(StreamAccess::Consume, None);
    named.streams[0].consumer = Some("worker".to_owned());
    let mut publish = orders(StreamAccess::Publish, None);
    publish.streams[0].subjects = vec!["orders.new.>".to_owned()];
    vec![
        ("consume", orders(StreamAccess::Consume, None)),
        ("named", named),
        ("publish", publish),
        ("read", role(|role| role.kv.push(bucket("config", BucketAccess::Read, None)))),
        ("write", role(|role| role.kv.push(bucket("config", BucketAccess::Write, None)))),
    ]
}

#[tokio::test]
async fn server_delivers_to_subjects_denied_to_the_client() {
    for version in VERSIONS {
        let world = World::new(version, None, roles()).await;
        a_reader_of_a_bucket_writes_to_it_and_to_others(&world).await;
        a_reader_of_a_bucket_deletes_an_object_store(&world).await;
        a_writer_of_a_bucket_calls_the_api(&world).await;
        who_pulls_or_publishes_adds_to_another_stream(&world).await;
        a_consumer_delivers_to_any_subscriber(&world).await;
    }
}

/// Has `role` send a request whose answer goes to `target`, where it may not publish itself.
async fn redirect(world: &World, role: &str, request: &str, payload: &str, target: &str) {
    let mut wire = Wire::connect(&world.site.server, role).await;
    let said =
        wire.ask(&[publish(target, payload), publish_with_reply(request, target, payload)]).await;
    assert!(said[0].errors[0].contains("Permissions Violation"), "{role} {target}: {said:?}");
    assert!(said[1].errors.is_empty(), "{role} {target}: {said:?}");
}

async fn a_reader_of_a_bucket_writes_to_it_and_to_others(world: &World) {
    for name in ["config", "secrets"] {
        let target = format!("$KV.{name}.planted");
        let last = json!({"last_by_subj": "$KV.config.colour"}).to_string();
        redirect(world, "read", "$JS.API.DIRECT.GET.KV_config", &last, &target).await;
        let store = world.bucket(name).await;
        let planted = async || store.get("planted").await.unwrap();
        assert_eq!(eventually("a value", PATIENCE, planted).await, "blue");
    }
}

/// An empty message is all that this needs.
async fn a_reader_of_a_bucket_deletes_an_object_store(world: &World) {
    world.bucket("config").await.put("empty", "".into()).await.unwrap();
    let last = json!({"last_by_subj": "$KV.config.empty"}).to_string();
    let target = "$JS.API.STREAM.DELETE.OBJ_vault";
    redirect(world, "read", "$JS.API.DIRECT.GET.KV_config", &last, target).await;
    let gone = async || js(world).await.get_stream("OBJ_vault").await.is_err().then_some(());
    eventually("the store to be gone", PATIENCE, gone).await;
}

/// The value is the call's JSON: here it purges one subject of a stream that no role names.
async fn a_writer_of_a_bucket_calls_the_api(world: &World) {
    let call = json!({"filter": "other.new.1"}).to_string();
    let store = world.peer("write").await.js.get_key_value("config").await.unwrap();
    store.put("call", call.into()).await.unwrap();
    let last = json!({"last_by_subj": "$KV.config.call"}).to_string();
    let target = "$JS.API.STREAM.PURGE.OTHER";
    redirect(world, "write", "$JS.API.DIRECT.GET.KV_config", &last, target).await;
    let stream = world.stream("OTHER").await;
    let purged = async || {
        let rest = stream.get_info().await.unwrap().state.messages;
        (rest == 19).then_some(())
    };
    eventually("one message less", PATIENCE, purged).await;
}

async fn who_pulls_or_publishes_adds_to_another_stream(world: &World) {
    let next = "$JS.API.CONSUMER.MSG.NEXT.ORDERS.worker";
    redirect(world, "named", next, "1", "other.pulled").await;
    redirect(world, "publish", "orders.new.1", "x", "other.confirmed").await;
    // A message that was pulled keeps its subject, wherever it goes.
    for (subject, content) in [("orders.new.0", "x"), ("other.confirmed", "\"seq\"")] {
        let stream = world.stream("OTHER").await;
        let last = async || stream.get_last_raw_message_by_subject(subject).await.ok();
        let message = eventually("a message", PATIENCE, last).await;
        let text = String::from_utf8_lossy(&message.payload).into_owned();
        assert!(text.contains(content), "{subject}: {text}");
    }
}

async fn a_consumer_delivers_to_any_subscriber(world: &World) {
    let listener = world.site.admin().await;
    let mut alarms = listener.subscribe("alarms").await.unwrap();
    listener.flush().await.unwrap();
    let peer = world.peer("consume").await;
    peer.cannot_publish(&["alarms"]).await;
    let config = json!({"deliver_subject": "alarms", "ack_policy": "none"});
    let body = json!({"stream_name": "ORDERS", "config": config});
    peer.ask("CONSUMER.CREATE.ORDERS", body).await.unwrap();
    let alarm = tokio::time::timeout(PATIENCE, alarms.next()).await.unwrap().unwrap();
    assert_eq!(alarm.payload, "x");
}

async fn js(world: &World) -> Context {
    async_nats::jetstream::new(world.site.admin().await)
}
