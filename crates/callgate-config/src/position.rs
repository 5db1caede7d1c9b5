//! Lines and columns of key paths. They are computed only when there is something to report, by scanning
//! the text, which is well-formed by then, a second time.

use std::{
    collections::{HashMap, HashSet},
    fmt,
};

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use toml::de::{DeTable, DeValue};

use crate::format::{Format, yaml_options};

/// A position in a text. Lines and columns (in characters) start at 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

impl Position {
    /// The position of a byte offset; an offset outside the text becomes its end.
    pub(crate) fn at(text: &str, offset: usize) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line = before.rsplit('\n').next().unwrap_or_default();
        Self { line: before.matches('\n').count() + 1, column: line.chars().count() + 1 }
    }

    pub(crate) fn of_yaml(location: serde_saphyr::Location) -> Option<Self> {
        let number = |number: u64| usize::try_from(number).ok().filter(|number| *number > 0);
        Some(Self { line: number(location.line())?, column: number(location.column())? })
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// The key path of `key` in the table at `path`.
pub(crate) fn join(path: &str, key: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    let key = match !key.is_empty() && key.chars().all(plain) {
        true => key.to_owned(),
        false => format!("\"{}\"", key.escape_debug()),
    };
    match path.is_empty() || path.ends_with(' ') {
        true => format!("{path}{key}"),
        false => format!("{path}.{key}"),
    }
}

/// `path` and the paths of its enclosing tables, innermost first.
pub(crate) fn with_ancestors(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(path).filter(|path| !path.is_empty()), |path: &&str| {
        path.get(..path.rfind(['.', '['])?)
    })
}

/// The positions of the `wanted` key paths. Paths that are not in the text are omitted.
pub(crate) fn positions(
    text: &str,
    format: Format,
    wanted: HashSet<&str>,
) -> HashMap<String, Position> {
    let mut walk = Walk { wanted, found: Vec::new() };
    match format {
        Format::Toml => {
            if let Ok(root) = DeTable::parse(text) {
                toml_table(root.get_ref(), "", &mut walk);
            }
        }
        Format::Json => Json { text, at: 0 }.value("", &mut walk),
        Format::Yaml => {
            let root = serde_saphyr::from_str_with_options::<Node>(text, yaml_options());
            let mut walk = YamlWalk { wanted: walk.wanted, found: HashMap::new() };
            root.into_iter().for_each(|root| root.find("", &mut walk));
            return walk.found;
        }
    }
    walk.positions(text)
}

struct Walk<'w> {
    wanted: HashSet<&'w str>,
    found: Vec<(String, usize)>,
}

impl Walk<'_> {
    fn visit(&mut self, path: &str, offset: usize) {
        if self.wanted.contains(path) {
            self.found.push((path.to_owned(), offset));
        }
    }

    /// Converts offsets to positions in a single pass over the text.
    fn positions(mut self, text: &str) -> HashMap<String, Position> {
        self.found.sort_by_key(|(_, offset)| *offset);
        let mut line = 1;
        let mut line_start = 0;
        let mut counted = 0;
        let mut positions = HashMap::new();
        for (path, offset) in self.found {
            let between = text.get(counted..offset).unwrap_or_default();
            line += between.matches('\n').count();
            line_start = between.rfind('\n').map_or(line_start, |end| counted + end + 1);
            counted = offset;
            let column = text.get(line_start..offset).unwrap_or_default().chars().count() + 1;
            positions.insert(path, Position { line, column });
        }
        positions
    }
}

fn toml_table(table: &DeTable<'_>, path: &str, walk: &mut Walk<'_>) {
    for (key, value) in table.iter() {
        let path = join(path, key.get_ref());
        walk.visit(&path, key.span().start);
        toml_value(value.get_ref(), &path, walk);
    }
}

fn toml_value(value: &DeValue<'_>, path: &str, walk: &mut Walk<'_>) {
    match value {
        DeValue::Table(table) => toml_table(table, path, walk),
        DeValue::Array(list) => {
            for (index, item) in list.iter().enumerate() {
                let path = format!("{path}[{index}]");
                walk.visit(&path, item.span().start);
                toml_value(item.get_ref(), &path, walk);
            }
        }
        _ => {}
    }
}

/// A scanner for JSON that is already known to be well-formed and within the nesting limit.
struct Json<'t> {
    text: &'t str,
    at: usize,
}

