//! `callgate sessions`

use callgate_authenticators::kind::Registry;
use serde_json::json;

use super::{
    GOOD, Outcome, REFUSED,
    orders::{Columns, Failed, FilterArgs, Reach, answered, order, print_notes, print_table},
    output::{count, say},
};
use crate::control::{Done, Order, Row, SessionsDone};

/// Rows of text that are printed without `--all`.
const MAX_ROWS: usize = 1000;

/// List the live sessions
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  callgate sessions --config callgate.toml
  callgate sessions --user alice --config callgate.toml
  callgate sessions --source 10.1.0.0/16 --older-than 8h --json --config callgate.toml

Filters are compared as a whole, and all must match. `?` stands for what is not known of a connection that
no replica has admitted, such as that of a static user.

Exits with 0, also for an empty list; 1 if a server did not answer; 2 for wrong usage or an unreachable
service.")]
pub(super) struct Args {
    #[command(flatten)]
    filter: FilterArgs,
    /// Print all rows, not only the first 1000 (JSON always has all)
    #[arg(long)]
    all: bool,
    /// Also print groups, roles, client name, MQTT client ID, server ID and decision
    #[arg(long)]
    wide: bool,
    #[command(flatten)]
    reach: Reach,
}

pub(super) fn run(args: Args, registry: Registry) -> Outcome {
    let Args { filter, all, wide, reach } = args;
    let filter = filter.into_filter();
    let done = match order(&reach, Order::Sessions { filter }, registry, |_| {}) {
        Ok(Done::Sessions(done)) => done,
        Ok(_) => return Ok(Failed::unusable("the service answered another order").report()),
        Err(failed) => return Ok(failed.report()),
    };
    let code = if done.complete { GOOD } else { REFUSED };
    print_notes(&done.notes);
    let SessionsDone { sessions, servers, complete, left_out, .. } = &done;
    if reach.json {
        say(json!({
            "sessions": sessions, "servers": servers, "complete": complete, "left_out": left_out,
        }));
        return Ok(code);
    }
    let shown = if all { sessions.len() } else { sessions.len().min(MAX_ROWS) };
    let mut columns = columns(wide, &[]);
    sessions.iter().take(shown).for_each(|row| columns.push(cells(row, wide)));
    print_table(&columns);
    let hidden = sessions.len() - shown;
    if hidden > 0 {
        say(format_args!("… and {hidden} more: pass --all, or a filter"));
    }
    say(format_args!("{}; {}", summary(sessions, *left_out), answered(servers)));
    Ok(code)
}

/// As in `2 sessions, 1 of them not attributed`.
fn summary(sessions: &[Row], left_out: usize) -> String {
    let unattributed = sessions.iter().filter(|row| !row.attributed).count();
    let unattributed = match unattributed {
        0 => String::new(),
        number => format!(", {number} of them not attributed"),
    };
    let left_out = match left_out {
        0 => String::new(),
        number => format!(
            "; left out {} for which no replica can answer the filter",
            count(number, "connection")
        ),
    };
    format!("{}{unattributed}{left_out}", count(sessions.len(), "session"))
}

/// The columns of a list of sessions, and `more`.
pub(super) fn columns(wide: bool, more: &[&'static str]) -> Columns {
    let narrow =
        ["USER", "AUTHENTICATOR", "ACCOUNT", "KIND", "SOURCE", "SERVER", "CID", "SINCE", "ENDS"];
    let wide_only = ["GROUPS", "ROLES", "CLIENT", "MQTT", "SERVER_ID", "DECISION"];
    let also: &[&str] = if wide { &wide_only } else { &[] };
    Columns::new(&[&narrow, also, more].concat())
}

/// The cells of one session.
pub(super) fn cells(row: &Row, wide: bool) -> Vec<String> {
    let known = |value: &Option<String>| value.clone().unwrap_or_else(|| "?".to_owned());
    let ends = match (&row.ends, row.attributed) {
        (Some(ends), _) => ends.clone(),
        (None, true) => "never".to_owned(),
        (None, false) => "?".to_owned(),
    };
    let mut cells = vec![
        row.user.clone(),
        known(&row.authenticator),
        row.account.clone(),
        row.kind.clone(),
        row.source.map_or_else(|| "?".to_owned(), |source| source.to_string()),
        row.server.clone(),
        row.client_id.to_string(),
        row.since.clone(),
        ends,
    ];
    if wide {
        let list = |names: &Option<Vec<String>>| {
            names.as_ref().map_or_else(|| "?".to_owned(), |names| names.join(","))
        };
        cells.extend([
            list(&row.groups),
            list(&row.roles),
            row.client_name.clone(),
            row.mqtt_id.clone().unwrap_or_default(),
            row.server_id.clone(),
            known(&row.decision),
        ]);
    }
    // A cell is one word for scripts that split lines, and never ends a line.
    cells.iter().map(|cell| if cell.is_empty() { "-".to_owned() } else { one_line(cell) }).collect()
}

fn one_line(cell: &str) -> String {
    cell.replace(['\n', '\t'], " ")
}
