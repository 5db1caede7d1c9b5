//! Logins under way while a lock is stored.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use callgate_testkit::{RawClient, eventually, wait::LONG};
use tokio::time::{sleep, timeout};

use super::world::{Options, World};
use crate::support::Mode;

/// The token of the user `fast`.
const TOKEN: &str = "fast-alice";
/// With each line.
const ROUNDS: usize = 3;
/// Logins that go on at the same time.
const CLIENTS: usize = 8;
/// Logins of each in a round, at least and at most.
const LEAST: usize = 16;
const MOST: usize = 200;

/// Each line and each mode, though not all six pairs.
const EVERYWHERE: [(Mode, &str); 3] =
    [(Mode::Operator, "2.10"), (Mode::Configuration, "2.12"), (Mode::Configuration, "2.15")];

/// Two replicas that compare connections with locks so seldom that it does not matter here.
async fn world(mode: Mode, line: &'static str) -> World {
    let line = Some(line);
    World::with(Options { replicas: 2, reconcile: "10m", mode, line, ..Options::default() }).await
}

/// A thousand logins with nine locks at random moments between them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lock_between_proof_and_answer_still_refuses_or_kicks() {
    let mut logins = 0;
    let mut admitted = 0;
    for (mode, line) in EVERYWHERE {
        let world = Arc::new(world(mode, line).await);
        for _ in 0..ROUNDS {
            let [all, connected] = lock_between_logins(&world).await;
            logins += all;
            admitted += connected;
        }
    }
    assert!(logins >= 1000, "{logins} logins");
    assert!(admitted > 0 && admitted < logins, "{admitted} of {logins} admitted");
}

/// The number of logins, and of those that were admitted before the lock.
async fn lock_between_logins(world: &Arc<World>) -> [usize; 2] {
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| tokio::spawn(log_in_until(Arc::clone(world), Arc::clone(&stop))))
        .collect();
    sleep(random_moment()).await;
    let locked = world.run_aside(&["lock", "--user", "fast", "--yes", "--json"]).await;
    assert_eq!(locked.code, 0, "{locked:?}");
    stop.store(true, Ordering::Relaxed);
    let mut logins = 0;
    let mut admitted = 0;
    for client in clients {
        let (count, connected) = client.await.unwrap();
        logins += count;
        admitted += connected.len();
        // None survives, although no comparison takes place.
        for mut one in connected {
            one.closed().await;
        }
    }
    world.sessions(0, &["--user", "fast"]).await;
    assert_eq!(world.run_aside(&["unlock", "--all"]).await.code, 0);
    [logins, admitted]
}

/// Logs in again and again until the lock is in force, and a few times at least.
async fn log_in_until(world: Arc<World>, stop: Arc<AtomicBool>) -> (usize, Vec<RawClient>) {
    let mut count = 0;
    let mut connected = Vec::new();
    while count < LEAST || (!stop.load(Ordering::Relaxed) && count < MOST) {
        count += 1;
        let mut client = world.raw_login(0, TOKEN).await;
        if client.is_admitted().await {
            connected.push(client);
        }
    }
    (count, connected)
}

/// Up to a quarter of a second.
fn random_moment() -> Duration {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    Duration::from_millis(u64::from(now.subsec_nanos()) / 1000 % 250)
}

/// One replica has received the login and is stopped when another one stores the lock. No server lists a name
/// for the login meanwhile.
#[tokio::test]
async fn token_login_pending_at_lock_time_is_gone_in_two_seconds() {
    for (mode, line) in EVERYWHERE {
        pending_login_is_gone(&mut world(mode, line).await).await;
    }
}

async fn pending_login_is_gone(world: &mut World) {
    world.gates[1].process.freeze().await;
    let frozen = world.gates[1].mark();
    let mut clients = Vec::new();
    eventually("a login that the stopped replica has received", LONG, async || {
        let mut client = world.raw_login(0, TOKEN).await;
        let is_pending = timeout(Duration::from_secs(1), client.is_admitted()).await.is_err();
        clients.push(client);
        is_pending.then_some(())
    })
    .await;
    let mark = world.gates[0].mark();
    let mut lock = world.command(&["lock", "--user", "fast", "--yes", "--json"]);
    let lock = tokio::task::spawn_blocking(move || lock.output().unwrap());
    world.gates[0].says(mark, "lock in force").await;
    world.gates[1].process.signal("CONT");
    for client in &mut clients {
        client.closed().await;
    }
    world.sessions(0, &["--user", "fast"]).await;
    lock.await.unwrap();
    // The stopped replica has decided.
    eventually("its decision", LONG, async || {
        (!world.gates[1].decisions(frozen).is_empty()).then_some(())
    })
    .await;
}
