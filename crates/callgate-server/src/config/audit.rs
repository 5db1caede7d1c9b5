//! `[audit]`.

use std::{
    collections::BTreeSet, os::unix::fs::MetadataExt, path::Path, sync::Arc, time::Duration,
};

use callgate::keys::{KeyError, KeyKind, KeyPair, Seed};
use callgate_config::{Key, Table, Type};

use crate::audit::{
    AuditSettings, CreateSettings, FileSettings, Hidden, RotateSettings, SinkSettings,
    StreamSettings,
};

pub(super) const KEYS: &[Key] = &[
    Key::optional(
        "required",
        Type::Boolean,
        "no login is admitted unless a sink has stored its record; otherwise it is refused \
         (`audit_unavailable`)",
    )
    .or("false"),
    Key::optional(
        "timeout",
        Type::Duration,
        "with `required`: how long an admission waits for that; never past the request's deadline",
    )
    .or("\"500ms\""),
    Key::optional(
        "key",
        Type::Seed("SU…"),
        "signs the records every 60 s, every 1,000 records and at the stop (*seals*)",
    ),
    Key::optional(
        "hide",
        Type::Named("list", &Type::List(&Type::Word(&["user", "source", "client_name"]))),
        "fields that are written as keyed hashes: `user`, `source`, `client_name`. Needs `hide_key`",
    )
    .or("[]"),
    Key::optional(
        "hide_key",
        Type::Secret,
        "the key of these hashes, at least 32 bytes. With it, names that no directory knows are hashed, too: \
         they may be passwords",
    ),
    Key::optional("facts", Type::Boolean, "also record the claims that policy names").or("false"),
    Key::optional("sinks", Type::List(&Type::Table(SINK_KEYS)), "where records are written")
        .or_else("required"),
];

const SINK_KEYS: &[Key] = &[
    Key::optional(
        "file",
        Type::Path,
        "a file, created with mode 0600 in an existing folder. Each process needs its own",
    )
    .or_else("one of `file`, `stream`, `stdout`"),
    Key::optional("rotate", Type::Table(ROTATE_KEYS), "with `file`: when it is rotated"),
    Key::optional(
        "stream",
        Type::Text,
        "a JetStream stream in the callout account, with the subjects `CALLGATE.audit.>`",
    ),
    Key::optional(
        "create",
        Type::Table(CREATE_KEYS),
        "with `stream`: create the stream if it is missing",
    ),
    Key::optional("stdout", Type::Boolean, "standard output"),
];

const ROTATE_KEYS: &[Key] = &[
    Key::optional("size", SIZE, "at this size, such as `\"100MiB\"`"),
    Key::optional("every", Type::Duration, "when the first record is this old"),
    Key::optional(
        "keep",
        Type::Integer(1, 1_000_000),
        "number of rotated files to keep; the oldest are deleted",
    )
    .or_else("all"),
    Key::optional(
        "then",
        Type::List(&Type::Text),
        "a command to run after a rotation, with its arguments. The path of the rotated file follows as the \
         last argument. No shell, at most 60 s, one at a time",
    ),
];

const CREATE_KEYS: &[Key] = &[
    Key::optional("max_age", Type::Duration, "how long records are kept").or_else("for ever"),
    Key::optional("replicas", Type::Integer(1, 5), "1, 3 or 5").or("1"),
];

const SIZE: Type = Type::Named("size", &Type::Text);
const DEFAULT_TIMEOUT: Duration = Duration::from_millis(500);
/// In bytes.
const MIN_HIDE_KEY: usize = 32;
/// In bytes.
const MIN_SIZE: u64 = 1024;
const MIN_EVERY: Duration = Duration::from_secs(1);

/// `None` if the table is absent, or has an error.
pub(super) fn read(root: &mut Table<'_>) -> Option<AuditSettings> {
    let mut table = root.table("audit")?;
    let required = table.boolean("required").unwrap_or_default();
    let timeout = table.duration("timeout").unwrap_or(DEFAULT_TIMEOUT);
    if timeout.is_zero() {
        table.fault("timeout", "must be greater than zero");
    }
    let key = key(&mut table);
    let hide = hide(&mut table);
    let hide_key = table.secret("hide_key");
    if hide_key.as_ref().is_some_and(|key| key.expose().len() < MIN_HIDE_KEY) {
        table.fault("hide_key", "must have at least 32 bytes: `openssl rand -hex 32` prints a key");
    }
    if !hide.is_empty() && !table.has("hide_key") {
        table.fault("hide", "needs `hide_key`");
    }
    let facts = table.boolean("facts").unwrap_or_default();
    let sinks = sinks(&mut table);
    if required && !sinks.is_empty() && !sinks.iter().any(SinkSettings::is_durable) {
        table.fault(
            "required",
            "standard output cannot confirm that a record is stored: add a sink with `file` or `stream`",
        );
    }
    table.finish();
    Some(AuditSettings { required, timeout, key, hide, hide_key, facts, sinks })
}

