//! Makes text from outside safe to log.

/// The first `max_chars` characters, escaped: text from outside must neither forge nor flood log lines.
pub(crate) fn sanitize(text: &str, max_chars: usize) -> String {
    text.chars().take(max_chars).flat_map(char::escape_debug).collect()
}
