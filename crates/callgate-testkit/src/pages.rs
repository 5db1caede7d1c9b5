//! Pages of `docs/` that are rendered from recorded results.

use std::{fs, path::PathBuf};

/// A path in this checkout.
pub fn checkout(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

/// A Markdown table; without rows, only its head.
pub fn table(head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut lines =
        vec![format!("| {} |", head.join(" | ")), format!("|{}", "---|".repeat(head.len()))];
    lines.extend(rows.into_iter().map(|row| format!("| {} |", row.join(" | "))));
    lines.join("\n") + "\n"
}

/// Checks that a file of this checkout has this text.
///
/// # Panics
/// If it differs; `remedy` is the command that writes it.
pub fn assert_current(path: &str, text: &str, remedy: &str) {
    let current = fs::read_to_string(checkout(path)).unwrap_or_default();
    let differs = current.lines().zip(text.lines()).position(|(old, new)| old != new);
    assert!(current == text, "{path} is out of date at line {differs:?} (from 0): run `{remedy}`");
}
