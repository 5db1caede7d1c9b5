//! Makes untrusted text safe for logs, messages and terminals.

use std::borrow::Cow;

use crate::{jwt::looks_like_jwt, subject::is_invisible};

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
/// characters. A [misplaced secret](misplaced_secret) is replaced.
pub fn log_field(text: &str) -> String {
    match misplaced_secret(text) {
        Some(_) => REDACTED.to_owned(),
        None => escaped_unicode(text, MAX_FIELD_CHARS, |c| is_invisible(c) || c == '\\'),
    }
}

/// Like [`log_field`] for Callgate's own explanations, which are longer and whose quotations are already
/// escaped, so that backslashes stay as they are.
pub fn log_detail(text: &str) -> String {
    escaped_unicode(text, 5 * MAX_FIELD_CHARS, is_invisible)
}

/// Text for a terminal: characters that are not shown, or change how other text is shown, become
/// `\uXXXX`, as in JSON. Line breaks and tabs stay.
pub fn terminal(text: &str) -> Cow<'_, str> {
    visible(text, &['\n', '\t'])
}

/// The text with every invisible character escaped as in JSON, except for those to keep.
pub fn visible<'a>(text: &'a str, keep: &[char]) -> Cow<'a, str> {
    let is_special = |c: char| is_invisible(c) && !keep.contains(&c);
    if is_printable_ascii(text) || !text.contains(is_special) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match is_special(c) {
            true => c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| {
                out.push_str(&format!("\\u{unit:04x}"));
            }),
            false => out.push(c),
        }
    }
    out.into()
}

/// True for text without anything to escape, as most is. Whole chunks are checked at a time, which is
/// several times faster than looking for the first other character.
fn is_printable_ascii(text: &str) -> bool {
    let is_printable = |byte: &u8| matches!(byte, b' '..=b'~');
    text.as_bytes()
        .chunks(64)
        .all(|chunk| chunk.iter().fold(true, |all, byte| all & is_printable(byte)))
}

/// A secret in a place for names, where it would be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MisplacedSecret {
    /// A JWT, or what follows `Bearer` or `Basic`.
    Token,
    /// The seed of an nkey or xkey.
    Seed,
}

impl MisplacedSecret {
    /// `a token` or `an nkey seed`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Token => "a token",
            Self::Seed => "an nkey seed",
        }
    }
}

/// The secret that a name contains or is, judging by its form.
pub fn misplaced_secret(name: &str) -> Option<MisplacedSecret> {
    if cannot_contain_secret(name) {
        return None;
    }
    let ends_word = |c: char| c.is_whitespace() || matches!(c, ':' | ',' | ';' | '"' | '\'' | '`');
    let mut words = name.split(ends_word).flat_map(|word| [word, after_equals_sign(word)]);
    if words.clone().any(is_seed) {
        return Some(MisplacedSecret::Seed);
    }
    (words.any(is_token) || has_scheme(name)).then_some(MisplacedSecret::Token)
}

/// A user name that a client sent, for records and messages: a [misplaced secret](misplaced_secret) is
/// replaced by an explanation.
pub fn user_name(name: &str) -> Cow<'_, str> {
    match misplaced_secret(name) {
        Some(secret) => format!("[redacted: {} was sent as the user name]", secret.as_str()).into(),
        None => name.into(),
    }
}

const REDACTED: &str = "[redacted]";
/// Length of an nkey seed in characters.
const SEED_CHARS: usize = 58;
/// A shorter text that begins like a JWT is a name.
const MIN_TOKEN_CHARS: usize = 32;
/// A shorter text after `Bearer` is a name.
const MIN_SCHEME_CHARS: usize = 8;

/// A quick answer for most names: one word without the beginning of a JWT, and too short for a seed.
fn cannot_contain_secret(name: &str) -> bool {
    let bytes = name.as_bytes();
    let begins_token = |pair: &[u8]| matches!(pair, b"ey" | b"ew");
    bytes.len() < SEED_CHARS
        && bytes.iter().all(u8::is_ascii_graphic)
        && !bytes.windows(2).any(begins_token)
}

