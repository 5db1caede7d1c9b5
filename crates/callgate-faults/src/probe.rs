//! Clients that connect continuously: valid ones and invalid ones.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use callgate_testkit::{eventually, wait::LONG};
use tokio::task::JoinHandle;

use crate::client::{Attempt, AttemptOutcome, Credential, attempt};

/// Between two attempts of one client, so that a machine's whole power does not go into attempts.
const PAUSE: Duration = Duration::from_millis(20);

/// The clients of a probe.
#[derive(Debug, Clone)]
pub struct Clients {
    /// One of these servers is tried.
    pub urls: Vec<String>,
    /// The valid credential.
    pub right: Credential,
    /// The number of concurrent clients.
    pub at_once: usize,
    /// Who must not.
    pub wrong: Vec<Credential>,
    /// The account in which all are.
    pub account: String,
}

/// Clients that connect until this is dropped.
#[derive(Debug)]
pub struct Probe {
    clients: Clients,
    seen: Arc<Attempts>,
    stop: Arc<AtomicBool>,
    workers: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Attempts {
    right: Mutex<Vec<Attempt>>,
    wrong: Mutex<Vec<(Credential, Attempt)>>,
}

impl Probe {
    /// Starts the clients.
    pub fn start(clients: Clients) -> Self {
        let (seen, stop) = (Arc::<Attempts>::default(), Arc::<AtomicBool>::default());
        let mut workers = Vec::new();
        for _ in 0..clients.at_once {
            let (clients, seen, stop) = (clients.clone(), Arc::clone(&seen), Arc::clone(&stop));
            workers.push(tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let attempt = attempt(&clients.urls, &clients.right).await;
                    seen.right.lock().unwrap().push(attempt);
                    tokio::time::sleep(PAUSE).await;
                }
            }));
        }
        let (all, saw, stopped) = (clients.clone(), Arc::clone(&seen), Arc::clone(&stop));
        workers.push(tokio::spawn(async move {
            for wrong in all.wrong.iter().cycle() {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                let attempt = attempt(&all.urls, wrong).await;
                saw.wrong.lock().unwrap().push((wrong.clone(), attempt));
                tokio::time::sleep(PAUSE).await;
            }
        }));
        Self { clients, seen, stop, workers }
    }

    /// The attempts of valid clients that overlap with this period.
    pub fn right_between(&self, from: Instant, to: Instant) -> Vec<Attempt> {
        let all = self.seen.right.lock().unwrap();
        all.iter().filter(|a| a.ended() >= from && a.began <= to).cloned().collect()
    }

    /// Waits until this many attempts of each kind began after `from` and have ended.
    pub async fn tries(&self, from: Instant, count: usize) {
        eventually(&format!("{count} attempts of each kind"), LONG, async || {
            let right = self.seen.right.lock().unwrap();
            let wrong = self.seen.wrong.lock().unwrap();
            let enough = right.iter().filter(|a| a.began >= from).count() >= count
                && wrong.iter().filter(|(_, a)| a.began >= from).count() >= count;
            enough.then_some(())
        })
        .await;
    }

    /// Waits for an admission whose attempt began after `from`; returns its time.
    pub async fn comes_in(&self, from: Instant) -> Instant {
        self.come_in(from, 1).await
    }

    /// Waits for this many admissions whose attempts began after `from`; returns the time of the last.
    pub async fn come_in(&self, from: Instant, count: usize) -> Instant {
        eventually(&format!("{count} clients to come in"), LONG, async || {
            let right = self.seen.right.lock().unwrap();
            let mut ends: Vec<_> = right
                .iter()
                .filter(|a| a.began >= from && a.is_admitted())
                .map(Attempt::ended)
                .collect();
            ends.sort();
            ends.get(count - 1).copied()
        })
        .await
    }

    /// Asserts that no invalid client was admitted, and none into another account. Returns the number of
    /// invalid attempts.
    ///
    /// # Panics
    /// If one was: this is the promise, whatever else breaks.
    pub fn no_invalid_client_is_admitted(&self) -> usize {
        let wrong = self.seen.wrong.lock().unwrap();
        for (credential, attempt) in wrong.iter() {
            assert!(
                !attempt.is_admitted(),
                "FAILED OPEN: {credential:?} was admitted: {attempt:?}"
            );
        }
        for attempt in self.seen.right.lock().unwrap().iter() {
            if let AttemptOutcome::Admitted(account) = &attempt.outcome {
                assert_eq!(account, &self.clients.account, "{attempt:?}");
            }
        }
        wrong.len()
    }

    /// Stops the clients, and waits for running attempts.
    pub async fn stop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for worker in self.workers.drain(..) {
            worker.await.expect("a client does not panic");
        }
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.workers.iter().for_each(JoinHandle::abort);
    }
}
