//! The permissions in `docs/kv.md` are sufficient, and each missing one is named.

use super::world::{NEEDED, OWNED, World, put};
use crate::support::{Credential, callgate_in};

#[tokio::test]
async fn each_missing_permission_is_named() {
    for missing in NEEDED {
        let permitted: Vec<_> = NEEDED.into_iter().filter(|subject| *subject != missing).collect();
        let world = World::with(1, OWNED, "", &permitted).await;
        world.create().await;
        let gate = world.gate_waiting().await;
        let logged = gate.record(0, &["cannot watch the bucket"]).await;
        let expected = format!("no permission to publish `{missing}`");
        assert!(logged["error"].as_str().unwrap().contains(&expected), "{logged}");
        let checked =
            callgate_in(world.folder.path(), &["check", "--connect", "--config", "callgate.toml"]);
        assert_eq!(checked.code, 2, "{checked:?}");
        assert!(checked.stdout.contains(&expected), "{checked:?}");
    }
}

#[tokio::test]
async fn account_without_jetstream_is_named() {
    let mut world = World::start(OWNED).await;
    world.servers.servers[0]
        .reload_changed(|text| text.replace("AUTH { jetstream: enabled,", "AUTH {"))
        .await;
    let gate = world.gate_waiting().await;
    let logged = gate.record(0, &["cannot watch the bucket"]).await;
    assert!(logged["error"].as_str().unwrap().contains("JetStream is not enabled"), "{logged}");
}

#[tokio::test]
async fn check_connect_reads_every_entry() {
    let world = World::start(OWNED).await;
    let check =
        || callgate_in(world.folder.path(), &["check", "--connect", "--config", "callgate.toml"]);
    let missing = check();
    assert_eq!(missing.code, 2, "{missing:?}");
    assert!(missing.stdout.contains("the bucket `users` does not exist"), "{missing:?}");
    let bucket = world.create().await;
    put(&bucket, "alice").await;
    let good = check();
    assert_eq!(good.code, 0, "{good:?}");
    assert!(good.stdout.contains("people: ok; the bucket `users` has 1 entry"), "{good:?}");
    bucket.put("bob", r#"{"pass":"canary-bob","rolls":1}"#.into()).await.unwrap();
    let bad = check();
    assert_eq!(bad.code, 2, "{bad:?}");
    assert!(bad.stdout.contains("key `bob`") && bad.stdout.contains("rolls"), "{bad:?}");
    assert!(!bad.stdout.contains("canary"), "{bad:?}");
    // The service decides as the check says.
    let gate = world.gate().await;
    assert_eq!(
        world.reason(&gate, &Credential::password("bob", "canary-bob")).await,
        "user_disabled"
    );
}
