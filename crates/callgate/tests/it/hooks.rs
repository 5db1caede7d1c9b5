//! Admission hooks: they confirm each admission before its answer leaves, and learn of each that fails.

use std::sync::{Arc, Mutex};

use callgate::{
    AdmissionHook,
    record::{Decision, Denial, Reason},
    request::AuthRequest,
};
use futures_util::future::BoxFuture;

use crate::support::Bench;

type Log = Arc<Mutex<Vec<String>>>;

/// Refuses what its name says, and logs the calls.
#[derive(Debug)]
struct Hook {
    name: &'static str,
    log: Log,
}

impl Hook {
    fn note(&self, call: &str) {
        self.log.lock().unwrap().push(format!("{} {call}", self.name));
    }
}

impl AdmissionHook for Hook {
    fn before_authentication(&self, _request: &AuthRequest) -> Result<(), Denial> {
        match self.name {
            "early" => Err(Denial::by_lock(&"01ABC".into(), "a network is locked")),
            _ => Ok(()),
        }
    }

    fn before_answer<'a>(
        &'a self,
        request: &'a AuthRequest,
        decision: &'a Decision,
    ) -> BoxFuture<'a, Result<(), Denial>> {
        Box::pin(async move {
            self.note("asked");
            assert!(decision.grant.is_some(), "{}", request.id());
            match self.name {
                "locked" => Err(Denial::by_lock(&"01ABC".into(), "the user is locked")),
                "late" => std::future::pending().await,
                "panics" => panic!("a bug in the hook"),
                _ => Ok(()),
            }
        })
    }

    fn not_admitted(&self, _request: &AuthRequest, why: &Denial) {
        self.note(why.reason.as_str());
    }
}

fn bench(names: &[&'static str]) -> (Bench, Log) {
    let log = Log::default();
    let bench = Bench::new(|builder| {
        names.iter().fold(builder, |builder, name| {
            builder.admission_hook(Arc::new(Hook { name, log: Arc::clone(&log) }))
        })
    });
    (bench, log)
}

fn calls(log: &Log) -> Vec<String> {
    std::mem::take(&mut *log.lock().unwrap())
}

#[tokio::test]
async fn every_hook_confirms_an_admission() {
    let (bench, log) = bench(&["first", "second"]);
    bench.admitted(bench.alice()).await;
    assert_eq!(calls(&log), ["first asked", "second asked"]);
}

#[tokio::test]
async fn refusal_by_a_hook_is_reported_to_those_before_it() {
    let (bench, log) = bench(&["first", "locked", "never"]);
    let decision = bench.refused(bench.alice(), Reason::Locked).await;
    assert_eq!(decision.lock.as_deref(), Some("01ABC"));
    assert_eq!(decision.account, None);
    assert_eq!(calls(&log), ["first asked", "locked asked", "first locked", "locked locked"]);
}

#[tokio::test]
async fn early_refusal_decides_before_the_credential_is_checked() {
    let (bench, log) = bench(&["early"]);
    let decision = bench.refused(bench.alice(), Reason::Locked).await;
    assert_eq!(decision.grant, None);
    assert!(calls(&log).is_empty());
}

#[tokio::test]
async fn panic_in_a_hook_refuses_the_client() {
    let (bench, log) = bench(&["panics"]);
    bench.refused(bench.alice(), Reason::BackendUnavailable).await;
    assert_eq!(calls(&log), ["panics asked", "panics backend_unavailable"]);
}

#[tokio::test(start_paused = true)]
async fn late_hook_refuses_the_client_before_the_deadline() {
    let (bench, log) = bench(&["late"]);
    bench.refused(bench.alice(), Reason::BackendUnavailable).await;
    assert_eq!(calls(&log), ["late asked", "late backend_unavailable"]);
}

#[tokio::test]
async fn refused_clients_reach_no_hook() {
    let (bench, log) = bench(&["first"]);
    bench.refused(bench.request(), Reason::NoCredential).await;
    assert!(calls(&log).is_empty());
}
