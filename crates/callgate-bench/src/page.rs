//! Renders `docs/performance.md`, its chart and the table of the README from recorded measurements.

mod chart;
mod growth_chart;
mod large;
mod text;

use std::{collections::BTreeMap, fs, path::Path};

use callgate_testkit::pages;
use serde::Deserialize;

use crate::Failure;

/// The callouts, in the order of the tables.
const PEERS: [(&str, &str); 4] = [
    ("callgate", "Callgate"),
    ("go", "callout.go (Go)"),
    ("python", "nats-callout (Python)"),
    ("javascript", "official libraries (JavaScript)"),
];
/// The kinds of load, in the order of the tables.
const WORKS: [(&str, &str); 3] = [
    ("password", "user and password"),
    ("token, seen", "RS256 token, repeated"),
    ("token, new", "RS256 token, new"),
];
/// The layouts of the latency measurement, in the order of the table.
const LAYOUTS: [(&str, &str); 3] =
    [("shared", "same cores"), ("apart", "separate"), ("undisturbed", "separate, real time")];
const README_START: &str = "<!-- performance: rendered by callgate-bench -->\n";
const README_END: &str = "\n<!-- performance: end -->";

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The recorded measurements
    #[arg(default_value = "docs/performance.json")]
    file: std::path::PathBuf,
}

/// `docs/performance.json`, written by `bench/compare.py` and `bench/limits.py`.
#[derive(Debug, Deserialize)]
struct Results {
    machine: Machine,
    /// The commit and the date of each measurement.
    #[serde(default)]
    builds: BTreeMap<String, String>,
    /// By callout, by encryption (`xkey` or `clear`), by kind of load.
    peers: BTreeMap<String, BTreeMap<String, BTreeMap<String, Load>>>,
    floor: Floor,
    growth: Growth,
    latency: Latencies,
    storm: Storms,
    memory: Load,
    /// Seconds and MiB.
    soak: Vec<(f64, f64)>,
    start: Start,
    directories: Option<large::Directories>,
    rules: Option<large::Rules>,
    scale: Option<large::Scale>,
}

#[derive(Debug, Deserialize)]
struct Machine {
    cpu: String,
    cores: usize,
    server: String,
    date: String,
}

#[derive(Debug, Deserialize)]
struct Load {
    requests: u64,
    admitted: u64,
    refused: u64,
    unanswered: u64,
    admitted_by_callgate: Option<u64>,
    seconds: f64,
    per_second: f64,
    p50: f64,
    p90: f64,
    p99: f64,
    p999: f64,
    responder_cpu: f64,
    server_cpu: f64,
    responder_mib: f64,
    responder_peak_mib: f64,
}

#[derive(Debug, Deserialize)]
struct Floor {
    decisions: Vec<Decision>,
    operations: BTreeMap<String, f64>,
}

#[derive(Debug, Deserialize)]
struct Decision {
    login: String,
    open_and_verify: f64,
    authenticate: f64,
    resolve: f64,
    mint_and_seal: f64,
    whole: f64,
    floor: f64,
    ratio: f64,
}

#[derive(Debug, Deserialize)]
struct Growth {
    curves: Vec<Curve>,
    one_core: f64,
}

#[derive(Debug, Deserialize)]
struct Curve {
    what: String,
    unit: String,
    points: Vec<Point>,
}

/// The size and the measured value.
type Point = (f64, f64);

#[derive(Debug, Deserialize)]
struct Latencies {
    stalls: Stalls,
    stalls_undisturbed: Stalls,
    #[serde(flatten)]
    layouts: BTreeMap<String, Layout>,
}

#[derive(Debug, Deserialize)]
struct Stalls {
    part: f64,
    longest: f64,
}

#[derive(Debug, Deserialize)]
struct Layout {
    most: f64,
    rounds: Vec<Load>,
}

#[derive(Debug, Deserialize)]
struct Storms {
    at_once: Vec<Load>,
    paced: Vec<Load>,
}

#[derive(Debug, Deserialize)]
struct Start {
    milliseconds: Vec<f64>,
}

/// Writes the page and its charts beside the measurements, and the table into the README.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let results: Results = serde_json::from_slice(&fs::read(&args.file)?)?;
    let docs = args.file.parent().unwrap_or(Path::new("."));
    let readme = docs.join("../README.md");
    fs::write(args.file.with_extension("md"), text::render(&results)?)?;
    fs::write(args.file.with_extension("svg"), chart::render(&results)?)?;
    if let Some(scale) = &results.scale {
        let growth = args.file.with_file_name("performance-growth.svg");
        fs::write(growth, growth_chart::render(scale)?)?;
    }
    let updated = with_table(&fs::read_to_string(&readme)?, &results)?;
    fs::write(readme, updated)?;
    Ok(())
}

impl Results {
    fn load(&self, peer: &str, encryption: &str, work: &str) -> Result<&Load, Failure> {
        let loads = self.peers.get(peer).and_then(|it| it.get(encryption));
        let load = loads.and_then(|it| it.get(work));
        load.ok_or_else(|| format!("no measurement of {peer}, {encryption}, {work}").into())
    }
}

/// The README with the summary table.
fn with_table(readme: &str, results: &Results) -> Result<String, Failure> {
    let works = WORKS.map(|(work, _)| work).into_iter().chain(["storm"]);
    let mut rows = Vec::new();
    for (peer, name) in PEERS {
        let mut row = vec![name.to_owned()];
        for work in works.clone() {
            row.push(thousands(results.load(peer, "xkey", work)?.responder_cpu));
        }
        rows.push(row);
    }
    let names = WORKS.map(|(_, name)| name);
    let head: Vec<&str> =
        ["callout"].into_iter().chain(names).chain(["connect of a real client"]).collect();
    let table = pages::number_table(&head, rows);
    let missing = || format!("README.md lacks `{}`", README_START.trim());
    let (before, rest) = readme.split_once(README_START).ok_or_else(missing)?;
    let (_, after) = rest.split_once(README_END).ok_or_else(missing)?;
    Ok(format!("{before}{README_START}{}{README_END}{after}", table.trim_end()))
}

/// A rounded number with commas.
fn thousands(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "test code: a panic is how a test fails")]

    use super::*;

    #[test]
    fn page_chart_and_readme_are_current() {
        let json = fs::read(pages::checkout("docs/performance.json")).unwrap();
        let results: Results = serde_json::from_slice(&json).unwrap();
        let readme = fs::read_to_string(pages::checkout("README.md")).unwrap();
        let remedy = "cargo run -p callgate-bench -- render";
        pages::assert_current("docs/performance.md", &text::render(&results).unwrap(), remedy);
        pages::assert_current("docs/performance.svg", &chart::render(&results).unwrap(), remedy);
        pages::assert_current("README.md", &with_table(&readme, &results).unwrap(), remedy);
    }
}
