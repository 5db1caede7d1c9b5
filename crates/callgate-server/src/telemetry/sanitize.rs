//! Makes text that came from outside safe to print.

use std::fmt::Write;

use callgate::subject::is_invisible;

/// Longest text from outside that is logged, in characters.
const LONGEST: usize = 200;

/// `text` with everything escaped that a terminal or a log reader could take for something else,
/// cut to a bounded length.
pub(crate) fn sanitize(text: &str) -> String {
    sanitize_up_to(text, LONGEST, |c| c != '\\')
}

/// The same for our own explanations, which name what is wrong before they say what to do. What they
/// quote is escaped already: its backslashes stay single.
pub(crate) fn sanitize_detail(text: &str) -> String {
    sanitize_up_to(text, 5 * LONGEST, |_| true)
}

fn sanitize_up_to(text: &str, longest: usize, also_plain: fn(char) -> bool) -> String {
    let mut out = String::with_capacity(text.len().min(longest));
    for (index, c) in text.chars().enumerate() {
        if index == longest {
            out.push('…');
            break;
        }
        if !is_invisible(c) && also_plain(c) {
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
    fn nothing_from_outside_can_forge_a_line_or_move_a_cursor() {
        assert_eq!(sanitize("alice"), "alice");
        assert_eq!(sanitize("a\nb\u{1b}[2J\u{202e}\\"), "a\\u{a}b\\u{1b}[2J\\u{202e}\\u{5c}");
        assert_eq!(sanitize(&"x".repeat(5000)).chars().count(), LONGEST + 1);
    }

    #[test]
    fn what_an_explanation_has_escaped_is_not_escaped_again() {
        let detail = format!("`{}` is no subject\n", "a\tb".escape_debug());
        assert_eq!(sanitize_detail(&detail), "`a\\tb` is no subject\\u{a}");
    }
}
