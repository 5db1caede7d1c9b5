//! A row, read column by column.

use std::{collections::BTreeSet, time::Duration};

use callgate::clock::UnixTime;
use callgate_config::parse_duration;
use serde_json::{Map, Value};

use super::dialect::{Cell, Column};
use crate::{backend::text_list, directory::parse_time};

/// In bytes.
const MAX_ROW: usize = 1 << 20;

/// The columns of a row that are not read yet.
pub(crate) struct Row(Vec<Column>);

impl Row {
    /// A row in which these columns may be written in any case: databases fold the case of names differently.
    ///
    /// # Errors
    /// If it is too large, or two columns have the same name.
    pub(crate) fn new(mut columns: Vec<Column>, known: &[&str]) -> Result<Self, String> {
        if columns.iter().map(size).sum::<usize>() > MAX_ROW {
            return Err(format!("the row has more than {MAX_ROW} bytes"));
        }
        let mut names = BTreeSet::new();
        for column in &mut columns {
            if let Some(name) = known.iter().find(|name| column.name.eq_ignore_ascii_case(name)) {
                (*name).clone_into(&mut column.name);
            }
            if !names.insert(column.name.as_str()) {
                return Err(format!("two columns are called `{}`", column.name.escape_debug()));
            }
        }
        Ok(Self(columns))
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|column| column.name == name)
    }

    /// Takes the value of a column; `None` if there is no column, or it is NULL.
    ///
    /// # Errors
    /// If `read` does not understand the value: the name and type of the column, never its value.
    pub(crate) fn read<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(Cell) -> Option<T>,
    ) -> Result<Option<T>, String> {
        let Some(index) = self.0.iter().position(|column| column.name == name) else {
            return Ok(None);
        };
        let Column { name, kind, cell } = self.0.swap_remove(index);
        let wrong = || format!("column `{}` ({kind}) cannot be read", name.escape_debug());
        match cell.ok_or_else(wrong)? {
            Cell::Null => Ok(None),
            cell => read(cell).map(Some).ok_or_else(wrong),
        }
    }

    /// All other columns.
    ///
    /// # Errors
    /// As [`Row::read`].
    pub(crate) fn rest(mut self) -> Result<Map<String, Value>, String> {
        let mut rest = Map::new();
        while let Some(name) = self.0.last().map(|column| column.name.clone()) {
            let value = self.read(&name, |cell| match cell {
                Cell::Value(value) => Some(value),
                Cell::Null | Cell::Time(_) => None,
            })?;
            rest.extend(value.map(|value| (name, value)));
        }
        Ok(rest)
    }
}

fn size(column: &Column) -> usize {
    match &column.cell {
        Some(Cell::Value(Value::String(text))) => text.len(),
        Some(Cell::Value(value)) => value.to_string().len(),
        Some(Cell::Null | Cell::Time(_)) | None => 0,
    }
}

impl Cell {
    pub(crate) fn into_text(self) -> Option<String> {
        match self {
            Self::Value(Value::String(text)) => Some(text),
            Self::Null | Self::Value(_) | Self::Time(_) => None,
        }
    }

    /// A JSON value, also as text.
    pub(crate) fn into_json(self) -> Option<Value> {
        match self {
            Self::Value(Value::String(text)) => serde_json::from_str(&text).ok(),
            Self::Value(value) => Some(value),
            Self::Null | Self::Time(_) => None,
        }
    }

    /// A text array, a JSON array or a list with commas.
    pub(crate) fn into_list(self) -> Option<Vec<String>> {
        match self {
            Self::Value(Value::String(text)) if !text.trim_start().starts_with('[') => {
                let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
                Some(parts.map(str::to_owned).collect())
            }
            array => text_list(&array.into_json()?),
        }
    }

    /// A time, a text in the form of RFC 3339, or seconds since 1970.
    pub(crate) fn into_time(self) -> Option<UnixTime> {
        match self {
            Self::Time(time) => Some(time),
            Self::Value(Value::String(text)) => parse_time(&text),
            Self::Value(Value::Number(seconds)) => seconds.as_i64().map(UnixTime::from_seconds),
            Self::Null | Self::Value(_) => None,
        }
    }

    /// A text such as `8h`.
    pub(crate) fn into_duration(self) -> Option<Duration> {
        let duration = parse_duration(&self.into_text()?).ok()?;
        (duration.as_secs() > 0).then_some(duration)
    }

    /// A boolean, 0 or 1.
    pub(crate) fn into_boolean(self) -> Option<bool> {
        match self {
            Self::Value(Value::Bool(value)) => Some(value),
            Self::Value(Value::Number(number)) => match number.as_i64()? {
                0 => Some(false),
                1 => Some(true),
                _ => None,
            },
            Self::Null | Self::Value(_) | Self::Time(_) => None,
        }
    }
}
