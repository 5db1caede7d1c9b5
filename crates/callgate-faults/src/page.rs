//! Renders `docs/reliability.md` from the report of a run.

use std::collections::BTreeSet;

use callgate_testkit::pages;

use crate::{
    faults,
    report::{Counts, Measurement, Observations, Outcome, Report, Row},
};

/// The page.
///
/// # Errors
/// If the report does not cover exactly the faults of this crate: a page about half of them would be
/// misread.
pub fn render(report: &Report) -> Result<String, String> {
    let known: BTreeSet<&str> = faults::all().iter().map(|fault| fault.name).collect();
    let played: BTreeSet<&str> = report.faults.iter().map(|row| row.fault.as_str()).collect();
    if known != played {
        let differing: Vec<_> = known.symmetric_difference(&played).collect();
        return Err(format!("the report and the faults of this crate differ: {differing:?}"));
    }
    if report.replicas.is_empty() {
        return Err("the report has no measurements of replicas".to_owned());
    }
    let mut families: Vec<&str> = Vec::new();
    for row in &report.faults {
        if !families.contains(&row.family.as_str()) {
            families.push(&row.family);
        }
    }
    let mut page = introduction(report);
    for family in families {
        let rows: Vec<&Row> = report.faults.iter().filter(|row| row.family == family).collect();
        let heading = if family == "nats-server" { family.to_owned() } else { capitalized(family) };
        let head = ["fault", "valid clients during the fault", "recovery"];
        let table = pages::table(&head, rows.iter().map(|row| table_row(row)));
        let details: String = rows.iter().map(|row| details(row)).collect();
        page += &format!("\n## {heading}\n\n{table}{details}");
    }
    page += &frozen(&report.replicas);
    Ok(page)
}

fn introduction(report: &Report) -> String {
    let seen = report.faults.iter().filter_map(|row| match &row.outcome {
        Outcome::Held(seen) => Some(seen),
        Outcome::Failed { .. } | Outcome::NotRun { .. } => None,
    });
    let (tried, admitted) = seen.fold((0, 0), |(tried, admitted), seen| {
        (tried + seen.wrong_tried, admitted + seen.wrong_admitted)
    });
    let admitted = if admitted == 0 { "None".to_owned() } else { admitted.to_string() };
    let server = &report.server;
    format!(
        "\
# Reliability

<!-- Rendered by callgate-faults from docs/reliability.json. Do not edit; run `make test-faults`. -->

What happens when something breaks. Every fault was tested with real parts: nats-server {server}, the `callgate` binary,
clients that connect continuously, and whatever else the fault needs. During each fault, invalid clients kept trying as
well: {tried} attempts with wrong passwords, forged, expired or foreign tokens, and unknown names. **{admitted} of them were
admitted.**

The run asserts two things: no invalid client is admitted, and the service recovers without human action. Everything
else on this page is an observation, made with a debug build on one busy machine with two cores.

How to read the tables:

- *admitted* and *refused* clients received an answer, which takes milliseconds. *Unanswered* clients were refused by
  nats-server when it stopped waiting for the answer (after 2 s by default). *No server* means that the client could
  not connect.
- A client that retries, as NATS clients do, is admitted as soon as the time in the *recovery* column has passed. Where
  that is about two seconds, the service recovered sooner, but one client connected just before and had to wait for
  the server's timeout.
- Below each table: log messages and metrics, except for the refusals of the invalid clients.
"
    )
}

fn table_row(row: &Row) -> Vec<String> {
    let (clients, recovery) = match &row.outcome {
        Outcome::Held(seen) => (clients(&seen.during), recovery(seen)),
        Outcome::NotRun { reason } => (format!("not run: {}", cell(reason)), String::new()),
        Outcome::Failed { .. } => ("**failed**".to_owned(), String::new()),
    };
    vec![row.fault.clone(), clients, recovery]
}

fn clients(counts: &Counts) -> String {
    let mut parts = vec![format!("{} admitted", counts.admitted)];
    for (count, word) in [
        (counts.refused, "refused"),
        (counts.unanswered, "unanswered"),
        (counts.no_server, "no server"),
    ] {
        if count > 0 {
            parts.push(format!("{count} {word}"));
        }
    }
    if counts.slowest_failure_ms > 0 {
        parts.push(format!("slowest failure {}", seconds(counts.slowest_failure_ms)));
    }
    parts.join(", ")
}

