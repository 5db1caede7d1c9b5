//! Runs the whole matrix and writes its report and its page: `callgate-matrix FILE.json`, as
//! `make test-matrix` does.
//!
//! `callgate-matrix render FILE.json` only renders the page again. `callgate-matrix repeat TIMES TEXT`
//! runs the scenarios whose name contains TEXT many times, to find cells that fail now and then.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for the terminal")]

use std::{fs, path::Path, process::ExitCode, time::Instant};

use callgate_matrix::{
    mode::Mode,
    page, plan,
    report::{Cell, Report},
    run,
};
use futures_util::{StreamExt, stream};

/// Environments that run concurrently.
const CONCURRENCY: usize = 4;

const USAGE: &str = "\
usage: callgate-matrix FILE.json
       callgate-matrix render FILE.json
       callgate-matrix repeat TIMES TEXT";

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // Failures are part of the report; a backtrace adds nothing.
    std::panic::set_hook(Box::new(|_| ()));
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["render", file] => render(file).map(|()| true),
        ["repeat", times, text] => match times.parse() {
            Ok(times) => Ok(repeat(times, text).await),
            Err(error) => Err(format!("invalid number of times `{times}`: {error}")),
        },
        [file] if file.ends_with(".json") => run_all(file).await,
        _ => Err(USAGE.to_owned()),
    };
    match result {
        Ok(passed) => ExitCode::from(u8::from(!passed)),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

/// Writes the page beside the report.
fn render(file: &str) -> Result<(), String> {
    let failed = |error: &dyn std::fmt::Display| format!("cannot render `{file}`: {error}");
    let json = fs::read(file).map_err(|error| failed(&error))?;
    let report: Report = serde_json::from_slice(&json).map_err(|error| failed(&error))?;
    let page = page::render(&report).map_err(|error| failed(&error))?;
    fs::write(Path::new(file).with_extension("md"), page).map_err(|error| failed(&error))
}

async fn repeat(times: usize, text: &str) -> bool {
    let begun = Instant::now();
    let selected = |name: &str| name.contains(text);
    let rounds = stream::iter(0..times).map(|_| async {
        let lines = plan::lines().into_iter();
        let work = lines.map(|version| run::scenarios(&Mode::ALL, version, &selected));
        stream::iter(work).buffered(CONCURRENCY).flat_map(stream::iter).collect::<Vec<_>>().await
    });
    let scenarios = collect(rounds.buffered(1)).await;
    summarize(&Report { scenarios, ..Report::default() }, begun)
}

async fn run_all(file: &str) -> Result<bool, String> {
    let begun = Instant::now();
    let report = Report { connections: connections().await, scenarios: scenarios().await };
    fs::write(file, report.json()).map_err(|error| format!("cannot write `{file}`: {error}"))?;
    render(file)?;
    Ok(summarize(&report, begun))
}

/// Prints the failures, and returns whether there were none.
fn summarize(report: &Report, begun: Instant) -> bool {
    let failures = report.failures();
    for cell in &failures {
        eprintln!("{cell}");
    }
    let cells = report.cells().count();
    println!("{cells} cells in {} s, {} failed", begun.elapsed().as_secs(), failures.len());
    failures.is_empty()
}

async fn connections() -> Vec<Cell> {
    let work = plan::all().into_iter().map(|(mode, version)| run::connections(mode, version));
    collect(stream::iter(work).buffered(CONCURRENCY)).await
}

async fn scenarios() -> Vec<Cell> {
    let lines = plan::lines().into_iter();
    let work = lines.map(|version| run::scenarios(&Mode::ALL, version, &|_| true));
    collect(stream::iter(work).buffered(CONCURRENCY)).await
}

/// Collects cells, and prints each as it arrives.
async fn collect(cells: impl stream::Stream<Item = Vec<Cell>>) -> Vec<Cell> {
    let printed = cells.inspect(|cells| cells.iter().for_each(|cell| println!("{cell}")));
    printed.flat_map(stream::iter).collect().await
}
