//! One value of a configuration, with its key path.

use std::{fmt::Display, str::FromStr, time::Duration};

use serde_json::{Map, Value};

use super::Table;
use crate::{duration::parse_duration, report::Report, schema::Type, sources::Sources};

/// A value and its key path. Each reading method reports a wrong value and then returns `None`.
#[derive(Clone)]
pub struct Item<'a> {
    pub(crate) path: String,
    pub(crate) value: &'a Value,
    pub(crate) value_type: Type,
    pub(crate) report: &'a Report,
    pub(crate) sources: &'a Sources,
}

impl<'a> Item<'a> {
    /// The key path.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The raw value.
    pub fn value(&self) -> &'a Value {
        self.value
    }

    /// Reports an error in this value.
    pub fn fault(&self, message: impl Display) {
        self.report.fault(self.path.clone(), message);
    }

    /// Reports a warning about this value.
    pub fn warn(&self, message: impl Display) {
        self.report.warn(self.path.clone(), message);
    }

    fn wrong<T>(&self, wanted: &str) -> Option<T> {
        self.fault(format!("must be {wanted}, not {}", describe(self.value)));
        None
    }

    fn sibling<'b>(&self, path: String, value: &'b Value) -> Item<'b>
    where
        'a: 'b,
    {
        let value_type = self.value_type.element();
        Item { path, value, value_type, report: self.report, sources: self.sources }
    }

    /// Text.
    pub fn string(&self) -> Option<&'a str> {
        match self.value {
            Value::String(text) => Some(text),
            Value::Number(_) | Value::Bool(_) => self.wrong("text (put it between quotes)"),
            Value::Null | Value::Array(_) | Value::Object(_) => self.wrong("text"),
        }
    }

    /// `true` or `false`.
    pub fn boolean(&self) -> Option<bool> {
        self.value.as_bool().or_else(|| self.wrong("true or false"))
    }

    /// A whole number.
    pub fn integer(&self) -> Option<i64> {
        let number = self.value.as_i64();
        number.or_else(|| match self.value.as_f64().map(f64::fract) {
            Some(fraction) if fraction != 0.0 => self.wrong("a whole number"),
            Some(_) => {
                self.fault("the number is too large");
                None
            }
            None => self.wrong("a whole number"),
        })
    }

    /// A duration such as `"90s"`.
    pub fn duration(&self) -> Option<Duration> {
        match self.value {
            Value::String(text) => self.parsed(parse_duration(text)),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::Array(_)
            | Value::Object(_) => self.wrong("a duration with its unit, such as \"90s\""),
        }
    }

    /// Text that parses as `T`.
    pub fn parse<T: FromStr<Err: Display>>(&self) -> Option<T> {
        self.parsed(self.string()?.parse())
    }

    pub(crate) fn parsed<T, E: Display>(&self, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.fault(error)).ok()
    }

    /// The elements of a list; a single value counts as a list of one.
    pub fn items(&self) -> Vec<Item<'a>> {
        match self.value {
            Value::Array(list) => list
                .iter()
                .enumerate()
                .map(|(index, value)| self.sibling(format!("{}[{index}]", self.path), value))
                .collect(),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Object(_) => vec![self.clone()],
        }
    }

    /// Text or a list of texts.
    pub fn strings(&self) -> Option<Vec<String>> {
        let texts: Vec<_> = self.items().iter().map(Item::string).collect();
        texts.into_iter().map(|text| text.map(str::to_owned)).collect()
    }

    /// A list of texts that all parse.
    pub fn parsed_list<T: FromStr<Err: Display>>(&self) -> Option<Vec<T>> {
        // Collected first, so that every error in the list is reported.
        let parsed: Vec<Option<T>> = self.items().iter().map(Item::parse).collect();
        parsed.into_iter().collect()
    }

    /// A table.
    pub fn table(&self) -> Option<Table<'a>> {
        match self.value {
            Value::Object(map) => Some(self.as_table(map)),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_) => self.wrong("a table"),
        }
    }

    fn as_table(&self, map: &'a Map<String, Value>) -> Table<'a> {
        let keys = self.value_type.table().unwrap_or(Type::Any);
        Table::new(self.path.clone(), map, keys, self.report, self.sources)
    }
}

impl std::fmt::Debug for Item<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Item({:?}, {})", self.path, describe(self.value))
    }
}

/// The kind of a value. Never the value itself, which may be a secret.
pub(crate) fn describe(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a table",
    }
}