fn recovery(seen: &Observations) -> String {
    match (seen.recovery_ms, seen.mended) {
        (None, _) => "no client had to wait".to_owned(),
        (Some(ms), true) => format!("{} after the repair", seconds(ms)),
        (Some(ms), false) => format!("{} after the fault, without a repair", seconds(ms)),
    }
}

fn details(row: &Row) -> String {
    let mut text = format!("\n**{}.** Method: {}.\n", capitalized(&row.fault), row.how);
    match &row.outcome {
        Outcome::Failed { reason } => text += &format!("Failed: {}.\n", cell(reason)),
        Outcome::NotRun { .. } => (),
        Outcome::Held(seen) => {
            let notes = seen.notes.iter().map(|note| capitalized(&cell(note)));
            let mut items: Vec<String> = notes.collect();
            items.extend(seen.log.iter().map(|line| format!("Log: {}", cell(line))));
            if seen.log.is_empty() {
                items.push("Log: only decisions".to_owned());
            }
            items.extend(seen.metrics.iter().map(|line| format!("Metric: {line}")));
            text += "\n";
            text += &items.iter().map(|item| format!("- {item}\n")).collect::<String>();
        }
    }
    text
}

fn frozen(replicas: &[Measurement]) -> String {
    let rows = replicas.iter().map(|row| {
        let failed = match row.failed {
            0 => "none".to_owned(),
            failed => format!("{failed} of {}", row.tried),
        };
        vec![
            row.case.clone(),
            row.pings.clone(),
            failed,
            seconds(row.lasted_ms),
            row.ended_by.clone(),
        ]
    });
    let head = ["event", "`ping_interval`, `ping_max`", "failed attempts", "duration", "ended by"];
    let table = pages::table(&head, rows);
    format!(
        "
## The cost of a frozen replica

NATS distributes requests to all members of a queue group, including one that does not read them. A replica that
crashes, exits or is killed leaves immediately, because its connection ends. A replica that freezes (a stopped process,
a paused virtual machine, a network link that drops everything) remains a member until nats-server closes its
connection. With the default settings (`ping_interval: \"2m\"`, `ping_max: 2`) that takes minutes, and every request sent
to that replica goes unanswered. The frozen replica cannot shorten this, because it does not run, and neither can the
others, because they may not disconnect it.

{table}
What to do, in this order:

1. Set `ping_interval: \"5s\"` in nats-server, as `callgate init` does (`ping_max` defaults to 2). It applies to all clients
   of the server and costs each of them a few bytes every five seconds.
2. Have a supervisor poll `/livez` and kill a process that does not answer, without waiting for a graceful exit. The Helm
   chart polls every two seconds and kills after three failures, with a grace period of one second; systemd does the same
   with `WatchdogSec=`, as in `deploy/systemd/callgate.service`. Both observe the event loop itself.
3. In a cluster, give every replica the addresses of all servers (`nats.servers` as a list), and run more replicas than
   servers. A server prefers queue group members among its own clients: if the only one of them is frozen, *all* clients
   of that server go unanswered.
4. Let clients retry. Each attempt goes to a random member: with one of three frozen, one attempt in three fails, and two
   attempts in a row fail with a probability of one in nine.

What Callgate does without help:

- It disconnects from a server that has not answered for six seconds, and tries the next one.
- A watchdog outside the event loop exits the process (exit code 70) when the loop has not moved for 2 s because its
  threads are blocked. The connection ends with the process, and the other replicas take over.
- A replica that resumes after a freeze reconnects and takes its share of the requests. It decides the requests in its
  buffers, but nats-server is no longer waiting for those answers and drops them.
"
    )
}

fn capitalized(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_uppercase().to_string());
    first.unwrap_or_default() + letters.as_str()
}

fn seconds(milliseconds: u64) -> String {
    match milliseconds {
        0..1000 => format!("{milliseconds} ms"),
        _ => format!("{}.{} s", milliseconds / 1000, milliseconds % 1000 / 100),
    }
}

/// One line that cannot end a table cell or be read as a link or a tag.
fn cell(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.replace('|', "\\|").replace('[', "\\[").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_is_current() {
        let json = std::fs::read(pages::checkout("docs/reliability.json")).unwrap();
        let report: Report = serde_json::from_slice(&json).unwrap();
        let remedy = "cargo run -p callgate-faults -- render docs/reliability.json";
        pages::assert_current("docs/reliability.md", &render(&report).unwrap(), remedy);
    }
}
