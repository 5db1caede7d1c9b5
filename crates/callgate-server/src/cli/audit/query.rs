//! `callgate audit query`

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::fs::MetadataExt,
    path::Path,
    time::Duration,
};

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
    cli::{GOOD, Outcome, REFUSED},
};

/// Between two looks at a file that is followed.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

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
        super::stream::read(config, name, args.follow, |line| {
            printer.print(line);
            !printer.is_done()
        })?;
    }
    let last = args.from.files.len().saturating_sub(1);
    for (index, path) in args.from.files.iter().enumerate() {
        let failed = |error: io::Error| format!("cannot read `{}`: {error}", path.display());
        match args.follow && index == last {
            true => printer.follow(path).map_err(failed)?,
            false => {
                let file = File::open(path).map_err(failed)?;
                printer.read(&mut BufReader::new(file)).map_err(failed)?;
            }
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

    /// Prints what matches among the complete lines; returns the beginning of an incomplete one.
    fn read(&mut self, source: &mut impl BufRead) -> io::Result<Vec<u8>> {
        let mut line = Vec::new();
        while !self.is_done() && source.read_until(b'\n', &mut line)? > 0 {
            let Some(whole) = line.strip_suffix(b"\n") else { return Ok(line) };
            self.print(whole);
            line.clear();
        }
        Ok(Vec::new())
    }

    /// Reads a file, and what is appended to it, until the output is closed.
    fn follow(&mut self, path: &Path) -> io::Result<()> {
        let mut file = File::open(path)?;
        let mut source = BufReader::new(file.try_clone()?);
        let mut rest = Vec::new();
        while !self.is_done() {
            rest = self.read(&mut Read::chain(rest.as_slice(), &mut source))?;
            let is_same = std::fs::metadata(path).is_ok_and(|found| {
                file.metadata()
                    .is_ok_and(|own| (own.dev(), own.ino()) == (found.dev(), found.ino()))
            });
            if is_same {
                std::thread::sleep(POLL_INTERVAL);
                continue;
            }
            // What was written before the rotation.
            self.read(&mut Read::chain(rest.as_slice(), &mut source))?;
            rest = Vec::new();
            match File::open(path) {
                Ok(next) => {
                    source = BufReader::new(next.try_clone()?);
                    file = next;
                }
                Err(_) => std::thread::sleep(POLL_INTERVAL),
            }
        }
        Ok(())
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
