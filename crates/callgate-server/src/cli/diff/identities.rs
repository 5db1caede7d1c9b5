//! Identities to compare: from a list, and from an audit.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
};

use callgate_config::{Document, DocumentError, Key, Report, Sources, Table, Type};
use serde_json::{Value, json};

use crate::{
    audit::HIDDEN_PREFIX,
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
    let document = match is_lines(path) {
        true => lines(path).map(|list| Document::from_value(json!({ "identities": list }))),
        false => Document::read(path, &Sources::new(".")).map_err(|error| match error {
            DocumentError::Syntax { position: Some(at), message } => format!("{at}: {message}"),
            other => other.to_string(),
        }),
    };
    let document = match document {
        Ok(document) if document.value().is_array() => {
            Document::from_value(json!({ "identities": document.value() }))
        }
        Ok(document) => document,
        Err(error) => {
            report.fault_in(&name, None, error);
            return Vec::new();
        }
    };
    let sources = Sources::new(".");
    let mut root = Table::root(&document, "", report, &sources).with_keys(Type::Table(KEYS));
    let tables = root.tables("identities");
    if tables.is_empty() {
        root.fault_here("has no identity");
    }
    let specs = tables.into_iter().filter_map(|table| IdentitySpec::read(table, context)).collect();
    root.finish();
    report.locate(&document, "", &name);
    specs
}

fn is_lines(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    matches!(extension, Some("jsonl" | "ndjson"))
}

/// The objects of a file with one JSON object per line.
fn lines(path: &Path) -> Result<Vec<Value>, String> {
    let text = Sources::read_any(path).map_err(|error| error.to_string())?;
    let lines = text.split(|byte| *byte == b'\n').enumerate();
    let filled = lines.filter(|(_, line)| !line.trim_ascii().is_empty());
    let parsed = filled.map(|(index, line)| {
        callgate::json::parse_strict(line, MAX_DEPTH)
            .map_err(|error| format!("line {}: {error}", index + 1))
    });
    parsed.collect()
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
/// If a file cannot be read, or has a line that is not a record.
pub(super) fn audited(paths: &[PathBuf], preview: &Preview) -> Result<Audited, String> {
    let mut seen = BTreeSet::new();
    let mut audited = Audited::default();
    for path in paths {
        let records = lines(path).map_err(|error| format!("`{}`: {error}", path.display()))?;
        for record in &records {
            let Some(spec) = spec_of(record) else { continue };
            if !seen.insert(key(&spec)) {
                continue;
            }
            match without_prefix(spec, preview) {
                Some(spec) => audited.specs.push(spec),
                None => audited.unknown += 1,
            }
        }
    }
    Ok(audited)
}

/// The identity by its name in the source, without `user_prefix`; `None` if it cannot be compared.
fn without_prefix(spec: IdentitySpec, preview: &Preview) -> Option<IdentitySpec> {
    let name = &spec.authenticator;
    let prefix = preview.old.policy().user_prefix(name);
    let user = spec.user.strip_prefix(prefix)?;
    let is_known = !spec.user.starts_with(HIDDEN_PREFIX)
        && !preview.old.proposes(name)
        && !preview.new.proposes(name);
    is_known.then(|| IdentitySpec { user: user.to_owned(), ..spec.clone() })
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
