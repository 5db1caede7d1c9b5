//! Makes untrusted text safe for logs, messages and terminals.

use crate::subject::is_invisible;

const MAX_EXCERPT_CHARS: usize = 128;
const MAX_FIELD_CHARS: usize = 200;

/// The text with special characters escaped, cut after 128 characters.
pub fn excerpt(text: &str) -> String {
    excerpt_up_to(text, MAX_EXCERPT_CHARS)
}

/// The text with special characters escaped, cut after `max_chars` characters.
pub fn excerpt_up_to(text: &str, max_chars: usize) -> String {
    truncated(text, max_chars, |out, c| out.extend(c.escape_debug()))
}

/// The text with line breaks, terminal escapes and invisible characters escaped.
pub fn one_line(text: &str) -> String {
    truncated(text, usize::MAX, |out, c| match is_invisible(c) {
        true => out.extend(c.escape_debug()),
        false => out.push(c),
    })
}

/// A value for a log field: control and invisible characters and backslashes escaped, cut after 200
/// characters.
pub fn log_field(text: &str) -> String {
    escaped_unicode(text, MAX_FIELD_CHARS, |c| is_invisible(c) || c == '\\')
}

/// Like [`log_field`] for Callgate's own explanations, which are longer and whose quotations are already
/// escaped, so that backslashes stay as they are.
pub fn log_detail(text: &str) -> String {
    escaped_unicode(text, 5 * MAX_FIELD_CHARS, is_invisible)
}

fn escaped_unicode(text: &str, max_chars: usize, is_special: fn(char) -> bool) -> String {
    truncated(text, max_chars, |out, c| match is_special(c) {
        true => out.extend(c.escape_unicode()),
        false => out.push(c),
    })
}

fn truncated(text: &str, max_chars: usize, mut push: impl FnMut(&mut String, char)) -> String {
    let mut out = String::with_capacity(text.len().min(max_chars));
    let mut chars = text.chars();
    chars.by_ref().take(max_chars).for_each(|c| push(&mut out, c));
    if chars.next().is_some() {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_and_long_text_are_neutralized() {
        assert_eq!(log_field("alice"), "alice");
        assert_eq!(log_field("a\nb\u{1b}[2J\u{202e}\\"), "a\\u{a}b\\u{1b}[2J\\u{202e}\\u{5c}");
        assert_eq!(log_field(&"x".repeat(5000)).chars().count(), MAX_FIELD_CHARS + 1);
    }

    #[test]
    fn details_are_not_escaped_twice() {
        let detail = format!("`{}` is not a subject\n", "a\tb".escape_debug());
        assert_eq!(log_detail(&detail), "`a\\tb` is not a subject\\u{a}");
    }
}