impl Json<'_> {
    fn value(&mut self, path: &str, walk: &mut Walk<'_>) {
        match self.next_byte() {
            Some(b'{') => self.object(path, walk),
            Some(b'[') => self.list(path, walk),
            Some(b'"') => drop(self.string()),
            Some(_) => {
                let ends = |c: char| c == ',' || c == ']' || c == '}' || c.is_ascii_whitespace();
                self.at += self.rest().find(ends).unwrap_or(self.rest().len());
            }
            None => {}
        }
    }

    fn object(&mut self, path: &str, walk: &mut Walk<'_>) {
        self.at += 1;
        while let Some(byte) = self.next_byte() {
            match byte {
                b'"' => {
                    let start = self.at;
                    let path = join(path, &self.string());
                    walk.visit(&path, start);
                    self.next_byte();
                    self.at += 1;
                    self.value(&path, walk);
                }
                b',' => self.at += 1,
                _ => break,
            }
        }
        self.at += 1;
    }

    fn list(&mut self, path: &str, walk: &mut Walk<'_>) {
        self.at += 1;
        let mut index = 0;
        while let Some(byte) = self.next_byte() {
            match byte {
                b']' => break,
                b',' => self.at += 1,
                _ => {
                    let path = format!("{path}[{index}]");
                    walk.visit(&path, self.at);
                    self.value(&path, walk);
                    index += 1;
                }
            }
        }
        self.at += 1;
    }

    fn string(&mut self) -> String {
        let mut escaped = false;
        let end = self.rest().char_indices().skip(1).find(|(_, c)| {
            let is_end = *c == '"' && !escaped;
            escaped = *c == '\\' && !escaped;
            is_end
        });
        let length = end.map_or(self.rest().len(), |(end, _)| end + 1);
        let text = serde_json::from_str(self.rest().get(..length).unwrap_or_default());
        self.at += length;
        text.unwrap_or_default()
    }

    /// Skips white space and peeks at the next byte.
    fn next_byte(&mut self) -> Option<u8> {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
        self.text.as_bytes().get(self.at).copied()
    }

    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }
}

/// The shape of a YAML document, with the location of each key and element.
enum Node {
    Scalar,
    List(Vec<serde_saphyr::Spanned<Node>>),
    Map(Vec<(serde_saphyr::Spanned<String>, Node)>),
}

struct YamlWalk<'w> {
    wanted: HashSet<&'w str>,
    found: HashMap<String, Position>,
}

impl YamlWalk<'_> {
    fn visit(&mut self, path: &str, location: serde_saphyr::Location) {
        if let (true, Some(position)) = (self.wanted.contains(path), Position::of_yaml(location)) {
            self.found.insert(path.to_owned(), position);
        }
    }
}

impl Node {
    fn find(&self, path: &str, walk: &mut YamlWalk<'_>) {
        match self {
            Self::Scalar => {}
            Self::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    let path = format!("{path}[{index}]");
                    walk.visit(&path, item.referenced);
                    item.value.find(&path, walk);
                }
            }
            Self::Map(members) => {
                for (key, value) in members {
                    let path = join(path, &key.value);
                    walk.visit(&path, key.referenced);
                    value.find(&path, walk);
                }
            }
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        reader.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_str<E>(self, _: &str) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_some<D: Deserializer<'de>>(self, reader: D) -> Result<Node, D::Error> {
        IgnoredAny::deserialize(reader).map(|_| Node::Scalar)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Node::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Node::Map(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str, format: Format, path: &str) -> Option<(usize, usize)> {
        let found = positions(text, format, HashSet::from([path]));
        found.get(path).map(|at| (at.line, at.column))
    }

    #[test]
    fn keys_and_elements_are_found_in_every_format() {
        let toml = "a = 1\n[b.c]\nd = [\"x\",\n  \"y\"]\n[[e]]\nf = 1\n[[e]]\n\"g h\" = { i = \"\u{e9}\", j = 2 }\n";
        let json = "{\"a\": 1,\n\t\"b\": {\"c\": {\"d\": [\"x,]\\\"}\",\n  \"y\"]}},\n\"e\": [{\"f\":1},\n {\"g h\": {\"i\": \"\u{e9}\", \"j\": 2}}]}";
        let yaml =
            "a: 1\nb:\n  c:\n    d:\n    - x\n    - y\ne:\n- f: 1\n- 'g h': {i: \u{e9}, j: 2}\n";
        for (path, in_toml, in_json, in_yaml) in [
            ("a", (1, 1), (1, 2), (1, 1)),
            ("b", (2, 2), (2, 2), (2, 1)),
            ("b.c", (2, 4), (2, 8), (3, 3)),
            ("b.c.d", (3, 1), (2, 14), (4, 5)),
            ("b.c.d[1]", (4, 3), (3, 3), (6, 7)),
            ("e[0].f", (6, 1), (4, 8), (8, 3)),
            ("e[1].\"g h\"", (8, 1), (5, 3), (9, 3)),
            ("e[1].\"g h\".j", (8, 20), (5, 21), (9, 17)),
        ] {
            assert_eq!(found(toml, Format::Toml, path), Some(in_toml), "{path} in TOML");
            assert_eq!(found(json, Format::Json, path), Some(in_json), "{path} in JSON");
            assert_eq!(found(yaml, Format::Yaml, path), Some(in_yaml), "{path} in YAML");
            assert_eq!(found("", Format::Toml, path), None);
        }
    }

    #[test]
    fn ancestors_end_with_the_outermost_table() {
        let ancestors: Vec<_> = with_ancestors("a.b[2].c").collect();
        assert_eq!(ancestors, ["a.b[2].c", "a.b[2]", "a.b", "a"]);
        assert_eq!(with_ancestors("").count(), 0);
    }
}
