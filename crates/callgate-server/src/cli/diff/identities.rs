//! Identities to compare: from a list, and from an audit.

use std::{
    collections::BTreeSet,
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
    sync::Arc,
};

use callgate_config::{
    Document, DocumentError, Fault, Key, Position, Report, Sources, Table, Type,
};
use serde_json::{Value, json};

use crate::{
    cli::{hidden_names::HiddenNames, progress::Shown},
    rehearsal::{IDENTITY_KEYS, IdentitySpec, SpecContext, preview::Preview},
};

const KEYS: &[Key] = &[Key::required(
    "identities",
    Type::List(&Type::Table(IDENTITY_KEYS)),
    "identities, as in policy tests",
)];

const MAX_DEPTH: usize = 32;

/// The identities of a list: TOML, YAML or JSON, or one JSON object per line (`.jsonl`, `.ndjson`).
pub(super) fn listed(path: &Path, context: &SpecContext, report: &Report) -> Vec<IdentitySpec> {
    let name = path.display().to_string();
    let found = report.fault_count();
    let specs = match is_lines(path) {
        true => listed_by_line(path, &name, context, report),
        false => listed_in_document(path, &name, context, report),
    };
    if specs.is_empty() && report.fault_count() == found {
        report.fault_in(&name, None, "has no identity");
    }
    specs
}

fn listed_in_document(
    path: &Path,
    name: &str,
    context: &SpecContext,
    report: &Report,
) -> Vec<IdentitySpec> {
    let document = match Document::read(path, &Sources::new(".")) {
        Ok(document) => document,
        Err(DocumentError::Syntax { position, message }) => {
            report.fault_in(name, position, message);
            return Vec::new();
        }
        Err(error @ (DocumentError::Source(_) | DocumentError::Extension(_))) => {
            report.fault("", error);
            return Vec::new();
        }
    };
    let found = Report::new();
    let specs = match document.value() {
        Value::Null => Vec::new(),
        Value::Array(list) => specs_of(&json!({ "identities": list }), context, &found),
        value => specs_of(value, context, &found),
    };
    let is_list = document.value().is_array();
    for Fault { path, message, .. } in found.faults() {
        // In a list, the paths begin with the number of the identity.
        let written = if is_list { path.trim_start_matches("identities") } else { path.as_str() };
        let enclosing = std::iter::successors(Some(written), |path| {
            path.rfind(['.', '[']).and_then(|end| path.get(..end))
        });
        let enclosing: Vec<&str> = enclosing.collect();
        let positions = document.positions_of(enclosing.iter().copied());
        let position = enclosing.iter().find_map(|path| positions.get(*path).copied());
        report.fault_in(name, position, in_words(&path, &message));
    }
    specs
}

fn listed_by_line(
    path: &Path,
    name: &str,
    context: &SpecContext,
    report: &Report,
) -> Vec<IdentitySpec> {
    let text = match Sources::read_any(path) {
        Ok(text) => text,
        Err(error) => {
            report.fault("", error);
            return Vec::new();
        }
    };
    let mut specs = Vec::new();
    for (number, line) in filled_lines(&text) {
        let at = |column: usize| Some(Position { line: number, column });
        match callgate::json::parse_strict(line, MAX_DEPTH) {
            Ok(value) => {
                let found = Report::new();
                specs.extend(specs_of(&json!({ "identities": [value] }), context, &found));
                for Fault { path, message, .. } in found.faults() {
                    let path = path.trim_start_matches("identities[0]").trim_start_matches('.');
                    report.fault_in(name, at(1), in_words(path, &message));
                }
            }
            Err(error) => {
                let column = error.position().map_or(1, |(_, column)| column);
                report.fault_in(name, at(column), error.message());
            }
        }
    }
    specs
}

fn in_words(path: &str, message: &str) -> String {
    match path.is_empty() {
        true => message.to_owned(),
        false => format!("{path}: {message}"),
    }
}

