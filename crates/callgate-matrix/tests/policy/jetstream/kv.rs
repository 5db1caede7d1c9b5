//! `kv`: read, write, admin.

use async_nats::jetstream::kv;
use callgate::policy::settings::{BucketAccess, Inbox, RoleSettings};
use futures_util::{StreamExt, TryStreamExt};

use super::{
    VERSIONS,
    world::{Attempt, Peer, World, all, attempt, bucket, role, text},
};

fn roles(domain: Option<&'static str>) -> Vec<(&'static str, RoleSettings)> {
    let of = |access| role(|role| role.kv.push(bucket("config", access, domain)));
    let shared = RoleSettings { inbox: Inbox::Shared, ..of(BucketAccess::Read) };
    vec![
        ("read", of(BucketAccess::Read)),
        ("shared", shared),
        ("write", of(BucketAccess::Write)),
        ("admin-of-config", of(BucketAccess::Admin)),
    ]
}

#[tokio::test]
async fn each_access_level_permits_exactly_its_operations() {
    for version in VERSIONS {
        let world = World::new(version, None, roles(None)).await;
        inboxes(&world).await;
        check(world).await;
    }
}

#[tokio::test]
async fn each_access_level_works_through_a_domain() {
    check(World::new("2.15", Some("hub"), roles(Some("hub"))).await).await;
    check(World::behind_a_leaf("2.15", "hub", roles(Some("hub"))).await).await;
}

async fn check(world: World) {
    let peer = world.peer("read").await;
    peer.can(reading(&peer)).await;
    let hasty = peer.hasty();
    peer.cannot(all([writing(&world, &hasty).await, administering(&hasty), others(&hasty)])).await;
    peer.cannot_publish(&["$KV.config.colour", "$KV.secrets.colour"]).await;
    assert_eq!(value(&world, "config").await, "blue");

    let peer = world.peer_with_inbox("shared", "_INBOX").await;
    peer.can(reading(&peer)).await;

    let peer = world.peer("write").await;
    peer.can(reading(&peer)).await;
    peer.can(writing(&world, &peer).await).await;
    let hasty = peer.hasty();
    peer.cannot(all([administering(&hasty), others(&hasty)])).await;
    peer.cannot_publish(&["$KV.secrets.colour", "$JS.API.STREAM.MSG.DELETE.KV_config"]).await;

    let peer = world.peer("admin-of-config").await;
    peer.can(reading(&peer)).await;
    peer.can(writing(&world, &peer).await).await;
    peer.can(administering(&peer)).await;
    peer.cannot(others(&peer.hasty())).await;
    assert_eq!(value(&world, "secrets").await, "blue");
}

/// What the bucket holds, as its owner sees it.
async fn value(world: &World, name: &str) -> String {
    let value = world.bucket(name).await.get("colour").await.unwrap().unwrap();
    String::from_utf8(value.to_vec()).unwrap()
}

/// A private inbox belongs to one client, and a client that uses the default inbox receives nothing.
async fn inboxes(world: &World) {
    let peer = world.peer_with_inbox("read", "_INBOX").await.hasty();
    peer.cannot(vec![attempt("an answer in the shared inbox", peer.js.get_key_value("config"))])
        .await;
    let peer = world.peer_with_inbox("read", "_INBOX_write").await.hasty();
    peer.cannot(vec![attempt("an answer in another's inbox", peer.js.get_key_value("config"))])
        .await;
}

