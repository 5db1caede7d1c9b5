//! The keys of a table as data. [`Table`](crate::Table) rejects undeclared keys, and the JSON Schema and
//! the tables of the documentation are generated from the same declarations.

use std::fmt::Write;

use serde_json::{Map, Value, json};

/// A key of a table.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// Other spellings.
    pub aliases: &'static [&'static str],
    /// The type of its value.
    pub value: Type,
    /// Its default.
    pub default: Default,
    /// What it does, in Markdown.
    pub about: &'static str,
}

/// The default of a key.
#[derive(Debug, Clone, Copy)]
pub enum Default {
    /// None: the key is required.
    Required,
    /// A JSON value.
    Value(&'static str),
    /// A description in words; the schema has no default then.
    Words(&'static str),
}

/// The type of a value.
#[derive(Debug, Clone, Copy)]
pub enum Type {
    /// Anything.
    Any,
    /// Text.
    Text,
    /// The path of a file.
    Path,
    /// `true` or `false`.
    Boolean,
    /// A whole number in this range.
    Integer(i64, i64),
    /// A number in this range.
    Number(f64, f64),
    /// A duration such as `"90s"`.
    Duration,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A secret.
    Secret,
    /// A secret that contains a seed of this kind.
    Seed(&'static str),
    /// A value of one of these types.
    OneOf(&'static [Type]),
    /// A list. Except in a list of tables, a single element counts as a list of one.
    List(&'static Type),
    /// A table with arbitrary keys and values of this type.
    Map(&'static Type),
    /// A table with these keys.
    Table(&'static [Key]),
    /// A value of this type, with its own name in the documentation.
    Named(&'static str, &'static Type),
}

/// A list of texts.
pub const TEXTS: Type = Type::List(&Type::Text);
/// A list of networks.
pub const NETWORKS: Type = Type::Named("list of networks", &TEXTS);
/// A list of connection types.
pub const CONNECTION_TYPES: Type = Type::Named("list", &TEXTS);

/// The keys of a secret that is not plain text.
pub(crate) const SECRET: &[Key] = &[
    Key::optional("env", Type::Text, "an environment variable"),
    Key::optional("file", Type::Path, "a file"),
];

impl Key {
    /// A required key.
    pub const fn required(name: &'static str, value: Type, about: &'static str) -> Self {
        Self { name, aliases: &[], value, default: Default::Required, about }
    }

    /// An optional key.
    pub const fn optional(name: &'static str, value: Type, about: &'static str) -> Self {
        Self { name, aliases: &[], value, default: Default::Words("none"), about }
    }

    /// Sets the default, as JSON.
    #[must_use]
    pub const fn or(self, json: &'static str) -> Self {
        Self { default: Default::Value(json), ..self }
    }

    /// Sets the default, in words.
    #[must_use]
    pub const fn or_else(self, words: &'static str) -> Self {
        Self { default: Default::Words(words), ..self }
    }

    /// Adds other spellings.
    #[must_use]
    pub const fn also(self, aliases: &'static [&'static str]) -> Self {
        Self { aliases, ..self }
    }

    pub(crate) fn is_called(&self, name: &str) -> bool {
        self.name == name || self.aliases.contains(&name)
    }

    /// The JSON Schema of its value.
    pub fn schema(&self) -> Value {
        let mut schema = self.value.schema();
        set(&mut schema, "description", self.about.into());
        if let Default::Value(json) = self.default {
            set(&mut schema, "default", serde_json::from_str(json).unwrap_or_default());
        }
        schema
    }
}

impl Type {
    /// This type if it is a table, or the table among its elements or alternatives.
    pub(crate) fn table(self) -> Option<Self> {
        match self {
            Self::Table(_) | Self::Map(_) => Some(self),
            Self::Secret | Self::Seed(_) => Some(Self::Table(SECRET)),
            Self::Named(_, inner) => inner.table(),
            Self::OneOf(types) => types.iter().find_map(|one| one.table()),
            Self::List(element) => element.table(),
            Self::Any
            | Self::Text
            | Self::Path
            | Self::Boolean
            | Self::Integer(..)
            | Self::Number(..)
            | Self::Duration
            | Self::Word(_) => None,
        }
    }

    /// The element type of a list; any other type, which may stand for a list of one, is its own.
    pub(crate) fn element(self) -> Self {
        match self {
            Self::List(element) => *element,
            Self::Named(_, inner) => inner.element(),
            other => other,
        }
    }

    /// The JSON Schema (draft 2020-12) of a document of this type.
    pub fn document_schema(self, title: &str) -> Value {
        let mut schema = self.schema();
        set(&mut schema, "$schema", "https://json-schema.org/draft/2020-12/schema".into());
        set(&mut schema, "title", title.into());
        let definitions = json!({
            "duration": { "type": "string", "pattern": "^([0-9]+(ms|s|m|h|d))+$" },
            "secret": { "anyOf": [
                { "type": "string" },
                { "type": "object", "properties": { "env": { "type": "string" } },
                  "required": ["env"], "additionalProperties": false },
                { "type": "object", "properties": { "file": { "type": "string" } },
                  "required": ["file"], "additionalProperties": false },
            ] },
        });
        set(&mut schema, "$defs", definitions);
        schema
    }

    /// The JSON Schema of this type, for use in a document with the definitions of
    /// [`Type::document_schema`].
    pub fn schema(self) -> Value {
        match self {
            Self::Any => json!({}),
            Self::Text | Self::Path => json!({ "type": "string" }),
            Self::Boolean => json!({ "type": "boolean" }),
            Self::Integer(low, high) => {
                json!({ "type": "integer", "minimum": low, "maximum": high })
            }
            Self::Number(low, high) => json!({ "type": "number", "minimum": low, "maximum": high }),
            Self::Duration => json!({ "$ref": "#/$defs/duration" }),
            Self::Word(words) => json!({ "enum": words }),
            Self::Secret | Self::Seed(_) => json!({ "$ref": "#/$defs/secret" }),
            Self::OneOf(types) => {
                json!({ "anyOf": types.iter().map(|one| one.schema()).collect::<Vec<_>>() })
            }
            Self::List(element @ (Self::Table(_) | Self::Any)) => {
                json!({ "type": "array", "items": element.schema() })
            }
            Self::List(element) => {
                let element = element.schema();
                json!({ "anyOf": [element, { "type": "array", "items": element }] })
            }
            Self::Map(value) => json!({ "type": "object", "additionalProperties": value.schema() }),
            Self::Table(keys) => table_schema(keys),
            Self::Named(_, inner) => inner.schema(),
        }
    }

    /// Its name in the documentation.
    fn name(self) -> String {
        let quoted = |words: &[&str]| {
            words.iter().map(|word| format!("`\"{word}\"`")).collect::<Vec<_>>().join(", ")
        };
        match self {
            Self::Any => "value".to_owned(),
            Self::Text => "string".to_owned(),
            Self::Path => "path".to_owned(),
            Self::Boolean => "boolean".to_owned(),
            Self::Integer(low, high) => format!("{} to {}", grouped(low), grouped(high)),
            Self::Number(low, high) => format!("{low} to {high}"),
            Self::Duration => "duration".to_owned(),
            Self::Word(words) => quoted(words),
            Self::Secret => "secret".to_owned(),
            Self::Seed(kind) => format!("seed (`{kind}`)"),
            Self::OneOf(types) => {
                types.iter().map(|one| one.name()).collect::<Vec<_>>().join(" or ")
            }
            Self::List(Self::Named(name, _)) => format!("list of {name}s"),
            Self::List(Self::Table(_)) => "list of tables".to_owned(),
            Self::List(Self::Seed(kind)) => format!("list of seeds (`{kind}`)"),
            Self::List(_) => "list".to_owned(),
            Self::Map(Self::Table(_)) => "table of tables".to_owned(),
            Self::Map(Self::Seed(_)) => "table of seeds".to_owned(),
            Self::Map(_) | Self::Table(_) => "table".to_owned(),
            Self::Named(name, _) => name.to_owned(),
        }
    }
}

/// Sets a keyword of a schema, which is always a JSON object.
pub fn set(schema: &mut Value, keyword: &str, value: Value) {
    if let Some(schema) = schema.as_object_mut() {
        schema.insert(keyword.to_owned(), value);
    }
}

/// The JSON Schema of a table with these keys.
pub fn table_schema(keys: &[Key]) -> Value {
    let mut properties = Map::new();
    for key in keys {
        properties.insert(key.name.to_owned(), key.schema());
        for alias in key.aliases {
            properties.insert((*alias).to_owned(), key.schema());
        }
    }
    let required = keys.iter().filter(|key| matches!(key.default, Default::Required));
    let required: Vec<_> = required.map(|key| key.name).collect();
    json!({
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

/// The keys at a path such as `authenticators[].ceiling` or `roles.*`; an empty path is the root.
pub fn keys_at<'k>(root: &'k [Key], path: &str) -> Option<&'k [Key]> {
    let mut keys = root;
    for segment in path.split('.').filter(|segment| !segment.is_empty() && *segment != "*") {
        let name = segment.trim_end_matches("[]");
        let value = keys.iter().find(|key| key.name == name)?.value.table()?;
        keys = match value {
            Type::Table(keys) => keys,
            Type::Map(Type::Table(keys)) => *keys,
            _ => return None,
        };
    }
    Some(keys)
}

/// A Markdown table of the keys. The keys of a nested table follow it, unless `is_documented` returns true
/// for its path, because it has a table of its own.
pub fn markdown(keys: &[Key], is_documented: &dyn Fn(&str) -> bool) -> String {
    let mut text = "| key | type | default | meaning |\n|---|---|---|---|\n".to_owned();
    rows(keys, "", is_documented, &mut text);
    text
}

fn rows(keys: &[Key], above: &str, is_documented: &dyn Fn(&str) -> bool, text: &mut String) {
    for Key { name, aliases, value, default, about } in keys {
        let names: Vec<_> =
            [name].into_iter().chain(*aliases).map(|name| format!("`{above}{name}`")).collect();
        let default = match default {
            Default::Required => "required".to_owned(),
            Default::Value("[]" | "{}" | "\"\"") => "empty".to_owned(),
            Default::Value(json) => format!("`{json}`"),
            Default::Words(words) => (*words).to_owned(),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "| {} | {} | {default} | {about} |",
            names.join(", "),
            value.name().replace('|', "\\|")
        );
        let path = format!("{above}{name}");
        if let Type::Table(inner) = value
            && !is_documented(&path)
        {
            rows(inner, &format!("{path}."), is_documented, text);
        }
    }
}

fn grouped(number: i64) -> String {
    let digits = number.to_string();
    if digits.len() < 5 {
        return digits;
    }
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    groups.join(",")
}