/// Reads the member `identities`.
fn specs_of(value: &Value, context: &SpecContext, report: &Report) -> Vec<IdentitySpec> {
    let document = Document::from_value(value.clone());
    let sources = Sources::new(".");
    let mut root = Table::root(&document, "", report, &sources).with_keys(Type::Table(KEYS));
    let tables = root.tables("identities");
    let specs = tables.into_iter().filter_map(|table| IdentitySpec::read(table, context)).collect();
    root.finish();
    specs
}

fn is_lines(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    matches!(extension, Some("jsonl" | "ndjson"))
}

/// The lines that are not empty, with their numbers.
fn filled_lines(text: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let numbered = text.split(|byte| *byte == b'\n').zip(1..).map(|(line, number)| (number, line));
    numbered.filter(|(_, line)| !line.trim_ascii().is_empty())
}

/// The distinct identities of the decisions in an audit.
#[derive(Debug, Default)]
pub(super) struct Audited {
    pub(super) specs: Vec<IdentitySpec>,
    /// Those of which too little is recorded: the name is hidden, or permissions came from a backend.
    pub(super) unknown: usize,
}

/// Reads the identities of the decisions in audit files, which the old configuration made.
///
/// # Errors
/// If a file cannot be read, or has a line that is not a record, or if all files are empty.
pub(super) fn audited(
    paths: &[PathBuf],
    preview: &Preview,
    names: &HiddenNames,
) -> Result<Audited, String> {
    let mut seen = BTreeSet::new();
    let mut audited = Audited::default();
    let mut is_empty = !paths.is_empty();
    for path in paths {
        let shown = path.display();
        let failed = |error: io::Error| format!("cannot read `{shown}`: {error}");
        let file = BufReader::new(Shown::open("reading", path).map_err(failed)?);
        for (line, number) in file.split(b'\n').zip(1..) {
            let line = line.map_err(failed)?;
            if line.trim_ascii().is_empty() {
                continue;
            }
            is_empty = false;
            let record = callgate::json::parse_strict(&line, MAX_DEPTH).map_err(|error| {
                format!("{shown}:{number}: not a record of an audit: {}", error.message())
            })?;
            let Some(spec) = spec_of(&record) else { continue };
            if !seen.insert(key(&spec)) {
                continue;
            }
            match without_prefix(spec, preview, names) {
                Some(spec) => audited.specs.push(spec),
                None => audited.unknown += 1,
            }
        }
    }
    match is_empty {
        true => Err("no records: the files of --audit are empty".to_owned()),
        false => Ok(audited),
    }
}

/// The identity by its name in the source, without `user_prefix`; `None` if it cannot be compared.
fn without_prefix(
    spec: IdentitySpec,
    preview: &Preview,
    names: &HiddenNames,
) -> Option<IdentitySpec> {
    let name = &spec.authenticator;
    if preview.old.proposes(name) || preview.new.proposes(name) {
        return None;
    }
    let prefix = preview.old.policy().user_prefix(name);
    let user = names.user(&spec.user)?.strip_prefix(prefix)?.to_owned();
    Some(IdentitySpec { user, ..spec })
}

/// The identity of a decision, if an authenticator identified the client.
fn spec_of(record: &Value) -> Option<IdentitySpec> {
    let text = |name: &str| {
        let value = record.get(name).and_then(Value::as_str);
        value.filter(|text| !text.is_empty()).map(str::to_owned)
    };
    let is_decision = text("type").as_deref() == Some("decision");
    let authenticator = text("authenticator").filter(|_| is_decision)?;
    // Only decisions about an identity have groups: other names are what a client typed.
    let groups = record.get("groups").and_then(Value::as_array)?;
    let facts = record.get("facts").and_then(Value::as_object);
    let groups = groups.iter().filter_map(Value::as_str).map(str::to_owned).collect();
    Some(IdentitySpec {
        authenticator: Arc::from(authenticator),
        user: text("user")?,
        groups: Some(groups),
        claims: facts.cloned(),
        roles: None,
        unknown: true,
    })
}

fn key(spec: &IdentitySpec) -> String {
    let IdentitySpec { authenticator, user, groups, claims, roles: _, unknown: _ } = spec;
    json!([&**authenticator, user, groups, claims]).to_string()
}
