//! Runs cells; a panic fails its own cell only.

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

/// All connection types in one environment at one server line.
pub async fn connections(mode: Mode, version: Version) -> Vec<Cell> {
    let mut cells = Vec::new();
    let mut environment = None;
    for transport in Transport::ALL {
        let mut needed = [mode.needs(), transport.needs()].into_iter().flatten();
        let missing = needed.rfind(|tool| !tool.is_installed());
        let outcome = match missing {
            Some(tool) => Outcome::NotRun { reason: tool.missing().to_owned() },
            None => {
                let (outcome, reusable) =
                    run_cell(mode, version, transport, environment.take()).await;
                environment = reusable;
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

/// Runs one cell. After a failure the next cell starts with a new environment.
async fn run_cell(
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
    // After a panic the environment is dropped: it may be in an inconsistent state.
    match AssertUnwindSafe(work).catch_unwind().await {
        Ok((outcome, environment)) => (outcome, Some(environment)),
        Err(panic) => (failed(&panic), None),
    }
}

/// The selected scenarios of these modes at one server line.
pub async fn scenarios(
    modes: &[Mode],
    version: Version,
    selected: &dyn Fn(&str) -> bool,
) -> Vec<Cell> {
    let mut cells = Vec::new();
    for scenario in scenarios::ALL.iter().filter(|scenario| selected(scenario.name)) {
        for mode in scenario.modes.iter().filter(|mode| modes.contains(mode)) {
            cells.push(Cell {
                environment: mode.name().to_owned(),
                row: scenario.name.to_owned(),
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
        .unwrap_or_else(|| "a panic without a message".to_owned())
}
