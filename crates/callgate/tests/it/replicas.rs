//! Replicas in one queue group share the requests, and each may leave at any time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use callgate::Callgate;
use callgate_testkit::{eventually, wait::PATIENCE};
use futures_util::future::join_all;

use crate::server::{Callout, VERSIONS, login};

/// A gate that counts its decisions.
fn counting(callout: &Callout) -> (Callgate, Arc<AtomicUsize>) {
    let decided = Arc::<AtomicUsize>::default();
    let count = Arc::clone(&decided);
    let builder = callout.builder().on_decision(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
    });
    (builder.build().unwrap(), decided)
}

#[tokio::test]
async fn replicas_share_requests_and_decide_each_once() {
    for version in VERSIONS {
        let callout = Callout::start(version, true).await;
        let (first, first_decided) = counting(&callout);
        let (second, second_decided) = counting(&callout);
        let replicas = [callout.replica(first).await, callout.replica(second).await];
        let clients = (0..60).map(|_| login(&callout.server, "alice", "secret"));
        assert!(join_all(clients).await.iter().all(Result::is_ok));
        let decided = [&first_decided, &second_decided].map(|count| count.load(Ordering::Relaxed));
        assert_eq!(decided.iter().sum::<usize>(), 60, "{decided:?}");
        assert!(decided.iter().all(|count| *count > 5), "{decided:?}");
        for replica in replicas {
            assert!(replica.leave(PATIENCE).await);
        }
    }
}

/// Replicas join and leave while clients connect; every login is admitted before the server's timeout.
#[tokio::test]
async fn leaving_replica_loses_no_requests() {
    for version in VERSIONS {
        let callout = Arc::new(Callout::start(version, true).await);
        let (gate, decided) = counting(&callout);
        let staying = callout.replica(gate.clone()).await;
        let stop = Arc::new(AtomicBool::new(false));
        let connecting = (0..8).map(|_| {
            let (callout, stop) = (Arc::clone(&callout), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut attempts = 0_usize;
                while !stop.load(Ordering::Relaxed) {
                    login(&callout.server, "alice", "secret").await.expect("login is admitted");
                    attempts += 1;
                }
                attempts
            })
        });
        let connecting: Vec<_> = connecting.collect();
        for _ in 0..10 {
            let before = decided.load(Ordering::Relaxed);
            let leaving = callout.replica(gate.clone()).await;
            assert!(leaving.is_running());
            eventually("ten more decisions", PATIENCE, async || {
                (decided.load(Ordering::Relaxed) >= before + 10).then_some(())
            })
            .await;
            assert!(leaving.leave(PATIENCE).await, "all requests in flight were finished");
        }
        stop.store(true, Ordering::Relaxed);
        let mut attempts = 0;
        for client in connecting {
            attempts += client.await.expect("every login was admitted");
        }
        assert_eq!(decided.load(Ordering::Relaxed), attempts, "one decision for each attempt");
        assert!(attempts >= 100);
        assert_eq!(staying.in_flight(), 0);
        assert!(staying.leave(PATIENCE).await);
        assert!(!callout.server.log().contains("timeout"), "{}", callout.server.log());
    }
}

#[tokio::test]
async fn leaving_waits_for_requests_in_flight_up_to_a_limit() {
    let callout = Callout::start("2.15", false).await;
    let entered = Arc::new(tokio::sync::Semaphore::new(0));
    let release = Arc::new(tokio::sync::Semaphore::new(0));
    let (enter, wait) = (Arc::clone(&entered), Arc::clone(&release));
    let gate = callout.builder().authorize(move |_| {
        let (enter, wait) = (Arc::clone(&enter), Arc::clone(&wait));
        async move {
            enter.add_permits(1);
            let _permit = wait.acquire().await;
            Ok(callgate::User::in_account("APP"))
        }
    });
    let gate = gate.build().unwrap();

    let replica = callout.replica(gate.clone()).await;
    let client = login(&callout.server, "alice", "secret");
    let outcome = async {
        entered.acquire().await.unwrap().forget();
        assert_eq!(replica.in_flight(), 1);
        let leaving = tokio::spawn(replica.leave(PATIENCE));
        release.add_permits(1);
        leaving.await.unwrap()
    };
    let (client, finished) = tokio::join!(client, outcome);
    assert!(finished && client.is_ok());

    // Take back the permit that the finished function returned, so that the next one hangs.
    release.acquire().await.unwrap().forget();
    let replica = callout.replica(gate).await;
    let client = login(&callout.server, "alice", "secret");
    let leaving = async {
        entered.acquire().await.unwrap().forget();
        replica.leave(Duration::from_millis(50)).await
    };
    let (client, finished) = tokio::join!(client, leaving);
    assert!(!finished, "leaving reports unfinished requests");
    assert!(client.is_err(), "the function never answered, so the client is refused");
}
