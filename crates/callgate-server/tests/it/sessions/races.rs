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

/// The token of the user `fast`.
const TOKEN: &str = "fast-alice";
const ROUNDS: usize = 8;
/// Logins that go on at the same time.
const CLIENTS: usize = 8;
/// Logins of each in a round, at least and at most.
const LEAST: usize = 16;
const MOST: usize = 200;

/// A thousand logins with eight locks at random moments between them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lock_between_proof_and_answer_still_refuses_or_kicks() {
    let options = Options { replicas: 2, reconcile: "10m", ..Options::default() };
    let world = Arc::new(World::with(options).await);
    let mut logins = 0;
    let mut admitted = 0;
    for _ in 0..ROUNDS {
        let stop = Arc::new(AtomicBool::new(false));
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| tokio::spawn(log_in_until(Arc::clone(&world), Arc::clone(&stop))))
            .collect();
        sleep(random_moment()).await;
        let locked = world.run_aside(&["lock", "--user", "fast", "--yes", "--json"]).await;
        assert_eq!(locked.code, 0, "{locked:?}");
        stop.store(true, Ordering::Relaxed);
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
    }
    assert!(logins >= 1000, "{logins} logins");
    assert!(admitted > 0 && admitted < logins, "{admitted} of {logins} admitted");
}

/// Logs in again and again, some times also after the lock.
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
    let options = Options { replicas: 2, reconcile: "10m", ..Options::default() };
    let mut world = World::with(options).await;
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
