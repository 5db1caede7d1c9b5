//! Strict JSON: duplicate members and excessive nesting are errors.
//!
//! RFC 8259 section 4 does not define what a duplicate member means, so two parsers may see different
//! documents. A decision about access must not depend on that.

use std::{borrow::Cow, fmt};

use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor,
};
use serde_json::{Map, Number, Value, error::Category, map::Entry};

use crate::sanitize::excerpt;

/// Why a text was not accepted as JSON, and where. Never contains a value of the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}{}", .position.map(|(line, column)| format!(" (line {line}, column {column})")).unwrap_or_default())]
pub struct JsonError {
    message: Cow<'static, str>,
    position: Option<(usize, usize)>,
}

impl JsonError {
    /// An error of [`deserialize_strict`], or of the JSON parser below it.
    pub fn of_strict(error: &serde_json::Error) -> Self {
        Self::new(error, |own| Cow::Owned(own.to_owned()))
    }

    /// An error of a type that derives its format. The library's text may quote a value, and is not used.
    fn of_type(error: &serde_json::Error) -> Self {
        Self::new(error, |text| {
            if let Some(name) = text.strip_prefix("missing field ") {
                return Cow::Owned(format!("{name} is missing"));
            }
            let unknown =
                text.strip_prefix("unknown field `").and_then(|rest| rest.split('`').next());
            match unknown {
                Some(name) => Cow::Owned(format!("unknown member `{}`", excerpt(name))),
                None => Cow::Borrowed("a value has another type or form than expected"),
            }
        })
    }

    fn new(error: &serde_json::Error, data: impl FnOnce(&str) -> Cow<'static, str>) -> Self {
        let text = error.to_string();
        let text = text.rsplit_once(" at line ").map_or(text.as_str(), |(text, _)| text);
        let message = match error.classify() {
            Category::Data => data(text),
            Category::Syntax | Category::Eof | Category::Io => Cow::Borrowed(in_plain_words(text)),
        };
        let position = (error.line() > 0).then(|| (error.line(), error.column().max(1)));
        Self { message, position }
    }

    /// What is wrong, without the position.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Line and column, from 1.
    pub const fn position(&self) -> Option<(usize, usize)> {
        self.position
    }
}

/// The texts of the library, in words for people who edit a file.
fn in_plain_words(text: &str) -> &'static str {
    match text {
        "EOF while parsing a string" => "unclosed quote: the file ends inside a text",
        "EOF while parsing an object" => "unclosed `{`: the file ends before its `}`",
        "EOF while parsing a list" => "unclosed `[`: the file ends before its `]`",
        "EOF while parsing a value" => "the file ends where a value is expected",
        "expected value" | "expected ident" => {
            "expected a value: text in double quotes, a number, true, false, a list or an object"
        }
        "key must be a string" => "a key must be text in double quotes",
        "expected `:`" => "expected `:` after the key",
        "expected `,` or `]`" => "expected `,` or `]`",
        "expected `,` or `}`" => "expected `,` or `}`",
        "trailing comma" => "unexpected comma before a closing bracket",
        "trailing characters" => "unexpected text after the end of the document",
        "control character (\\u0000-\\u001F) found while parsing a string" => {
            "line break or control character inside a text: close the quote, or write \\n"
        }
        "invalid escape" => "invalid escape in a text: write `\\\\` for a backslash",
        "lone leading surrogate in hex escape" | "unexpected end of hex escape" => {
            "half of a surrogate pair in a text: write the character itself"
        }
        "invalid number" => "invalid number",
        "number out of range" => "the number is too large",
        "recursion limit exceeded" => "nested too deeply",
        _ => "invalid JSON",
    }
}

/// Parses one JSON document; duplicate members and more than `max_depth` levels are errors.
///
/// # Errors
/// If the text is not valid; contains the position.
pub fn parse_strict(text: &[u8], max_depth: usize) -> Result<Value, JsonError> {
    let mut reader = serde_json::Deserializer::from_slice(text);
    let value = deserialize_strict(&mut reader, max_depth);
    let value = value.and_then(|value| reader.end().map(|()| value));
    value.map_err(|error| JsonError::of_strict(&error))
}

/// Parses a message of another process of the same kind, or of nats-server.
///
/// # Errors
/// If the text is not valid, or not a `T`; contains the position.
pub fn parse_typed<T: DeserializeOwned>(text: &[u8]) -> Result<T, JsonError> {
    serde_json::from_slice(text).map_err(|error| JsonError::of_type(&error))
}

/// The same for any format that serde reads: TOML and YAML tables too.
///
/// # Errors
/// The errors of the format's parser, duplicate members and excessive nesting.
pub fn deserialize_strict<'de, D: Deserializer<'de>>(
    reader: D,
    max_depth: usize,
) -> Result<Value, D::Error> {
    Strict { depth_left: max_depth }.deserialize(reader)
}

/// Appends a text as a JSON string. One without escapes, such as a token or a key, is recognized in
/// one pass and copied.
pub(crate) fn push_text(json: &mut String, text: &str) {
    let plain = |byte: u8| byte >= b' ' && byte != b'"' && byte != b'\\';
    // Not `all`, which stops at the first match and therefore cannot be vectorized.
    if text.bytes().fold(true, |so_far, byte| so_far & plain(byte)) {
        json.push('"');
        json.push_str(text);
        json.push('"');
    } else {
        json.push_str(&Value::from(text).to_string());
    }
}

#[derive(Clone, Copy)]
struct Strict {
    depth_left: usize,
}

impl Strict {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        let depth_left =
            self.depth_left.checked_sub(1).ok_or_else(|| E::custom("nested too deeply"))?;
        Ok(Self { depth_left })
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("not a finite number"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        self.deserialize(reader)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(inner)? {
            list.push(item);
        }
        Ok(list.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut map = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            match map.entry(name) {
                Entry::Vacant(place) => drop(place.insert(members.next_value_seed(inner)?)),
                Entry::Occupied(member) => {
                    let name = member.key().escape_debug();
                    return Err(A::Error::custom(format!("duplicate key `{name}`")));
                }
            }
        }
        Ok(map.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duplicate_members_are_refused_at_every_level() {
        for text in [r#"{"a":1,"a":1}"#, r#"{"a":{"b":1,"b":2}}"#, r#"[{"a":1,"\u0061":2}]"#] {
            assert!(parse_strict(text.as_bytes(), 8).is_err(), "{text}");
        }
    }

    #[test]
    fn nesting_is_limited_and_garbage_refused() {
        assert!(parse_strict(br#"{"a":[[1]]}"#, 3).is_ok());
        assert!(parse_strict(br#"{"a":[[1]]}"#, 2).is_err());
        let bomb = "[".repeat(100_000);
        for text in ["", "{", "{} {}", "nul", "[1e400]", bomb.as_str()] {
            assert!(parse_strict(text.as_bytes(), 32).is_err());
        }
    }

    #[test]
    fn ordinary_documents_are_parsed_unchanged() {
        let text = br#"{"a":[1,-2,2.5,"x",null,true,{}]}"#;
        let expected: Value = serde_json::from_slice(text).unwrap();
        assert_eq!(parse_strict(text, 8).unwrap(), expected);
    }
}
