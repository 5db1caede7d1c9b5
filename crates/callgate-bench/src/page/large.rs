//! The sections about large configurations: directories, rules, and growth.

use std::collections::BTreeMap;

use callgate_testkit::pages;
use serde::Deserialize;

use super::thousands;
use crate::Failure;

/// `directories` of `docs/performance.json`.
#[derive(Debug, Deserialize)]
pub(super) struct Directories {
    entries: f64,
    file_bytes: f64,
    start: Loaded,
    reloads: Vec<Loaded>,
    /// Seconds of CPU time of Python's `json.load`, before and after every reload.
    json_load: Vec<f64>,
    /// The 99th percentile in microseconds of each round.
    calm: Vec<f64>,
    reloading: Vec<f64>,
}

/// Memory in MiB and CPU time in seconds.
#[derive(Debug, Deserialize)]
struct Loaded {
    resident_mib: f64,
    peak_mib: f64,
    cpu: f64,
}

/// `rules` of `docs/performance.json`, by the name of the configuration.
pub(super) type Rules = BTreeMap<String, Configuration>;

#[derive(Debug, Deserialize)]
pub(super) struct Configuration {
    /// CPU time of a decision in microseconds, of each round.
    decision: Vec<f64>,
    start_cpu: f64,
    resident_mib: f64,
}

/// `scale` of `docs/performance.json`: by size, the CPU time of a decision in each round.
#[derive(Debug, Deserialize)]
pub(super) struct Scale {
    pub(super) users: Vec<(f64, Vec<f64>)>,
    pub(super) servers: Vec<(f64, Vec<f64>)>,
}

const MIB: f64 = 1024.0 * 1024.0;

pub(super) fn directories(results: &Directories) -> Result<String, Failure> {
    let Directories { entries, file_bytes, start, reloads, json_load, calm, reloading } = results;
    let last = reloads.last().ok_or("directories: no reloads")?;
    let highest = reloads.iter().map(|one| one.peak_mib).fold(0.0, f64::max);
    let bytes = |mib: f64| format!("{mib:.0} MiB ({:.0} bytes per user)", mib * MIB / entries);
    let json_load = median(json_load)?;
    let load = median(&reloads.iter().map(|one| one.cpu).collect::<Vec<_>>())?;
    let rows = [
        ("resident after the start".to_owned(), bytes(start.resident_mib)),
        (format!("resident after {} reloads", reloads.len()), bytes(last.resident_mib)),
        ("peak while starting".to_owned(), bytes(start.peak_mib)),
        ("peak while reloading".to_owned(), bytes(highest)),
        (
            "CPU time of the start and of a reload".to_owned(),
            format!("{:.1} s and {load:.1} s", start.cpu),
        ),
        (
            "Python's `json.load` of the same file, in the same run".to_owned(),
            format!("{json_load:.1} s: a reload takes {:.2} × as long", load / json_load),
        ),
        (
            "p99 of decisions (300 per second) without a reload, and during one".to_owned(),
            format!(
                "{:.1} ms and {:.1} ms (medians of {})",
                median(calm)? / 1000.0,
                median(reloading)? / 1000.0,
                calm.len()
            ),
        ),
    ];
    let rows = rows.map(|(what, result)| vec![what, result]);
    let intro = format!(
        "A users file of {} entries, each with an argon2id hash and permissions of its own ({:.0} MiB of JSON), measured \
         from outside the process:\n\n",
        thousands(*entries),
        file_bytes / MIB
    );
    Ok(intro + &pages::table(&["measurement", "result"], rows))
}

pub(super) fn rules(results: &Rules) -> Result<String, Failure> {
    let mut all: Vec<_> = results.iter().collect();
    all.sort_by_key(|(name, _)| {
        let (count, what) = name.split_once(' ').unwrap_or((name, ""));
        (what.trim_end_matches('s').to_owned(), count.parse::<u64>().unwrap_or(0))
    });
    let mut first: BTreeMap<String, f64> = BTreeMap::new();
    let mut rows = Vec::new();
    for (name, Configuration { decision, start_cpu, resident_mib }) in all {
        let what = name.split(' ').next_back().unwrap_or("").trim_end_matches('s').to_owned();
        let decision = median(decision)?;
        let first = *first.entry(what).or_insert(decision);
        let (count, what) = name.split_once(' ').unwrap_or((name, ""));
        rows.push(vec![
            format!("{} {what}", count.parse().map_or_else(|_| count.to_owned(), thousands)),
            format!("{decision:.1}"),
            format!("{:.2}", decision / first),
            format!("{start_cpu:.2}"),
            format!("{resident_mib:.0}"),
        ]);
    }
    let head = ["configuration", "decision µs", "ratio", "start, CPU s", "MiB"];
    Ok(pages::number_table(&head, rows))
}

pub(super) fn growth(results: &Scale) -> Result<String, Failure> {
    let mut rows = Vec::new();
    for (what, points) in
        [("users in the file", &results.users), ("servers that ask", &results.servers)]
    {
        let mut text = Vec::new();
        let mut values = Vec::new();
        for (size, rounds) in points {
            let value = median(rounds)?;
            text.push(format!("{}: {value:.1}", thousands(*size)));
            values.push(value);
        }
        let lowest = values.iter().copied().fold(f64::INFINITY, f64::min);
        let highest = values.iter().copied().fold(0.0, f64::max);
        rows.push(vec![what.to_owned(), text.join(", "), format!("{:.2} ×", highest / lowest)]);
    }
    let intro = "CPU time of the whole process for one decision in microseconds, with more users and with more servers \
                 (whose keys Callgate knows already):\n\n\
                 ![CPU time of a decision by users and servers](performance-growth.svg)\n\n";
    let table = pages::number_table(&["what grows", "size: µs", "highest / lowest"], rows);
    Ok(intro.to_owned() + &table)
}

/// The median of the rounds.
pub(super) fn median(values: &[f64]) -> Result<f64, Failure> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().ok_or_else(|| "a measurement is empty".into())
}
