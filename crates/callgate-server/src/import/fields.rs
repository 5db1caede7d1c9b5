//! Keys of maps as nats-server reads them: case does not matter, and some have several spellings.

use crate::nats_conf::{ConfError, Entry, Map, Node, Value};

/// The keys of a map.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'a> {
    map: &'a Map,
    what: &'a str,
}

impl<'a> Fields<'a> {
    /// The keys of a node that must be a map. `what` names it in errors.
    pub(super) fn of(node: &'a Node, what: &'a str) -> Result<Self, ConfError> {
        match &node.value {
            Value::Map(map) => Ok(Self { map, what }),
            other => {
                Err(ConfError::new(&node.at, format!("{what} is {}, not a map", other.kind())))
            }
        }
    }

    pub(super) fn root(map: &'a Map) -> Self {
        Self { map, what: "the configuration" }
    }

    pub(super) fn entries(self) -> impl Iterator<Item = &'a Entry> {
        self.map.entries().iter()
    }

    /// The value with one of these spellings. nats-server would use any one of several.
    pub(super) fn find(self, spellings: &[&str]) -> Result<Option<&'a Entry>, ConfError> {
        let is_it =
            |entry: &&Entry| spellings.iter().any(|key| entry.key.eq_ignore_ascii_case(key));
        let mut found = self.entries().filter(is_it);
        let first = found.next();
        match found.next() {
            None => Ok(first),
            Some(second) => Err(ConfError::new(
                &second.at,
                format!(
                    "{} has `{}` in two spellings, of which nats-server uses any one: remove one of them",
                    self.what, second.key
                ),
            )),
        }
    }

    /// Refuses keys that are none of these, unless a variable refers to them.
    pub(super) fn only(self, known: &[&[&str]]) -> Result<(), ConfError> {
        let is_known = |entry: &Entry| {
            known.iter().flat_map(|keys| keys.iter()).any(|key| entry.key.eq_ignore_ascii_case(key))
        };
        match self.entries().find(|entry| !entry.is_used && !is_known(entry)) {
            None => Ok(()),
            Some(entry) => Err(ConfError::new(
                &entry.at,
                format!("nats-server does not know the key `{}` in {}", entry.key, self.what),
            )),
        }
    }
}

/// A string.
pub(super) fn string(node: &Node) -> Result<&str, ConfError> {
    match &node.value {
        Value::String(text) => Ok(text),
        other => {
            Err(ConfError::new(&node.at, format!("expected a string, found {}", other.kind())))
        }
    }
}

/// A boolean.
pub(super) fn boolean(node: &Node) -> Result<bool, ConfError> {
    match &node.value {
        Value::Bool(value) => Ok(*value),
        other => {
            Err(ConfError::new(&node.at, format!("expected true or false, found {}", other.kind())))
        }
    }
}

/// The items of a list.
pub(super) fn list(node: &Node) -> Result<&[Node], ConfError> {
    match &node.value {
        Value::Array(items) => Ok(items),
        other => Err(ConfError::new(&node.at, format!("expected a list, found {}", other.kind()))),
    }
}
