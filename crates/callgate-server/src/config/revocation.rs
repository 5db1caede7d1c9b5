//! `[revocation]`.

use std::time::Duration;

use callgate_config::{Key, Table, Type};

use crate::revocation::{RevocationMode, RevocationSettings};

pub(super) const KEYS: &[Key] = &[
    Key::optional(
        "mode",
        Type::Word(&["off", "changed", "strict"]),
        "which live sessions a change ends. `off`: none. `changed`: those whose user, credential, account or \
         permissions are gone or smaller. `strict`: also those whose grant would differ in any way, or that cannot \
         be evaluated again",
    )
    .or_else("`\"changed\"` with `[system]`, otherwise `\"off\"`"),
    Key::optional("settle", Type::Duration, "changes within this time are evaluated together").or("\"1s\""),
    Key::optional(
        "hold_above",
        Type::Number(0.0, 1.0),
        "a change that would end a larger share of all sessions, and more than 10, ends none until \
         `callgate revocations --apply`",
    )
    .or("0.2"),
    Key::optional(
        "keys",
        Type::Boolean,
        "a key that disappears from a key set ends the sessions of tokens that it signed. Ordinary rotation looks \
         the same",
    )
    .or("false"),
];

const MAX_SETTLE: Duration = Duration::from_secs(3600);

/// Reads the table; `has_system` tells whether there is a `[system]`.
pub(super) fn read(root: &mut Table<'_>, has_system: bool) -> RevocationSettings {
    let mode = if has_system { RevocationMode::Changed } else { RevocationMode::Off };
    let mut settings = RevocationSettings {
        mode,
        settle: Duration::from_secs(1),
        hold_above: 0.2,
        withdrawn_keys: false,
    };
    let Some(mut table) = root.table("revocation") else { return settings };
    match table.string("mode").as_deref() {
        None => {}
        Some("off") => settings.mode = RevocationMode::Off,
        Some("changed") => settings.mode = RevocationMode::Changed,
        Some("strict") => settings.mode = RevocationMode::Strict,
        Some(_) => table.fault("mode", "must be \"off\", \"changed\" or \"strict\""),
    }
    if settings.mode != RevocationMode::Off && !has_system {
        table.fault(
            "mode",
            "ending sessions needs the system account: add `[system]`, or set \"off\"",
        );
    }
    match table.duration("settle") {
        Some(settle) if settle > MAX_SETTLE => table.fault("settle", "must be at most \"1h\""),
        Some(settle) => settings.settle = settle,
        None => {}
    }
    if let Some(share) = table.number("hold_above", 0.0..=1.0) {
        settings.hold_above = share;
    }
    if let Some(keys) = table.boolean("keys") {
        settings.withdrawn_keys = keys;
    }
    table.finish();
    settings
}

#[cfg(test)]
mod tests {
    use callgate_config::{Document, Report, Sources};
    use serde_json::{Value, json};

    use super::*;

    fn read_from(document: Value, has_system: bool) -> (RevocationSettings, Vec<String>) {
        let (report, sources) = (Report::new(), Sources::new("."));
        let document = Document::from_value(document);
        let mut root = Table::root(&document, "", &report, &sources);
        let settings = read(&mut root, has_system);
        (settings, report.faults().iter().map(ToString::to_string).collect())
    }

    #[test]
    fn mode_follows_from_the_system_connection() {
        assert_eq!(read_from(json!({}), true).0.mode, RevocationMode::Changed);
        assert_eq!(read_from(json!({}), false).0.mode, RevocationMode::Off);
        let off = read_from(json!({ "revocation": { "mode": "off" } }), true);
        assert_eq!((off.0.mode, off.1), (RevocationMode::Off, Vec::new()));
    }

    #[test]
    fn ending_sessions_without_the_system_connection_is_an_error() {
        for mode in ["changed", "strict"] {
            let (_, faults) = read_from(json!({ "revocation": { "mode": mode } }), false);
            assert!(faults.len() == 1 && faults[0].contains("[system]"), "{faults:?}");
        }
    }

    #[test]
    fn impossible_values_are_errors() {
        for (table, word) in [
            (json!({ "mode": "loose" }), "mode"),
            (json!({ "hold_above": 1.5 }), "hold_above"),
            (json!({ "hold_above": -0.1 }), "hold_above"),
            (json!({ "settle": "2h" }), "settle"),
            (json!({ "keys": "yes" }), "keys"),
            (json!({ "key": true }), "key"),
        ] {
            let (_, faults) = read_from(json!({ "revocation": table.clone() }), true);
            assert!(faults.len() == 1 && faults[0].contains(word), "{table}: {faults:?}");
        }
    }
}
