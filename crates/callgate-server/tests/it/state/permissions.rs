//! Each missing permission of `[state]` is named.

use super::world::{NEEDED, ONE, World};

#[tokio::test]
async fn each_missing_permission_is_named() {
    for missing in NEEDED {
        let permitted: Vec<_> = NEEDED.into_iter().filter(|subject| *subject != missing).collect();
        let world = World::with(1, ONE, &permitted).await;
        let gate = world.gate_waiting().await;
        let (event, missing) = match missing {
            "CALLGATE.>" => ("no permission for messages between replicas", "CALLGATE.callgate.>"),
            missing => ("cannot use the bucket", missing),
        };
        let logged = gate.record(0, &[event, missing]).await;
        assert_eq!(logged["level"], "ERROR", "{logged}");
    }
}

#[tokio::test]
async fn needed_permissions_are_sufficient() {
    let world = World::start(1, ONE).await;
    let (one, two) = (world.gate().await, world.gate().await);
    for gate in [&one, &two] {
        let log = gate.log();
        assert!(!log.contains("\"ERROR\"") && !log.contains("no permission"), "{log}");
    }
}
