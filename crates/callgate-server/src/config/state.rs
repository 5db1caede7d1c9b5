//! `[state]`.

use std::time::Duration;

use callgate_authenticators::kind::Bucket;
use callgate_config::{Key, Table, Type};

use crate::state::{StateMode, StateSettings};

pub(super) const KEYS: &[Key] = &[
    Key::optional(
        "bucket",
        Type::Text,
        "a JetStream key-value bucket in the callout account. Another fleet on the same account needs another \
         name",
    )
    .or("\"callgate\""),
    Key::optional(
        "create",
        Type::Boolean,
        "create the bucket if it is missing, with file storage and a history of 1",
    )
    .or("true"),
    Key::optional(
        "replicas",
        Type::Integer(1, 5),
        "1, 3 or 5: replicas of a bucket that is created. With too few servers for it, the log says so and \
         Callgate is not ready",
    )
    .or("3"),
    Key::optional(
        "required",
        Type::Boolean,
        "not ready before all locks have been read once, from the bucket or from another replica",
    )
    .or("true"),
    Key::optional(
        "mode",
        Type::Word(&["best_effort", "strict"]),
        "when a replica is no longer fresh: continue with the last locks that it knew, or refuse every login \
         (`state_unavailable`)",
    )
    .or("\"best_effort\""),
    Key::optional(
        "max_stale",
        Type::Duration,
        "how long a replica may go without proof before it is no longer fresh; at least `\"5s\"`",
    )
    .or("\"30s\""),
];

const MIN_STALE: Duration = Duration::from_secs(5);

/// Reads `[state]`; `None` if there is no such table.
pub(super) fn read(root: &mut Table<'_>) -> Option<StateSettings> {
    let mut table = root.table("state")?;
    let mut settings = StateSettings {
        bucket: "callgate".to_owned(),
        create: true,
        replicas: 3,
        required: true,
        mode: StateMode::BestEffort,
        max_stale: Duration::from_secs(30),
    };
    if let Some(bucket) = table.filled_string("bucket") {
        if !Bucket::is_valid_name(&bucket) {
            table.fault("bucket", "must consist of letters, digits, `-` and `_`");
        }
        settings.bucket = bucket;
    }
    if let Some(create) = table.boolean("create") {
        settings.create = create;
    }
    match table.integer("replicas", 1..=5) {
        Some(replicas @ (1 | 3 | 5)) => settings.replicas = usize::try_from(replicas).unwrap_or(3),
        Some(_) => table.fault("replicas", "must be 1, 3 or 5"),
        None => {}
    }
    if let Some(required) = table.boolean("required") {
        settings.required = required;
    }
    match table.string("mode").as_deref() {
        None | Some("best_effort") => {}
        Some("strict") => settings.mode = StateMode::Strict,
        Some(_) => table.fault("mode", "must be \"best_effort\" or \"strict\""),
    }
    match table.duration("max_stale") {
        Some(max_stale) if max_stale < MIN_STALE => {
            table.fault("max_stale", "must be at least \"5s\": proof takes a moment to arrive");
        }
        Some(max_stale) => settings.max_stale = max_stale,
        None => {}
    }
    table.finish();
    Some(settings)
}

#[cfg(test)]
mod tests {
    use callgate_config::{Document, Report, Sources};
    use serde_json::{Value, json};

    use super::*;

    fn read_from(table: Value) -> (Option<StateSettings>, Vec<String>) {
        let (report, sources) = (Report::new(), Sources::new("."));
        let document = Document::from_value(json!({ "state": table }));
        let mut root = Table::root(&document, "", &report, &sources);
        let settings = read(&mut root);
        (settings, report.faults().iter().map(ToString::to_string).collect())
    }

    #[test]
    fn empty_table_has_safe_defaults() {
        let (settings, faults) = read_from(json!({}));
        let settings = settings.unwrap();
        assert!(faults.is_empty(), "{faults:?}");
        assert!(settings.required && settings.create);
        assert_eq!((settings.bucket.as_str(), settings.replicas), ("callgate", 3));
        assert_eq!((settings.mode, settings.max_stale.as_secs()), (StateMode::BestEffort, 30));
    }

    #[test]
    fn impossible_values_are_errors() {
        for (table, word) in [
            (json!({ "bucket": "a b" }), "bucket"),
            (json!({ "bucket": "" }), "bucket"),
            (json!({ "replicas": 2 }), "1, 3 or 5"),
            (json!({ "replicas": 7 }), "7"),
            (json!({ "mode": "loose" }), "mode"),
            (json!({ "max_stale": "4s" }), "max_stale"),
            (json!({ "tolerance": "4s" }), "tolerance"),
        ] {
            let (_, faults) = read_from(table.clone());
            assert!(faults.len() == 1 && faults[0].contains(word), "{table}: {faults:?}");
        }
    }
}
