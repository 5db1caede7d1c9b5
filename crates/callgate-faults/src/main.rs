//! Plays all faults and writes the report and its page: `callgate-faults FILE.json`, as `make test-faults`
//! does.
//!
//! `callgate-faults render FILE.json` only renders the page again. `callgate-faults WORD` plays the faults
//! whose names contain the word, and writes nothing; `callgate-faults WORD FILE.json` also replaces their
//! rows in the report.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for the terminal")]

use std::{fs, path::Path, process::ExitCode, time::Instant};

use callgate_faults::{
    fault::Fault,
    faults, page,
    replicas::measure,
    report::{Report, Row},
};
use callgate_testkit::nats_server::installed_versions;
use futures_util::{StreamExt, stream};

/// Faults that are played concurrently: they mostly wait.
const CONCURRENCY: usize = 2;

const USAGE: &str =
    "usage: callgate-faults [render] FILE.json\n       callgate-faults WORD [FILE.json]";

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // Failures are part of the report; a backtrace adds nothing.
    std::panic::set_hook(Box::new(|_| ()));
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["render", file] => render(file).map(|()| true),
        [file] if file.ends_with(".json") => play_all(file).await,
        [word] => Ok(summarize(&play(word).await)),
        [word, file] => play_some(word, file).await,
        _ => Err(USAGE.to_owned()),
    };
    match result {
        Ok(held) => ExitCode::from(u8::from(!held)),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

/// Writes the page beside the report.
fn render(file: &str) -> Result<(), String> {
    let failed = |error: &dyn std::fmt::Display| format!("cannot render `{file}`: {error}");
    let page = page::render(&read(file)?).map_err(|error| failed(&error))?;
    fs::write(Path::new(file).with_extension("md"), page).map_err(|error| failed(&error))
}

fn read(file: &str) -> Result<Report, String> {
    let failed = |error: &dyn std::fmt::Display| format!("cannot read `{file}`: {error}");
    let json = fs::read(file).map_err(|error| failed(&error))?;
    serde_json::from_slice(&json).map_err(|error| failed(&error))
}

fn write(file: &str, report: &Report) -> Result<(), String> {
    fs::write(file, report.json()).map_err(|error| format!("cannot write `{file}`: {error}"))?;
    render(file)
}

async fn play_all(file: &str) -> Result<bool, String> {
    let mut report = play("").await;
    report.replicas = measure_replicas().await;
    write(file, &report)?;
    Ok(summarize(&report))
}

/// Replaces the rows of the faults whose names contain `word`.
async fn play_some(word: &str, file: &str) -> Result<bool, String> {
    let mut report = read(file)?;
    let played = play(word).await;
    let mut rows = Vec::new();
    for fault in faults::all() {
        let is_row = |row: &&Row| row.family == fault.family && row.fault == fault.name;
        let row = played.faults.iter().find(is_row).or_else(|| report.faults.iter().find(is_row));
        rows.extend(row.cloned());
    }
    report.faults = rows;
    write(file, &report)?;
    Ok(summarize(&played))
}

/// Plays the faults whose names contain `word`; `measure` only measures replicas.
async fn play(word: &str) -> Report {
    let begun = Instant::now();
    let selected = |fault: &Fault| format!("{} · {}", fault.family, fault.name).contains(word);
    let server = installed_versions().into_iter().max().map(|version| version.to_string());
    let mut report = Report { server: server.unwrap_or_default(), ..Report::default() };
    let faults = faults::all().into_iter().filter(selected);
    let mut rows =
        stream::iter(faults).map(|fault| async move { fault.play().await }).buffered(CONCURRENCY);
    while let Some(row) = rows.next().await {
        println!("{row}");
        report.faults.push(row);
    }
    println!("{} faults in {} s", report.faults.len(), begun.elapsed().as_secs());
    if word == "measure" {
        report.replicas = measure_replicas().await;
    }
    report
}

async fn measure_replicas() -> Vec<callgate_faults::report::Measurement> {
    let mut measurements = Vec::new();
    for case in measure::all() {
        let measured = case.await;
        println!("{measured:?}");
        measurements.push(measured);
    }
    measurements
}

/// Prints the number of failures, and returns whether there were none.
fn summarize(report: &Report) -> bool {
    let failed = report.failures().count();
    println!("{failed} failed");
    failed == 0
}
