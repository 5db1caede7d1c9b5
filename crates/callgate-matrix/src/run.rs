//! Runs cells; a panic is a failure of its cell and of no other.

use std::{any::Any, future::Future, panic::AssertUnwindSafe};

use callgate_testkit::nats_server::Version;
use futures_util::FutureExt;

use crate::{
    cells,
    environment::Environment,
    mode::Mode,
    report::{Cell, Outcome},
    scenarios,
    transport::Transport,
};

/// All kinds of connections in one environment at one server line.
pub async fn connections(mode: Mode, version: Version) -> Vec<Cell> {
    let mut cells = Vec::new();
    let mut environment = None;
    for transport in Transport::ALL {
        let mut needed = [mode.needs(), transport.needs()].into_iter().flatten();
        let missing = needed.rfind(|tool| !tool.is_there());
        let outcome = match missing {
            Some(tool) => Outcome::NotRun { reason: tool.missing().to_owned() },
            None => {
                let (outcome, kept) = one(mode, version, transport, environment.take()).await;
                environment = kept;
                outcome
            }
        };
        cells.push(Cell {
            environment: mode.name().to_owned(),
            row: transport.name().to_owned(),
            server: version.to_string(),
            outcome,
        });
    }
    cells
}

/// A failed cell leaves its environment behind: the next one begins with a fresh one.
async fn one(
    mode: Mode,
    version: Version,
    transport: Transport,
    environment: Option<Environment>,
) -> (Outcome, Option<Environment>) {
    let work = async move {
        let mut environment = match environment {
            Some(environment) => environment,
            None => Environment::start(mode, version).await,
        };
        let outcome = cells::run(&mut environment, transport).await;
        (outcome, environment)
    };
    // What panicked is dropped, so that nobody sees it half changed.
    match AssertUnwindSafe(work).catch_unwind().await {
        Ok((outcome, environment)) => (outcome, Some(environment)),
        Err(panic) => (failed(&panic), None),
    }
}

/// The chosen scenarios of these modes at one server line.
pub async fn scenarios(
    modes: &[Mode],
    version: Version,
    chosen: &dyn Fn(&str) -> bool,
) -> Vec<Cell> {
    let mut cells = Vec::new();
    for scenario in scenarios::ALL.iter().filter(|scenario| chosen(scenario.says)) {
        for mode in scenario.modes.iter().filter(|mode| modes.contains(mode)) {
            cells.push(Cell {
                environment: mode.name().to_owned(),
                row: scenario.says.to_owned(),
                server: version.to_string(),
                outcome: guarded((scenario.run)(*mode, version)).await,
            });
        }
    }
    cells
}

/// Runs something that panics if it fails.
pub async fn guarded(work: impl Future<Output = Outcome>) -> Outcome {
    AssertUnwindSafe(work).catch_unwind().await.unwrap_or_else(|panic| failed(&panic))
}

fn failed(panic: &Box<dyn Any + Send>) -> Outcome {
    Outcome::Failed { reason: message(panic) }
}

fn message(panic: &Box<dyn Any + Send>) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_else(|| "a panic without words".to_owned())
}
