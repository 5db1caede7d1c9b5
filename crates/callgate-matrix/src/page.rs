//! Renders `docs/compatibility.md` from the report of a run.

use std::collections::BTreeSet;

use callgate_testkit::{nats_server::Version, pages};

use crate::{
    plan::LINES,
    report::{Cell, Outcome, Report},
};

/// The page.
///
/// # Errors
/// If the report does not cover the whole matrix: a page about half of it would be misread.
pub fn render(report: &Report) -> Result<String, String> {
    let servers = servers(report)?;
    let listed = servers.iter().map(Version::to_string).collect::<Vec<_>>();
    let mut environments: Vec<&str> = Vec::new();
    for cell in &report.connections {
        if !environments.contains(&cell.environment.as_str()) {
            environments.push(&cell.environment);
        }
    }
    let mut connections = String::new();
    for environment in environments {
        let cells = report.connections.iter().filter(|cell| cell.environment == environment);
        let rows = table("client", cells, &listed, |cell| cell.row.clone())?;
        connections += &format!("### {environment}\n\n{rows}\n");
    }
    let scenarios = table("scenario, environment", report.scenarios.iter(), &listed, |cell| {
        format!("{}, {}", cell.row, cell.environment)
    })?;
    let servers = listed.join(", ");
    let checks = checks(&report.connections);
    Ok(format!(
        "\
# Compatibility

<!-- Rendered by callgate-matrix from docs/compatibility.json. Do not edit; run `make test-matrix`. -->

Every row was run against real servers ({servers}) with third-party clients.

- *yes*: every check of the cell passed.
- *—n*: the server line does not support it, for the reason given below the table. Where possible, the run verified
  the reason.
- *not run*: something was missing on the machine.
- **failed**: a check of the cell failed in this run.

## Connection types

Each cell runs one list of logins with one client in one environment, and checks who is admitted, into which account
and with which permissions, and who is refused and why.

{connections}### Checks

Most cells run these:

{checks}
## Scenarios

Each scenario runs once for each server line. The rows that start with *nats-server ignores* are the reason why
Callgate enforces these rules itself: if a server line starts to enforce them, its cell fails.

{scenarios}"
    ))
}

/// The servers of the report, oldest first: one of every line, with every cell.
fn servers(report: &Report) -> Result<BTreeSet<Version>, String> {
    let mut servers = BTreeSet::new();
    for cell in report.cells() {
        servers.insert(
            cell.server
                .parse::<Version>()
                .map_err(|_| format!("`{}` is not a version", cell.server))?,
        );
    }
    for line in LINES {
        if !servers.iter().any(|server| server.minor == line) {
            return Err(format!("no cells for nats-server 2.{line}"));
        }
    }
    Ok(servers)
}

fn table<'a>(
    title: &str,
    cells: impl Iterator<Item = &'a Cell>,
    servers: &[String],
    name: impl Fn(&Cell) -> String,
) -> Result<String, String> {
    let mut reasons: Vec<&str> = Vec::new();
    let mut rows: Vec<(String, Vec<(&str, String)>)> = Vec::new();
    for cell in cells {
        let shown = match &cell.outcome {
            Outcome::Passed { .. } => "yes".to_owned(),
            Outcome::NotRun { .. } => "not run".to_owned(),
            Outcome::Failed { .. } => "**failed**".to_owned(),
            Outcome::Absent { reason } => {
                let known = reasons.iter().position(|other| other == reason);
                let number = known.unwrap_or_else(|| {
                    reasons.push(reason);
                    reasons.len() - 1
                });
                format!("—{}", number + 1)
            }
        };
        let name = name(cell);
        let row = rows.iter_mut().find(|(other, _)| *other == name);
        match row {
            Some((_, row)) => row.push((&cell.server, shown)),
            None => rows.push((name, vec![(&cell.server, shown)])),
        }
    }
    let mut complete = Vec::new();
    for (name, row) in rows {
        let mut line = vec![name.clone()];
        for server in servers {
            let cell = row.iter().find(|(of, _)| of == server);
            let (_, shown) = cell.ok_or_else(|| format!("no cell for {name}, {server}"))?;
            line.push(shown.clone());
        }
        complete.push(line);
    }
    let head: Vec<&str> = [title].into_iter().chain(servers.iter().map(String::as_str)).collect();
    let mut text = pages::table(&head, complete);
    for (index, reason) in reasons.iter().enumerate() {
        let gap = if index == 0 { "\n" } else { "" };
        text += &format!("{gap}{}. {reason}\n", index + 1);
    }
    Ok(text)
}

/// Every check of these cells, once, in the order of its first appearance.
fn checks(cells: &[Cell]) -> String {
    let mut seen = Vec::new();
    for cell in cells {
        let Outcome::Passed { checks } = &cell.outcome else { continue };
        for check in checks {
            if !seen.contains(&check) {
                seen.push(check);
            }
        }
    }
    seen.iter().map(|check| format!("- {check}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_is_current() {
        let json = std::fs::read(pages::checkout("docs/compatibility.json")).unwrap();
        let report: Report = serde_json::from_slice(&json).unwrap();
        let remedy = "cargo run -p callgate-matrix -- render docs/compatibility.json";
        pages::assert_current("docs/compatibility.md", &render(&report).unwrap(), remedy);
    }
}
