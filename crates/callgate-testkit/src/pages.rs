//! Pages of `docs/` that are rendered from recorded results.

use std::{fs, path::PathBuf};

/// A path in this checkout.
pub fn checkout(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

/// A Markdown table.
pub fn table(head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    aligned(head, "---|", rows)
}

/// A Markdown table whose columns are right-aligned, except for the first.
pub fn number_table(head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    aligned(head, "--:|", rows)
}

fn aligned(head: &[&str], others: &str, rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let line = |cells: &str| format!("| {cells} |\n");
    let mut text = line(&head.join(" | "));
    text += &format!("|---|{}\n", others.repeat(head.len() - 1));
    rows.into_iter().for_each(|row| text += &line(&row.join(" | ")));
    text
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
