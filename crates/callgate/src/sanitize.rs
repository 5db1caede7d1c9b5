//! Makes untrusted text safe for logs and terminals.

use crate::subject::is_invisible;

const MAX_EXCERPT_CHARS: usize = 128;

/// The text with special characters escaped, cut after 128 characters.
pub(crate) fn excerpt(text: &str) -> String {
    let mut excerpt: String =
        text.chars().take(MAX_EXCERPT_CHARS).flat_map(char::escape_debug).collect();
    if text.chars().nth(MAX_EXCERPT_CHARS).is_some() {
        excerpt.push('…');
    }
    excerpt
}

/// The text with line breaks, terminal escapes and invisible characters escaped.
pub(crate) fn one_line(text: String) -> String {
    if !text.contains(is_invisible) {
        return text;
    }
    let visible = |c: char| match is_invisible(c) {
        true => c.escape_debug().collect::<String>(),
        false => c.to_string(),
    };
    text.chars().map(visible).collect()
}
