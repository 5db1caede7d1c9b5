//! All scenarios at the oldest and at the newest server line.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "test code, and its output is a report"
)]

use callgate_matrix::{mode::Mode, plan, report::Outcome, run};
use callgate_testkit::nats_server::Version;

async fn hold(version: Version) {
    let mut faults = Vec::new();
    for cell in run::scenarios(&Mode::ALL, version, &|_| true).await {
        println!("{cell}");
        if let Outcome::Failed { .. } = cell.outcome {
            faults.push(cell.to_string());
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_scenario_at_the_oldest_server() {
    hold(*plan::lines().first().unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_scenario_at_the_newest_server() {
    hold(*plan::lines().last().unwrap()).await;
}
