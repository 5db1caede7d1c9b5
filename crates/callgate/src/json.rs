//! Strict JSON: duplicate members and excessive nesting are errors.
//!
//! RFC 8259 section 4 does not define what a duplicate member means, so two parsers may see different
//! documents. A decision about access must not depend on that.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value, map::Entry};

/// Why a text was not accepted as JSON, and where. Never contains the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct JsonError(String);

/// Parses one JSON document; duplicate members and more than `max_depth` levels are errors.
///
/// # Errors
/// If the text is not valid; contains the position.
pub fn parse_strict(text: &[u8], max_depth: usize) -> Result<Value, JsonError> {
    let mut reader = serde_json::Deserializer::from_slice(text);
    let value = deserialize_strict(&mut reader, max_depth).map_err(|e| JsonError(e.to_string()))?;
    reader.end().map_err(|e| JsonError(e.to_string()))?;
    Ok(value)
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
