//! Each missing permission of `[state]` is named.

use super::world::{NEEDED, ONE, World};
use crate::{
    scenario::Written,
    support::{CommandOutput, callgate_in},
};

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
        let checked = check(&world);
        assert_eq!(checked.code, 2, "{checked:?}");
        assert!(checked.stdout.contains("error: state: "), "{checked:?}");
        assert!(checked.stdout.contains(missing), "{checked:?}");
    }
}

fn check(world: &World) -> CommandOutput {
    callgate_in(world.folder.path(), &["check", "--connect", "--config", "callgate.toml"])
}

#[tokio::test]
async fn needed_permissions_are_sufficient() {
    let world = World::start(1, ONE).await;
    let checked = check(&world);
    assert_eq!(checked.code, 0, "{checked:?}");
    assert!(
        checked.stdout.contains("state: ok; the bucket `callgate` will be created"),
        "{checked:?}"
    );
    let (one, two) = (world.gate().await, world.gate().await);
    for gate in [&one, &two] {
        let log = gate.log();
        assert!(!log.contains("\"ERROR\"") && !log.contains("no permission"), "{log}");
    }
    let checked = check(&world);
    assert!(checked.stdout.contains("the bucket `callgate` exists, replicas: 1"), "{checked:?}");
}

#[tokio::test]
async fn files_of_init_permit_what_state_needs() {
    let switch_on = |text: &str| text.replace("# [state]\n# replicas = 1", "[state]\nreplicas = 1");
    for version in ["2.10", "2.12", "2.15"] {
        for arguments in [&["--demo"][..], &["--demo", "--operator"]] {
            let written = Written::start(version, arguments, switch_on).await;
            written.gate.record(0, &["locks read from the bucket"]).await;
            let log = written.gate.log();
            assert!(!log.contains("\"ERROR\"") && !log.contains("no permission"), "{log}");
        }
    }
}
