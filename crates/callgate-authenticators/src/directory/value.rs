//! The entry of a user as one JSON value, such as that of a key in a bucket.

use callgate::authn::Origin;
use callgate_config::{Document, Format, Report, Sources, Table};

use super::{ENTRY, Entry, next_version};
use crate::kind::BuildContext;

/// Largest value, in bytes.
pub const MAX_VALUE: usize = 64 * 1024;

/// What is wrong with an entry, and what is unusual about it.
#[derive(Debug, Default)]
pub struct CheckedEntry {
    /// Errors; an entry with errors refuses its user.
    pub errors: Vec<String>,
    /// Warnings.
    pub warnings: Vec<String>,
}

/// Checks the value of a user as the authenticator of `context` does.
pub fn check_entry(
    user: &str,
    value: &[u8],
    operator_owned: bool,
    context: &BuildContext,
) -> CheckedEntry {
    let origin = if operator_owned { Origin::Operator } else { Origin::Outside };
    read_value(user, value, origin, context, |_| false).1
}

impl CheckedEntry {
    /// Logs what was found about the entry of `user`.
    pub(crate) fn log(self, authenticator: &str, user: &str) {
        let user = user.escape_debug().to_string();
        for error in self.errors {
            tracing::error!(authenticator, user, "invalid entry: {error}");
        }
        for warning in self.warnings {
            tracing::warn!(authenticator, user, "{warning}");
        }
    }
}

/// A value that was read.
pub(crate) enum Read {
    /// An entry, which may have errors ([`Entry::faulty`]).
    Entry(Box<Entry>),
    /// The content is the one that `is_known` recognized.
    Same,
}

/// Reads the value of a user, unless `is_known` recognizes the fingerprint of its content.
pub(crate) fn read_value(
    user: &str,
    value: &[u8],
    origin: Origin,
    context: &BuildContext,
    is_known: impl FnOnce(u64) -> bool,
) -> (Read, CheckedEntry) {
    let report = Report::new();
    let document = parse(value);
    let version = next_version();
    let document = match document {
        Ok(document) => document,
        Err(error) => {
            let entry = Entry::unreadable(user, version);
            let checked = CheckedEntry { errors: vec![error], warnings: Vec::new() };
            return (Read::Entry(Box::new(entry)), checked);
        }
    };
    let sources = Sources::new(".");
    let shown = user.escape_debug().to_string();
    let table = Table::root(&document, &shown, &report, &sources).with_keys(ENTRY);
    if report.is_faultless() && is_known(table.fingerprint()) {
        return (Read::Same, CheckedEntry::default());
    }
    let mut entry = Entry::read(user, table, origin, context, version);
    entry.faulty |= !report.is_faultless();
    let texts = |list: Vec<callgate_config::Fault>| list.iter().map(ToString::to_string).collect();
    let checked =
        CheckedEntry { errors: texts(report.faults()), warnings: texts(report.warnings()) };
    (Read::Entry(Box::new(entry)), checked)
}

fn parse(value: &[u8]) -> Result<Document, String> {
    if value.len() > MAX_VALUE {
        return Err(format!(
            "the value has {} bytes, at most {MAX_VALUE} are allowed",
            value.len()
        ));
    }
    Document::parse(value, Format::Json).map_err(|error| error.to_string())
}
