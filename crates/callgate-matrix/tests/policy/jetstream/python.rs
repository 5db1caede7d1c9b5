//! nats-py, whose requests differ from those of async-nats.

use callgate::policy::settings::{BucketAccess, RoleSettings, StreamAccess, StreamSettings};
use callgate_testkit::{Process, tools, wait::PATIENCE};

use super::{
    VERSIONS,
    world::{World, bucket, orders, role},
};

const CLIENT: &str = r#"
import asyncio, sys, nats
from nats.js.api import ConsumerConfig
from nats.js.errors import KeyNotFoundError

URL = sys.argv[1]
refused = []

async def client(user):
    async def error(problem):
        refused.append(str(problem))
    inbox = b"_INBOX_" + user.replace("_", "=5F").encode()
    return await nats.connect(URL, user=user, password=user, inbox_prefix=inbox, error_cb=error)

async def refuses(attempt):
    before = len(refused)
    try:
        await attempt
    except Exception:
        await asyncio.sleep(0)
        assert len(refused) > before, "it failed, but not for want of permission"
        return
    raise AssertionError("it was possible")

async def consume():
    nc = await client("consume")
    js = nc.jetstream(timeout=5)
    hasty = nc.jetstream(timeout=0.3)
    for subscription in [
        await js.pull_subscribe("orders.>", durable="python"),
        await js.pull_subscribe("orders.new.1", stream="ORDERS"),
        await js.pull_subscribe_bind("worker", "ORDERS"),
    ]:
        for message in await subscription.fetch(1, timeout=5):
            await message.ack_sync()
        await subscription.consumer_info()
    push = await js.subscribe("orders.>", stream="ORDERS", ordered_consumer=True)
    assert (await push.next_msg(timeout=5)).data == b"x"
    await push.unsubscribe()
    push = await js.subscribe("orders.>", durable="pushed", idle_heartbeat=5, flow_control=True)
    assert (await push.next_msg(timeout=5)).data == b"x"
    await js.delete_consumer("ORDERS", "pushed")
    assert "worker" in [one.name for one in await js.consumers_info("ORDERS")]
    assert not refused, refused
    await refuses(hasty.consumer_info("OTHER", "theirs"))
    await refuses(hasty.purge_stream("ORDERS"))
    await refuses(hasty.publish("orders.new.1", b"", timeout=0.3))

async def named():
    nc = await client("named")
    js = nc.jetstream(timeout=5)
    subscription = await js.pull_subscribe_bind("worker", "ORDERS")
    for message in await subscription.fetch(2, timeout=5):
        await message.ack_sync()
    assert not refused, refused
    await refuses(nc.jetstream(timeout=0.3).consumer_info("ORDERS", "second"))

async def kv():
    nc = await client("read")
    store = await nc.jetstream(timeout=5).key_value("config")
    hasty = await nc.jetstream(timeout=0.3).key_value("config")
    assert (await store.get("colour")).value == b"blue"
    assert (await store.get("colour", revision=1)).value == b"red"
    assert "colour" in await store.keys()
    assert len(await store.history("colour")) >= 2
    watch = await store.watchall()
    assert (await watch.updates(timeout=5)).key == "colour"
    await watch.stop()
    assert (await store.status()).bucket == "config"
    assert not refused, refused
    await refuses(hasty.put("colour", b"red"))
    await refuses(nc.jetstream(timeout=0.3).key_value("secrets"))

    nc = await client("write")
    refused.clear()
    js = nc.jetstream(timeout=5)
    store = await js.key_value("config")
    await store.put("shape", b"round")
    revision = await store.create("size", b"big")
    await store.update("size", b"small", last=revision)
    await store.delete("size")
    await store.purge("shape")
    await store.purge_deletes(olderthan=-1)
    try:
        await store.get("shape")
        raise AssertionError("it is still there")
    except KeyNotFoundError:
        pass
    assert not refused, refused
    await refuses(nc.jetstream(timeout=0.3).delete_key_value("config"))

async def objects():
    nc = await client("keeper")
    store = await nc.jetstream(timeout=5).object_store("files")
    assert (await store.get("readme")).data == b"hello"
    await store.put("python", b"x" * 200000)
    assert len((await store.get("python")).data) == 200000
    assert "python" in [info.name for info in await store.list()]
    await store.delete("python")
    assert not refused, refused
    await refuses(nc.jetstream(timeout=0.3).object_store("vault"))

async def main():
    for part in [consume, named, kv, objects]:
        refused.clear()
        await part()
    print("done")

asyncio.run(main())
"#;

fn roles() -> Vec<(&'static str, RoleSettings)> {
    let named = role(|role| {
        let consume = orders(StreamAccess::Consume, None).streams.remove(0);
        role.streams.push(StreamSettings { consumer: Some("worker".to_owned()), ..consume });
    });
    vec![
        ("consume", orders(StreamAccess::Consume, None)),
        ("named", named),
        ("read", role(|role| role.kv.push(bucket("config", BucketAccess::Read, None)))),
        ("write", role(|role| role.kv.push(bucket("config", BucketAccess::Write, None)))),
        ("keeper", role(|role| role.objects.push(bucket("files", BucketAccess::Write, None)))),
    ]
}

#[tokio::test]
async fn nats_py_works_with_the_macros() {
    for version in VERSIONS {
        let world = World::new(version, None, roles()).await;
        let mut client = Process::builder("nats-py", tools::python())
            .args(["-c", CLIENT, &world.site.server.url()])
            .start();
        let status = client.wait_for_exit(3 * PATIENCE).await;
        assert_eq!(client.stdout(), "done\n", "{version}: {status}: {}", client.stderr());
    }
}