fn key(table: &mut Table<'_>) -> Option<Arc<KeyPair>> {
    if !table.has("key") {
        table.warn(
            "key",
            "no key: a whole file can be rewritten, or its end cut off, without being detected; \
             `callgate key user` makes one",
        );
        return None;
    }
    let parsed = user_key(table.seed("key")?).map_err(|error| table.fault("key", error));
    parsed.ok().map(Arc::new)
}

fn user_key(seed: Seed) -> Result<KeyPair, KeyError> {
    match seed.kind() {
        KeyKind::User => KeyPair::from_seed(seed),
        found => Err(KeyError::WrongKind {
            found: found.seed_in_words(),
            wanted: KeyKind::User.seed_in_words(),
        }),
    }
}

fn hide(table: &mut Table<'_>) -> Vec<Hidden> {
    let mut fields = BTreeSet::new();
    for name in table.strings("hide").unwrap_or_default() {
        match Hidden::ALL.into_iter().find(|field| field.as_str() == name) {
            Some(field) => drop(fields.insert(field)),
            None => {
                let shown = name.escape_debug();
                let message =
                    format!("`{shown}` cannot be hidden: use user, source or client_name");
                table.fault("hide", message);
            }
        }
    }
    fields.into_iter().collect()
}

fn sinks(table: &mut Table<'_>) -> Vec<SinkSettings> {
    if !table.has("sinks") {
        table.fault_here(
            "`sinks` is missing: add [[audit.sinks]] with `file`, `stream` or `stdout`",
        );
        return Vec::new();
    }
    let mut sinks: Vec<SinkSettings> = Vec::new();
    let tables = table.tables("sinks");
    if tables.is_empty() {
        table.fault("sinks", "must not be empty");
    }
    for mut table in tables {
        let Some(sink) = sink(&mut table) else { continue };
        let is_same = |other: &SinkSettings| match (&sink, other) {
            (SinkSettings::File(one), SinkSettings::File(other)) => one.path == other.path,
            (SinkSettings::Stream(one), SinkSettings::Stream(other)) => one.name == other.name,
            (SinkSettings::Stdout, SinkSettings::Stdout) => true,
            (SinkSettings::File(_) | SinkSettings::Stream(_) | SinkSettings::Stdout, _) => false,
        };
        match sinks.iter().any(is_same) {
            true => table.fault_here("is the same as an earlier sink"),
            false => sinks.push(sink),
        }
        table.finish();
    }
    sinks
}

fn sink(table: &mut Table<'_>) -> Option<SinkSettings> {
    let file = file(table);
    let stream = stream(table);
    let stdout = table.boolean("stdout").unwrap_or_default();
    let given = [table.has("file"), table.has("stream"), stdout];
    if given.iter().filter(|given| **given).count() != 1 {
        table.fault_here("needs exactly one of `file`, `stream` and `stdout = true`");
        return None;
    }
    if !table.has("file") {
        table.refuse("rotate", "only files are rotated");
    }
    if !table.has("stream") {
        table.refuse("create", "only streams are created with options");
    }
    let stdout = stdout.then_some(SinkSettings::Stdout);
    file.map(SinkSettings::File).or(stream.map(SinkSettings::Stream)).or(stdout)
}

fn file(table: &mut Table<'_>) -> Option<FileSettings> {
    let rotate = rotate(table);
    let path = table.file_name("file")?;
    match std::fs::symlink_metadata(&path) {
        Ok(found) if found.is_symlink() => {
            table.fault("file", "is a symbolic link: write the path of the file itself");
            return None;
        }
        Ok(found) if found.is_file() && found.mode() & 0o044 != 0 => {
            let shown = path.display();
            table.warn("file", format!("`{shown}` is readable by others: run `chmod 600 {shown}`"));
        }
        Ok(_) | Err(_) => {}
    }
    let name = table.string("file")?;
    let rotate = match table.has("rotate") {
        true => Some(rotate?),
        false => None,
    };
    Some(FileSettings { path, name, rotate })
}

fn rotate(table: &mut Table<'_>) -> Option<RotateSettings> {
    let mut table = table.table("rotate")?;
    let size = table.string("size").and_then(|text| {
        let size = parse_size(&text).filter(|size| *size >= MIN_SIZE);
        if size.is_none() {
            let shown = text.escape_debug();
            let message =
                format!("`{shown}` is not a size of at least 1KiB: write one such as \"100MiB\"");
            table.fault("size", message);
        }
        size
    });
    let every = table.duration("every");
    if every.is_some_and(|every| every < MIN_EVERY) {
        table.fault("every", "must be at least \"1s\"");
    }
    let keep = table.integer("keep", 1..=1_000_000).and_then(|keep| usize::try_from(keep).ok());
    let then = table.filled_strings("then").unwrap_or_default();
    if then.first().is_some_and(|program| Path::new(program).is_relative()) {
        table.fault("then", "the command must be an absolute path: it is run without a shell");
    }
    if !table.has("size") && !table.has("every") {
        table.fault_here("needs `size` or `every`");
    }
    table.finish();
    Some(RotateSettings { size, every, keep, then })
}

