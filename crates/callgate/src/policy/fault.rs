//! Faults and warnings, each with the path of the key that it is about.

use std::fmt;

use crate::subject::is_invisible;

/// Something in the policy that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[error("{path}: {message}")]
pub struct PolicyFault {
    /// The key, such as `roles.tenant.publish.allow[0]`.
    pub path: String,
    /// What is wrong, and what to do.
    pub message: String,
}

/// Something in the policy that works, but probably not as its writer thinks.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PolicyWarning {
    /// The key.
    pub path: String,
    /// What happens, and what to do.
    pub message: String,
}

impl fmt::Display for PolicyWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}

/// Collects findings, so that the operator sees all of them at once.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) faults: Vec<PolicyFault>,
    pub(super) warnings: Vec<PolicyWarning>,
}

impl Findings {
    pub(super) fn fault(&mut self, path: impl Into<String>, message: impl Into<String>) {
        let (path, message) = (one_line(path.into()), one_line(message.into()));
        self.faults.push(PolicyFault { path, message });
    }

    pub(super) fn warn(&mut self, path: impl Into<String>, message: impl Into<String>) {
        let (path, message) = (one_line(path.into()), one_line(message.into()));
        self.warnings.push(PolicyWarning { path, message });
    }

    /// Notes the error, if it is one.
    pub(super) fn take<T, E: fmt::Display>(
        &mut self,
        path: impl Into<String>,
        result: Result<T, E>,
    ) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.fault(path, error.to_string());
                None
            }
        }
    }
}

/// Findings quote what was written, and whoever reads them has a terminal: a line end or an escape
/// sequence is shown and not obeyed.
fn one_line(text: String) -> String {
    if !text.contains(is_invisible) {
        return text;
    }
    let shown = |c: char| match is_invisible(c) {
        true => c.escape_debug().collect::<String>(),
        false => c.to_string(),
    };
    text.chars().map(shown).collect()
}

/// The known word nearest to `wrong`, if one is near enough to be meant.
pub(super) fn nearest<'a>(wrong: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (wrong.chars().count() / 3).max(1) + 1;
    known.map(|word| (distance(wrong, word), word)).filter(|(d, _)| *d <= limit).min().map(|p| p.1)
}

/// `: did you mean …?`, or nothing.
pub(super) fn did_you_mean<'a>(wrong: &str, known: impl Iterator<Item = &'a str>) -> String {
    nearest(wrong, known).map_or_else(String::new, |word| format!("; did you mean `{word}`?"))
}

/// Levenshtein's distance.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, l) in left.chars().enumerate() {
        let mut next = Vec::with_capacity(row.len());
        let mut here = i + 1;
        next.push(here);
        for ((r, above), corner) in right.iter().zip(row.iter().skip(1)).zip(&row) {
            here = (above + 1).min(here + 1).min(corner + usize::from(l != *r));
            next.push(here);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_offered_only_if_it_is_near() {
        let known = ["user", "groups", "claims"];
        assert_eq!(nearest("claim", known.into_iter()), Some("claims"));
        assert_eq!(nearest("group", known.into_iter()), Some("groups"));
        assert_eq!(nearest("zebra", known.into_iter()), None);
    }
}
