//! `objects`: read, write, admin.

use async_nats::jetstream::{object_store, stream::StorageType};
use callgate::policy::settings::{BucketAccess, RoleSettings};
use futures_util::{StreamExt, TryStreamExt};
use tokio::io::AsyncReadExt;

use super::{
    VERSIONS,
    world::{Attempt, Peer, World, all, attempt, bucket, role, text},
};

fn roles(domain: Option<&'static str>) -> Vec<(&'static str, RoleSettings)> {
    let of = |access| role(|role| role.objects.push(bucket("files", access, domain)));
    vec![
        ("read", of(BucketAccess::Read)),
        ("write", of(BucketAccess::Write)),
        ("admin-of-files", of(BucketAccess::Admin)),
    ]
}

#[tokio::test]
async fn each_access_level_permits_exactly_its_operations() {
    for version in VERSIONS {
        check(World::new(version, None, roles(None)).await).await;
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
    peer.cannot_publish(&["$O.files.C.x", "$O.files.M.x", "$O.vault.M.x"]).await;

    let peer = world.peer("write").await;
    peer.can(reading(&peer)).await;
    peer.can(writing(&world, &peer).await).await;
    let hasty = peer.hasty();
    peer.cannot(all([administering(&hasty), others(&hasty)])).await;
    peer.cannot_publish(&["$O.vault.C.x", "$JS.API.STREAM.MSG.DELETE.OBJ_files"]).await;

    let peer = world.peer("admin-of-files").await;
    peer.can(reading(&peer)).await;
    peer.can(administering(&peer)).await;
    peer.cannot(others(&peer.hasty())).await;
    let mut kept = world.objects("vault").await.get("readme").await.unwrap();
    assert_eq!(content(&mut kept).await, Ok("hello".to_owned()));
}

async fn content(object: &mut object_store::Object) -> Result<String, String> {
    let mut content = String::new();
    object.read_to_string(&mut content).await.map_err(text)?;
    Ok(content)
}

fn reading(peer: &Peer) -> Vec<Attempt<'_>> {
    let store = || async { peer.js.get_object_store("files").await.map_err(text) };
    vec![
        attempt("get", async move {
            let mut object = store().await?.get("readme").await.map_err(text)?;
            let content = content(&mut object).await?;
            (content == "hello").then_some(()).ok_or(content)
        }),
        attempt("info", async move { store().await?.info("readme").await.map_err(text) }),
        attempt("list", async move {
            let list = store().await?.list().await.map_err(text)?;
            list.try_collect::<Vec<_>>().await.map_err(text)
        }),
        attempt("watch", async move {
            let mut watch = store().await?.watch_with_history().await.map_err(text)?;
            watch.next().await.ok_or("nothing")?.map_err(text)
        }),
        // As clients do that look the stream up before they read the chunks.
        attempt("stream by subject", async move {
            peer.js.stream_by_subject("$O.files.C.>").await.map_err(text)
        }),
    ]
}

/// Separate steps, so that one refusal does not hide the next.
async fn writing<'a>(world: &World, peer: &'a Peer) -> Vec<Attempt<'a>> {
    let owned = world.objects("files").await;
    for name in ["old", "older"] {
        owned.put(name, &mut b"x".as_slice()).await.unwrap();
    }
    let store = || async { peer.js.get_object_store("files").await.map_err(text) };
    vec![
        attempt("put", async move {
            let mut bytes = &vec![7; 300_000][..];
            store().await?.put("new", &mut bytes).await.map_err(text)
        }),
        attempt("replace", async move {
            store().await?.put("old", &mut b"y".as_slice()).await.map_err(text)
        }),
        attempt("rename", async move {
            let metadata =
                object_store::UpdateMetadata { name: "renamed".to_owned(), ..Default::default() };
            store().await?.update_metadata("old", metadata).await.map_err(text)
        }),
        attempt("delete", async move { store().await?.delete("older").await.map_err(text) }),
    ]
}

fn administering(peer: &Peer) -> Vec<Attempt<'_>> {
    let config = object_store::Config {
        bucket: "files".to_owned(),
        storage: StorageType::Memory,
        ..object_store::Config::default()
    };
    vec![
        attempt("seal", async move {
            let mut store = peer.js.get_object_store("files").await.map_err(text)?;
            store.seal().await.map_err(text)
        }),
        attempt("delete", peer.js.delete_object_store("files")),
        attempt("create", peer.js.create_object_store(config)),
    ]
}

fn others(peer: &Peer) -> Vec<Attempt<'_>> {
    let js = &peer.js;
    let vault = || async { js.get_stream_no_info("OBJ_vault").await.map_err(text) };
    vec![
        attempt("open another", js.get_object_store("vault")),
        attempt("delete another", js.delete_object_store("vault")),
        attempt("direct get", async move { vault().await?.direct_get(1).await.map_err(text) }),
        attempt(
            "get by message",
            async move { vault().await?.get_raw_message(1).await.map_err(text) },
        ),
        attempt("purge", async move { vault().await?.purge().await.map_err(text) }),
        attempt(
            "consume",
            js.create_consumer_on_stream(
                async_nats::jetstream::consumer::pull::Config::default(),
                "OBJ_vault",
            ),
        ),
        attempt("put", async move {
            js.publish("$O.vault.M.x", "x".into()).await.map_err(text)?.await.map_err(text)
        }),
        attempt("a bucket", js.get_key_value("config")),
        attempt("a stream", js.get_stream("ORDERS")),
        attempt(
            "all streams",
            async move { js.streams().try_collect::<Vec<_>>().await.map_err(text) },
        ),
    ]
}