fn stream(table: &mut Table<'_>) -> Option<StreamSettings> {
    let create = table.table("create").map(|mut table| {
        let max_age = table.duration("max_age").unwrap_or_default();
        let replicas = table.integer("replicas", 1..=5).unwrap_or(1);
        if ![1, 3, 5].contains(&replicas) {
            table.fault("replicas", "must be 1, 3 or 5");
        }
        table.finish();
        CreateSettings { max_age, replicas: usize::try_from(replicas).unwrap_or(1) }
    });
    let name = table.filled_string("stream")?;
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !name.chars().all(is_allowed) {
        table.fault("stream", "a stream's name has only letters, digits, `_` and `-`");
        return None;
    }
    Some(StreamSettings { name, create })
}

/// A whole number and one of `KiB`, `MiB`, `GiB`.
fn parse_size(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let unit = match unit.trim_start() {
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use callgate_config::{Document, Report, Sources};
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn sizes_need_a_unit() {
        for (text, size) in [
            ("100MiB", Some(100 << 20)),
            ("1 GiB", Some(1 << 30)),
            ("4KiB", Some(4096)),
            ("100", None),
            ("100MB", None),
            ("MiB", None),
            ("", None),
            ("99999999999999999999KiB", None),
        ] {
            assert_eq!(parse_size(text), size, "{text}");
        }
    }

    fn findings(audit: Value, folder: &Path) -> (Vec<String>, Vec<String>) {
        let report = Report::new();
        let sources = Sources::new(folder);
        let document = Document::from_value(json!({ "audit": audit }));
        let mut root = Table::root(&document, "", &report, &sources)
            .with_keys(Type::Table(super::super::KEYS));
        drop(read(&mut root));
        root.finish();
        let texts = |found: Vec<callgate_config::Fault>| {
            found.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        (texts(report.faults()), texts(report.warnings()))
    }

    #[test]
    fn errors_name_their_key() {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("target", folder.path().join("link")).unwrap();
        let file = json!([{ "file": "audit.jsonl" }]);
        let rotate = |rotate: Value| json!({ "sinks": [{ "file": "a", "rotate": rotate }] });
        let account = callgate::keys::AccountSigner::generate().unwrap().seed().expose().to_owned();
        for (audit, error) in [
            (json!({}), "audit: `sinks` is missing"),
            (json!({ "sinks": [] }), "audit.sinks: must not be empty"),
            (json!({ "sinks": [{}] }), "audit.sinks[0]: needs exactly one of"),
            (
                json!({ "sinks": [{ "file": "a", "stdout": true }] }),
                "audit.sinks[0]: needs exactly one of",
            ),
            (json!({ "sinks": [{ "file": "a" }, { "file": "a" }] }), "audit.sinks[1]: is the same"),
            (
                json!({ "sinks": [{ "stdout": true, "rotate": { "size": "1MiB" } }] }),
                "audit.sinks[0].rotate: only files",
            ),
            (json!({ "sinks": [{ "file": "link" }] }), "audit.sinks[0].file: is a symbolic link"),
            (json!({ "sinks": [{ "stream": "a.b" }] }), "audit.sinks[0].stream: a stream's name"),
            (
                json!({ "sinks": [{ "stream": "A", "create": { "replicas": 2 } }] }),
                "create.replicas: must be 1, 3 or 5",
            ),
            (
                json!({ "required": true, "sinks": [{ "stdout": true }] }),
                "audit.required: standard output",
            ),
            (json!({ "timeout": "0s", "sinks": file }), "audit.timeout: must be greater than zero"),
            (json!({ "key": account, "sinks": file }), "audit.key: this is an account seed"),
            (json!({ "hide": ["user"], "sinks": file }), "audit.hide: needs `hide_key`"),
            (
                json!({ "hide": ["password"], "hide_key": "x".repeat(32), "sinks": file }),
                "audit.hide: `password` cannot be hidden",
            ),
            (
                json!({ "hide_key": "short", "sinks": file }),
                "audit.hide_key: must have at least 32 bytes",
            ),
            (rotate(json!({})), "rotate: needs `size` or `every`"),
            (rotate(json!({ "size": "10" })), "rotate.size: `10` is not a size"),
            (rotate(json!({ "every": "5ms" })), "rotate.every: must be at least"),
            (rotate(json!({ "size": "1MiB", "keep": 0 })), "rotate.keep: 0 is not between"),
            (
                rotate(json!({ "size": "1MiB", "then": ["ship"] })),
                "rotate.then: the command must be an absolute path",
            ),
        ] {
            let (faults, _) = findings(audit.clone(), folder.path());
            assert!(
                faults.iter().any(|fault| fault.contains(error)),
                "{audit}: {error}: {faults:?}"
            );
        }
    }

    #[test]
    fn missing_key_and_readable_file_are_warnings() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("audit.jsonl"), "").unwrap();
        let (faults, warnings) =
            findings(json!({ "sinks": [{ "file": "audit.jsonl" }] }), folder.path());
        assert!(faults.is_empty(), "{faults:?}");
        let has = |text: &str| warnings.iter().any(|warning| warning.contains(text));
        assert!(has("audit.key: no key") && has("is readable by others"), "{warnings:?}");
    }
}