fn after_equals_sign(word: &str) -> &str {
    word.split_once('=').map_or("", |(_, value)| value)
}

/// Also if it is cut, or encrypted and therefore has five parts.
fn is_token(word: &str) -> bool {
    let of_jwt = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'=' | b'.');
    let begins_like_one = word.starts_with("eyJ") && word.len() >= MIN_TOKEN_CHARS;
    looks_like_jwt(word) || (begins_like_one && word.bytes().all(of_jwt))
}

fn is_seed(word: &str) -> bool {
    let mut bytes = word.bytes();
    let prefix = bytes.next() == Some(b'S') && bytes.next().is_some_and(|b| b"ACNOUX".contains(&b));
    prefix && word.len() == SEED_CHARS && bytes.all(|b| matches!(b, b'A'..=b'Z' | b'2'..=b'7'))
}

fn has_scheme(name: &str) -> bool {
    let mut words = name.split_whitespace();
    let scheme = words.next().unwrap_or_default();
    let is_scheme = ["Bearer", "Basic"].iter().any(|known| known.eq_ignore_ascii_case(scheme));
    let is_long = words.next().is_some_and(|word| word.len() >= MIN_SCHEME_CHARS);
    is_scheme && is_long && words.next().is_none()
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
    fn terminal_output_has_no_hidden_characters() {
        assert!(matches!(terminal("two\nlines\tand “quotes” of Zoë"), Cow::Borrowed(_)));
        let hidden = "c1 \u{9b}31m bidi \u{202e} zero \u{200b} tag \u{e0041} esc \u{1b} cr \r";
        let shown =
            "c1 \\u009b31m bidi \\u202e zero \\u200b tag \\udb40\\udc41 esc \\u001b cr \\u000d";
        assert_eq!(terminal(hidden), shown);
        assert_eq!(serde_json::from_str::<String>(&format!("\"{shown}\"")).unwrap(), hidden);
    }

    #[test]
    fn tokens_and_seeds_in_names_are_recognized() {
        const JWT: &str = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl";
        const SEED: &str = "SUAGIEYODKBBTUMOB666Z5KA4FCWAZV7HWSGRHOD7MK6UM5IYLWLACH7DQ";
        let cut = &JWT[..40];
        let encrypted = format!("{JWT}.a.b");
        for token in [
            JWT,
            cut,
            &encrypted,
            &format!("Bearer {JWT}"),
            &format!("token={JWT}"),
            &format!("jwt: {JWT}"),
            &format!("\"{JWT}\""),
            "bearer 2YotnFZFEjr1zCsicMWpAA",
            "Basic dXNlcjpwYXNz",
        ] {
            assert_eq!(misplaced_secret(token), Some(MisplacedSecret::Token), "{token}");
            assert_eq!(user_name(token), "[redacted: a token was sent as the user name]");
            assert_eq!(log_field(token), "[redacted]");
        }
        for seed in
            [SEED, &format!("seed={SEED}"), &format!("-----BEGIN-----\n{SEED}\n-----END-----")]
        {
            assert_eq!(misplaced_secret(seed), Some(MisplacedSecret::Seed), "{seed}");
            assert_eq!(user_name(seed), "[redacted: an nkey seed was sent as the user name]");
        }
        let public = SEED.replacen("SU", "UU", 1);
        for name in [
            "alice",
            "first.middle.last",
            "eyJack",
            "svc:llm-api",
            "team/robot",
            "Bearer",
            "Bearer Jones",
            "basic bearer of long names",
            "alice@example.com",
            &public,
            "",
        ] {
            assert_eq!(misplaced_secret(name), None, "{name}");
            assert_eq!(user_name(name), name);
        }
    }

    #[test]
    fn details_are_not_escaped_twice() {
        let detail = format!("`{}` is not a subject\n", "a\tb".escape_debug());
        assert_eq!(log_detail(&detail), "`a\\tb` is not a subject\\u{a}");
    }
}