fn reading(peer: &Peer) -> Vec<Attempt<'_>> {
    let store = || async { peer.js.get_key_value("config").await.map_err(text) };
    vec![
        attempt("status", async move { store().await?.status().await.map_err(text) }),
        attempt("get", async move {
            let value = store().await?.get("colour").await.map_err(text)?;
            (value.as_deref() == Some(b"blue")).then_some(()).ok_or(format!("{value:?}"))
        }),
        attempt("revision", async move {
            store().await?.entry_for_revision("colour", 1).await.map_err(text)
        }),
        attempt("keys", async move {
            let keys = store().await?.keys().await.map_err(text)?;
            let keys: Vec<String> = keys.try_collect().await.map_err(text)?;
            keys.contains(&"colour".to_owned()).then_some(()).ok_or(format!("{keys:?}"))
        }),
        attempt("history", async move {
            let history = store().await?.history("colour").await.map_err(text)?;
            history.try_collect::<Vec<_>>().await.map_err(text)
        }),
        attempt("watch", async move {
            let mut watch = store().await?.watch_with_history("colour").await.map_err(text)?;
            watch.next().await.ok_or("nothing")?.map_err(text)
        }),
        attempt("watch all", async move {
            let mut watch = store().await?.watch_all_from_revision(1).await.map_err(text)?;
            watch.next().await.ok_or("nothing")?.map_err(text)
        }),
    ]
}

/// Leaves the bucket as it was. The store comes from its owner where the client may not open it.
async fn writing<'a>(world: &World, peer: &'a Peer) -> Vec<Attempt<'a>> {
    let revision = world.bucket("config").await.entry("colour").await.unwrap().unwrap().revision;
    let store = || async { peer.js.get_key_value("config").await.map_err(text) };
    vec![
        attempt("update", async move {
            store().await?.update("colour", "green".into(), revision).await.map_err(text)
        }),
        attempt(
            "put",
            async move { store().await?.put("colour", "blue".into()).await.map_err(text) },
        ),
        attempt("create", async move {
            store().await?.create("shape", "round".into()).await.map_err(text)
        }),
        attempt("delete", async move { store().await?.delete("shape").await.map_err(text) }),
        attempt("purge a key", async move { store().await?.purge("shape").await.map_err(text) }),
        attempt("remove the markers", async move {
            let stream = peer.js.get_stream_no_info("KV_config").await.map_err(text)?;
            stream.purge().filter("$KV.config.shape").await.map_err(text)
        }),
    ]
}

fn administering(peer: &Peer) -> Vec<Attempt<'_>> {
    let config = || kv::Config { bucket: "config".to_owned(), history: 6, ..kv::Config::default() };
    vec![
        attempt("update the bucket", async move {
            let config = kv::Config {
                storage: async_nats::jetstream::stream::StorageType::Memory,
                ..config()
            };
            peer.js.update_key_value(config).await.map_err(text)
        }),
        attempt("delete the bucket", peer.js.delete_key_value("config")),
        attempt("create the bucket", peer.js.create_key_value(config())),
    ]
}

fn others(peer: &Peer) -> Vec<Attempt<'_>> {
    let js = &peer.js;
    let secrets = || async { js.get_stream_no_info("KV_secrets").await.map_err(text) };
    let key = "$KV.secrets.colour";
    vec![
        attempt("open another", js.get_key_value("secrets")),
        attempt(
            "create another",
            js.create_key_value(kv::Config {
                bucket: "secrets".to_owned(),
                ..kv::Config::default()
            }),
        ),
        attempt("delete another", js.delete_key_value("secrets")),
        attempt("direct get", async move {
            secrets().await?.direct_get_last_for_subject(key).await.map_err(text)
        }),
        attempt("get by message", async move {
            secrets().await?.get_last_raw_message_by_subject(key).await.map_err(text)
        }),
        attempt("purge", async move { secrets().await?.purge().await.map_err(text) }),
        attempt("watch", async move {
            let config = async_nats::jetstream::consumer::pull::Config {
                filter_subject: key.to_owned(),
                ..Default::default()
            };
            js.create_consumer_on_stream(config, "KV_secrets").await.map_err(text)
        }),
        attempt("put", async move {
            js.publish(key, "red".into()).await.map_err(text)?.await.map_err(text)
        }),
        attempt("a stream", js.get_stream("ORDERS")),
        attempt("an object store", js.get_object_store("files")),
        attempt(
            "all streams",
            async move { js.streams().try_collect::<Vec<_>>().await.map_err(text) },
        ),
        attempt("all names", async move {
            js.stream_names().try_collect::<Vec<_>>().await.map_err(text)
        }),
    ]
}
