//! Plays all faults and writes what came of it: `callgate-faults FILE`, as `make test-faults` does.
//! `callgate-faults WORD` plays those whose names contain the word, and writes nothing.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for the terminal")]

use std::{process::ExitCode, time::Instant};

use callgate_faults::{fault::Fault, faults, replicas::measure, report::Report};
use callgate_testkit::nats_server::installed_versions;
use futures_util::StreamExt;

/// Faults that are played side by side: they mostly wait.
const SIDE_BY_SIDE: usize = 2;

#[tokio::main]
async fn main() -> ExitCode {
    let Some(argument) = std::env::args().nth(1) else {
        eprintln!("usage: callgate-faults FILE.json|WORD");
        return ExitCode::from(2);
    };
    // A failure is told where it belongs; its backtrace helps nobody.
    std::panic::set_hook(Box::new(|_| ()));
    let begun = Instant::now();
    let whole = argument.ends_with(".json");
    let chosen =
        |fault: &Fault| whole || format!("{} · {}", fault.family, fault.name).contains(&argument);
    let server = installed_versions().into_iter().max().map(|version| version.to_string());
    let mut report = Report { server: server.unwrap_or_default(), ..Report::default() };
    let faults = faults::all().into_iter().filter(chosen);
    let mut rows = futures_util::stream::iter(faults)
        .map(|fault| async move { fault.play().await })
        .buffered(SIDE_BY_SIDE);
    while let Some(row) = rows.next().await {
        println!("{row}");
        report.faults.push(row);
    }
    if whole || argument == "measure" {
        for case in measure::all() {
            let measured = case.await;
            println!("{measured:?}");
            report.replicas.push(measured);
        }
    }
    if whole && let Err(error) = std::fs::write(&argument, report.json()) {
        eprintln!("cannot write `{argument}`: {error}");
        return ExitCode::from(2);
    }
    let failed = report.failures().count();
    println!("{} faults in {} s, {failed} failed", report.faults.len(), begun.elapsed().as_secs());
    ExitCode::from(u8::from(failed > 0))
}
