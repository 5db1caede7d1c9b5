//! The kinds that a configuration may name.

use std::sync::Arc;

use callgate::suggest::did_you_mean;
use callgate_config::{Key, Table, Type};

use super::Kind;

/// The kinds of Callgate that a build may leave out; each is a cargo feature of its name.
pub const OPTIONAL_KINDS: [&str; 9] = [
    "anonymous",
    "certificate",
    "http",
    "introspection",
    "kubernetes",
    "kv",
    "ldap",
    "nats",
    "sql",
];

/// The kinds that a configuration may name.
#[derive(Debug, Clone, Default)]
pub struct Registry {
    kinds: Vec<Arc<dyn Kind>>,
}

impl Registry {
    /// A registry without kinds.
    pub fn empty() -> Self {
        Self::default()
    }

    /// Adds a kind; it replaces one of the same name.
    #[must_use]
    pub fn with(mut self, kind: impl Kind + 'static) -> Self {
        self.kinds.retain(|known| known.name() != kind.name());
        self.kinds.push(Arc::new(kind));
        self
    }

    /// The table of each kind, as a key of an entry of `[[authenticators]]`.
    pub fn keys(&self) -> impl Iterator<Item = Key> {
        self.kinds.iter().map(|kind| {
            let value = if kind.keys().is_empty() { Type::Any } else { Type::Table(kind.keys()) };
            Key::optional(kind.name(), value, "makes it an authenticator of this kind")
        })
    }

    /// The names, in the order in which the kinds were added.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.kinds.iter().map(|kind| kind.name())
    }

    /// The kind of this name.
    pub fn find(&self, name: &str) -> Option<&Arc<dyn Kind>> {
        self.kinds.iter().find(|kind| kind.name() == name)
    }

    /// The kind that `entry` (a table of `[[authenticators]]`) is of, and the table of that kind.
    ///
    /// Call it after reading the common keys: the only key left must be the kind. An unknown one is
    /// reported with the known kinds and the nearest of them.
    pub fn kind_of<'a>(&self, entry: &mut Table<'a>) -> Option<(&Arc<dyn Kind>, Table<'a>)> {
        entry.add_keys(self.keys());
        let present: Vec<_> = self.kinds.iter().filter(|kind| entry.has(kind.name())).collect();
        match present.as_slice() {
            [kind] => Some((kind, entry.table(kind.name())?)),
            [] => {
                self.report_missing(entry);
                None
            }
            [_, ..] => {
                let names: Vec<_> = present.iter().map(|kind| kind.name()).collect();
                let names = names.join("` and `");
                entry.fault_here(format!("has `{names}`: each entry is of exactly one kind"));
                None
            }
        }
    }

    fn report_missing(&self, entry: &mut Table<'_>) {
        let names = self.names().collect::<Vec<_>>().join(", ");
        let unknown = entry
            .unknown_keys()
            .into_iter()
            .find(|key| entry.map().get(*key).is_some_and(serde_json::Value::is_object));
        let Some(unknown) = unknown else {
            entry.fault_here(format!("has no table of its kind; this build has: {names}"));
            return;
        };
        if OPTIONAL_KINDS.contains(&unknown) {
            entry.refuse(
                unknown,
                format!(
                    "this build has no `{unknown}` (it has: {names}): use a build with the cargo \
                     feature `{unknown}`"
                ),
            );
            return;
        }
        let near = did_you_mean(unknown, self.names());
        entry.refuse(unknown, format!("unknown kind{near} (this build has: {names})"));
    }
}
