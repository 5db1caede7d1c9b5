//! `callgate audit query`

use std::io::{self, BufReader, Write};

use callgate::sanitize::visible;
use callgate_authenticators::kind::Registry;
use serde_json::Value;

use super::{
    From,
    convert::{Format, ecs, ocsf},
    filter::Filter,
    settings, stream,
};
use crate::{
    audit::HideKey,
    cli::{
        GOOD, Outcome, REFUSED,
        follow::{follow, lines},
        plain_file,
    },
};

/// Print the records that match
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  callgate audit query audit/*.jsonl --user alice --outcome refused --since 24h
  callgate audit query audit.jsonl --user alice --config callgate.toml
  callgate audit query audit.jsonl --follow --as ecs

Hidden fields are found if the configuration has `hide_key`. Exits with 0 if a record was found, 1 if none was, 2 if
a file cannot be read.")]
pub(super) struct QueryArgs {
    #[command(flatten)]
    from: From,
    #[command(flatten)]
    filter: Filter,
    /// Stop after this many records
    #[arg(long, value_name = "NUMBER")]
    limit: Option<u64>,
    /// Wait for further records in the last file, also after it was rotated
    #[arg(long)]
    follow: bool,
    /// The format
    #[arg(long = "as", value_name = "FORMAT", value_enum, default_value = "native")]
    format: Format,
}

pub(super) fn run(args: &QueryArgs, registry: Registry) -> Outcome {
    let config = args.from.configuration(registry)?;
    let key = settings(config.as_ref()).and_then(|audit| audit.hide_key.as_ref()).map(HideKey::new);
    let mut printer = Printer { args, key, found: 0, is_closed: false };
    if let Some((name, config)) = stream(&args.from, config.as_ref()) {
        super::stream::read(config, name, args.follow, |line| printer.take(line))?;
    }
    let last = args.from.files.len().saturating_sub(1);
    for (index, path) in args.from.files.iter().enumerate() {
        let failed = |error: io::Error| format!("cannot read `{}`: {error}", path.display());
        let file = plain_file::open(path).map_err(failed)?;
        if printer.is_done() {
            continue;
        }
        let mut take = |line: &[u8]| printer.take(line);
        match args.follow && index == last {
            true => follow(path, &mut take, &mut || {}).map_err(failed)?,
            false => drop(lines(&mut BufReader::new(file), &mut take).map_err(failed)?),
        }
    }
    Ok(if printer.found > 0 { GOOD } else { REFUSED })
}

struct Printer<'a> {
    args: &'a QueryArgs,
    key: Option<HideKey>,
    found: u64,
    /// The reader of the output has closed it.
    is_closed: bool,
}

impl Printer<'_> {
    fn is_done(&self) -> bool {
        self.is_closed || self.args.limit.is_some_and(|limit| self.found >= limit)
    }

    /// Prints a line if it matches; false if no more are wanted.
    fn take(&mut self, line: &[u8]) -> bool {
        self.print(line);
        !self.is_done()
    }

    fn print(&mut self, line: &[u8]) {
        let Ok(record) = serde_json::from_slice::<Value>(line) else { return };
        if !self.args.filter.matches(&record, self.key.as_ref()) {
            return;
        }
        self.found += 1;
        let text = match self.args.format {
            Format::Native => String::from_utf8_lossy(line).into_owned(),
            Format::Ecs => ecs(&record).to_string(),
            Format::Ocsf => ocsf(&record).to_string(),
        };
        self.is_closed = writeln!(io::stdout(), "{}", visible(&text, &[])).is_err();
    }
}
