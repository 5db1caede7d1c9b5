//! Runs the whole matrix and writes what came of it:
//! `callgate-matrix FILE`, as `make test-matrix` does.
//!
//! `callgate-matrix --again TIMES TEXT` runs the scenarios whose name contains TEXT
//! many times, to see whether a cell that failed once fails now and then.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for the terminal")]

use std::{process::ExitCode, time::Instant};

use callgate_matrix::{
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
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // A failure is told where it belongs; its backtrace helps nobody.
    std::panic::set_hook(Box::new(|_| ()));
    match arguments.as_slice() {
        [again, times, text] if again == "--again" => match times.parse() {
            Ok(times) => run_again(times, text).await,
            Err(_) => usage(),
        },
        [file] if !file.starts_with('-') => run_all(file).await,
        _ => usage(),
    }
}

fn usage() -> ExitCode {
    eprintln!("usage: callgate-matrix FILE\n       callgate-matrix --again TIMES TEXT");
    ExitCode::from(2)
}

async fn run_again(times: usize, text: &str) -> ExitCode {
    let chosen = |says: &str| says.contains(text);
    let rounds = stream::iter(0..times).map(|_| async {
        let lines = plan::lines().into_iter();
        let work = lines.map(|version| run::scenarios(&Mode::ALL, version, &chosen));
        stream::iter(work).buffered(SIDE_BY_SIDE).flat_map(stream::iter).collect::<Vec<_>>().await
    });
    let cells = collected(rounds.buffered(1)).await;
    let report = Report { scenarios: cells, ..Report::default() };
    ended(&report, Instant::now())
}

async fn run_all(file: &str) -> ExitCode {
    let begun = Instant::now();
    let report = Report { connections: connections().await, scenarios: scenarios().await };
    if let Err(error) = std::fs::write(file, report.json()) {
        eprintln!("cannot write `{file}`: {error}");
        return ExitCode::from(2);
    }
    ended(&report, begun)
}

fn ended(report: &Report, begun: Instant) -> ExitCode {
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
    let work =
        plan::lines().into_iter().map(|version| run::scenarios(&Mode::ALL, version, &|_| true));
    collected(stream::iter(work).buffered(SIDE_BY_SIDE)).await
}

async fn collected(cells: impl stream::Stream<Item = Vec<Cell>>) -> Vec<Cell> {
    let told = cells.inspect(|cells| cells.iter().for_each(|cell| println!("{cell}")));
    told.flat_map(stream::iter).collect().await
}
