//! Distinguished names, read so that they can be compared (RFC 4514).

use std::str::FromStr;

/// A distinguished name: its relative names, from the entry up to the root.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Dn {
    relative: Vec<Relative>,
}

/// A relative name: pairs of an attribute, in lower case, and a value. Several pairs are sorted.
#[derive(Debug, Clone)]
struct Relative(Vec<(String, String)>);

/// Why a text is not a distinguished name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a distinguished name, such as `ou=people,dc=example,dc=org`")]
pub(crate) struct MalformedDn;

impl Dn {
    /// True if it has no relative names. A bind with such a name is anonymous.
    pub(crate) fn is_empty(&self) -> bool {
        self.relative.is_empty()
    }

    /// True if it is `base` or anywhere below it.
    pub(crate) fn is_within(&self, base: &Self) -> bool {
        self.relative.ends_with(&base.relative)
    }

    /// True if its parent is `base`.
    pub(crate) fn is_child_of(&self, base: &Self) -> bool {
        self.relative.len() == base.relative.len() + 1 && self.is_within(base)
    }

    /// True if the first relative name contains this attribute.
    pub(crate) fn is_named_by(&self, attribute: &str) -> bool {
        let first = self.relative.first().map(|first| first.0.as_slice()).unwrap_or_default();
        first.iter().any(|(name, _)| name.eq_ignore_ascii_case(attribute))
    }

    /// The value of the first relative name, if that consists of this attribute alone.
    pub(crate) fn own_value(&self, attribute: &str) -> Option<&str> {
        match self.relative.first().map(|first| first.0.as_slice()) {
            Some([(name, value)]) if name.eq_ignore_ascii_case(attribute) => Some(value),
            _ => None,
        }
    }
}

/// Directories ignore case and repeated spaces in names, so two spellings are the same name.
impl PartialEq for Relative {
    fn eq(&self, other: &Self) -> bool {
        self.folded().eq(other.folded())
    }
}

impl Eq for Relative {}

impl std::hash::Hash for Relative {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.folded().for_each(|pair| pair.hash(state));
    }
}

impl Relative {
    fn folded(&self) -> impl Iterator<Item = (&str, String)> {
        self.0.iter().map(|(name, value)| (name.as_str(), fold(value)))
    }
}

fn fold(value: &str) -> String {
    value.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase()
}

impl FromStr for Dn {
    type Err = MalformedDn;

    fn from_str(text: &str) -> Result<Self, MalformedDn> {
        let mut relative = Vec::new();
        let mut pairs = Vec::new();
        let mut rest = text;
        while !rest.trim().is_empty() {
            let (pair, separator, after) = next_pair(rest).ok_or(MalformedDn)?;
            pairs.push(pair);
            if separator != Some('+') {
                pairs.sort();
                relative.push(Relative(std::mem::take(&mut pairs)));
            }
            if separator.is_some() && after.trim().is_empty() {
                return Err(MalformedDn);
            }
            rest = after;
        }
        Ok(Self { relative })
    }
}

type Pair = (String, String);

/// The pair at the start of `text`, the separator after it, and the rest.
fn next_pair(text: &str) -> Option<(Pair, Option<char>, &str)> {
    let (name, rest) = text.split_once('=')?;
    let name = name.trim();
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
    if name.is_empty() || !name.chars().all(is_name) {
        return None;
    }
    let mut value = Vec::new();
    // The length of the value up to its last character that is not an unescaped space.
    let mut kept = 0;
    let mut chars = rest.trim_start_matches(' ').chars();
    let mut separator = None;
    while let Some(c) = chars.next() {
        match c {
            ',' | ';' | '+' => {
                separator = Some(if c == '+' { '+' } else { ',' });
                break;
            }
            '"' | '<' | '>' | '\0' => return None,
            '\\' => {
                push_escaped(&mut value, &mut chars)?;
                kept = value.len();
            }
            c => {
                value.extend(c.encode_utf8(&mut [0; 4]).as_bytes());
                kept = if c == ' ' { kept } else { value.len() };
            }
        }
    }
    value.truncate(kept);
    let value = String::from_utf8(value).ok().filter(|value| !value.is_empty())?;
    Some(((name.to_ascii_lowercase(), value), separator, chars.as_str()))
}

/// What follows a backslash: a special character, or two hexadecimal digits.
fn push_escaped(value: &mut Vec<u8>, chars: &mut std::str::Chars<'_>) -> Option<()> {
    let first = chars.next()?;
    match first.to_digit(16) {
        Some(high) => {
            let low = chars.next()?.to_digit(16)?;
            value.push(u8::try_from(high << 4 | low).ok()?);
        }
        None if first.is_ascii_punctuation() || first == ' ' => {
            value.push(u8::try_from(first).ok()?)
        }
        None => return None,
    }
    Some(())
}
