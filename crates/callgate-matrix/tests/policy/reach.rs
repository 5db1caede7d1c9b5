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
    jetstream::world::{World, bucket, orders, role},
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
async fn reach_beyond_permissions_on_2_10() {
    reach_beyond_permissions("2.10", Purge::Possible).await;
}

#[tokio::test]
async fn reach_beyond_permissions_on_2_11() {
    reach_beyond_permissions("2.11", Purge::Possible).await;
}

#[tokio::test]
async fn reach_beyond_permissions_on_2_12() {
    reach_beyond_permissions("2.12", Purge::Refused).await;
}

#[tokio::test]
async fn reach_beyond_permissions_on_2_14() {
    reach_beyond_permissions("2.14", Purge::Refused).await;
}

#[tokio::test]
async fn reach_beyond_permissions_on_2_15() {
    reach_beyond_permissions("2.15", Purge::Refused).await;
}

/// Whether an acknowledgement is a valid request to purge a stream: from 2.12 on, the API refuses unknown
/// members in the JSON of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purge {
    Possible,
    Refused,
}

/// The rows of the table "What permissions cannot prevent" in `docs/policy.md`.
async fn reach_beyond_permissions(version: &str, purge: Purge) {
    let world = World::new(version, None, roles()).await;
    reader_of_a_bucket_writes_to_it_and_to_others(&world).await;
    reader_of_a_bucket_deletes_streams(&world).await;
    writer_of_a_bucket_calls_the_api(&world).await;
    pulled_messages_and_acknowledgements_reach_another_stream(&world).await;
    acknowledgement_overwrites_a_key(&world).await;
    consumer_delivers_to_any_subscriber(&world).await;
    acknowledgement_purges_a_stream(&world, purge).await;
}

/// Has `role` send a request whose answer goes to `target`, where it may not publish itself.
async fn redirect(world: &World, role: &str, request: &str, payload: &str, target: &str) {
    let mut wire = Wire::connect(&world.site.server, role).await;
    let said =
        wire.ask(&[publish(target, payload), publish_with_reply(request, target, payload)]).await;
    assert!(said[0].errors[0].contains("Permissions Violation"), "{role} {target}: {said:?}");
    assert!(said[1].errors.is_empty(), "{role} {target}: {said:?}");
}

async fn reader_of_a_bucket_writes_to_it_and_to_others(world: &World) {
    for name in ["config", "secrets"] {
        let target = format!("$KV.{name}.planted");
        let last = json!({"last_by_subj": "$KV.config.colour"}).to_string();
        redirect(world, "read", "$JS.API.DIRECT.GET.KV_config", &last, &target).await;
        let store = world.bucket(name).await;
        let planted = async || store.get("planted").await.unwrap();
        assert_eq!(eventually("a value", PATIENCE, planted).await, "blue");
    }
}

/// A request without content deletes a stream. Empty values and the markers of deleted keys have no content.
async fn reader_of_a_bucket_deletes_streams(world: &World) {
    let store = world.bucket("config").await;
    store.put("empty", "".into()).await.unwrap();
    store.put("deleted", "x".into()).await.unwrap();
    store.delete("deleted").await.unwrap();
    for (key, stream) in [("empty", "OBJ_vault"), ("deleted", "OBJ_files")] {
        let last = json!({"last_by_subj": format!("$KV.config.{key}")}).to_string();
        let target = format!("$JS.API.STREAM.DELETE.{stream}");
        redirect(world, "read", "$JS.API.DIRECT.GET.KV_config", &last, &target).await;
        let gone = async || js(world).await.get_stream(stream).await.is_err().then_some(());
        eventually("the stream to be gone", PATIENCE, gone).await;
    }
}

/// The value is the call's JSON: here it purges one subject of a stream that no role names.
async fn writer_of_a_bucket_calls_the_api(world: &World) {
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

async fn pulled_messages_and_acknowledgements_reach_another_stream(world: &World) {
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

async fn acknowledgement_overwrites_a_key(world: &World) {
    let store = world.bucket("secrets").await;
    store.put("pw", "correct".into()).await.unwrap();
    redirect(world, "publish", "orders.new.1", "x", "$KV.secrets.pw").await;
    let overwritten = async || {
        let value = store.get("pw").await.unwrap().unwrap();
        String::from_utf8_lossy(&value).contains("\"seq\"").then_some(())
    };
    eventually("an acknowledgement as the value", PATIENCE, overwritten).await;
}

async fn acknowledgement_purges_a_stream(world: &World, purge: Purge) {
    let stream = world.stream("OTHER").await;
    let messages = async || stream.get_info().await.unwrap().state.messages;
    assert!(messages().await > 10);
    redirect(world, "publish", "orders.new.1", "x", "$JS.API.STREAM.PURGE.OTHER").await;
    match purge {
        Purge::Possible => {
            let purged = async || (messages().await == 0).then_some(());
            eventually("the stream to be empty", PATIENCE, purged).await;
        }
        Purge::Refused => {
            // The server handles the acknowledgement of a later message after the first one.
            redirect(world, "publish", "orders.new.1", "x", "other.fence").await;
            let last = async || stream.get_last_raw_message_by_subject("other.fence").await.ok();
            eventually("a later acknowledgement", PATIENCE, last).await;
            assert!(messages().await > 10);
        }
    }
}

async fn consumer_delivers_to_any_subscriber(world: &World) {
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
