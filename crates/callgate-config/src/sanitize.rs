//! Makes text from outside safe to print.

use callgate::subject::is_invisible;

/// `text` with everything escaped that could forge a line, move a cursor or hide from the reader.
pub fn sanitize(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match is_invisible(c) {
            true => shown.extend(c.escape_debug()),
            false => shown.push(c),
        }
    }
    shown
}
