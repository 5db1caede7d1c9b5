//! Makes untrusted text safe to print.

use std::fmt::Write;

use callgate::subject::is_invisible;

/// In characters.
const MAX_LENGTH: usize = 200;

/// Escapes control and invisible characters and backslashes, and truncates the text.
pub(crate) fn sanitize(text: &str) -> String {
    sanitize_up_to(text, MAX_LENGTH, |c| c != '\\')
}

/// The same for Callgate's own explanations, which are longer and whose quotations are escaped already, so
/// that backslashes stay as they are.
pub(crate) fn sanitize_detail(text: &str) -> String {
    sanitize_up_to(text, 5 * MAX_LENGTH, |_| true)
}

fn sanitize_up_to(text: &str, max_length: usize, is_plain: fn(char) -> bool) -> String {
    let mut out = String::with_capacity(text.len().min(max_length));
    for (index, c) in text.chars().enumerate() {
        if index == max_length {
            out.push('…');
            break;
        }
        if !is_invisible(c) && is_plain(c) {
            out.push(c);
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "\\u{{{:x}}}", c as u32);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_and_long_text_are_neutralized() {
        assert_eq!(sanitize("alice"), "alice");
        assert_eq!(sanitize("a\nb\u{1b}[2J\u{202e}\\"), "a\\u{a}b\\u{1b}[2J\\u{202e}\\u{5c}");
        assert_eq!(sanitize(&"x".repeat(5000)).chars().count(), MAX_LENGTH + 1);
    }

    #[test]
    fn details_are_not_escaped_twice() {
        let detail = format!("`{}` is not a subject\n", "a\tb".escape_debug());
        assert_eq!(sanitize_detail(&detail), "`a\\tb` is not a subject\\u{a}");
    }
}
