//! Runs the whole matrix and writes what came of it:
//! `callgate-conformance FILE`, as `make test-matrix` does.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for the terminal")]

use std::{process::ExitCode, time::Instant};

use callgate_conformance::{
    mode::Mode,
    plan,
    report::{Cell, Report},
    run,
};
use futures_util::{StreamExt, stream};

/// Environments that run side by side.
const SIDE_BY_SIDE: usize = 4;

#[tokio::main]
async fn main() -> ExitCode {
    let Some(file) = std::env::args().nth(1) else {
        eprintln!("usage: callgate-conformance FILE");
        return ExitCode::from(2);
    };
    // A failure is told where it belongs; its backtrace helps nobody.
    std::panic::set_hook(Box::new(|_| ()));
    let begun = Instant::now();
    let report = Report { connections: connections().await, scenarios: scenarios().await };
    if let Err(error) = std::fs::write(&file, report.json()) {
        eprintln!("cannot write `{file}`: {error}");
        return ExitCode::from(2);
    }
    let failures = report.failures();
    for cell in &failures {
        eprintln!("{cell}");
    }
    println!(
        "{} cells in {} s, {} failed",
        report.cells().count(),
        begun.elapsed().as_secs(),
        failures.len()
    );
    ExitCode::from(u8::from(!failures.is_empty()))
}

async fn connections() -> Vec<Cell> {
    let work = plan::whole().into_iter().map(|(mode, version)| run::connections(mode, version));
    collected(stream::iter(work).buffered(SIDE_BY_SIDE)).await
}

async fn scenarios() -> Vec<Cell> {
    let work = plan::lines().into_iter().map(|version| run::scenarios(&Mode::ALL, version));
    collected(stream::iter(work).buffered(SIDE_BY_SIDE)).await
}

async fn collected(cells: impl stream::Stream<Item = Vec<Cell>>) -> Vec<Cell> {
    let told = cells.inspect(|cells| cells.iter().for_each(|cell| println!("{cell}")));
    told.flat_map(stream::iter).collect().await
}
