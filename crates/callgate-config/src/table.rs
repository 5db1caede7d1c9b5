//! A cursor over one map of a configuration.

mod item;

use std::{
    collections::BTreeSet,
    fmt::Display,
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    ops::RangeInclusive,
    path::PathBuf,
    str::FromStr,
    sync::LazyLock,
    time::Duration,
};

use callgate::{
    connection::{ConnectionKind, ConnectionKinds},
    keys::Seed,
    secret::Secret,
};
use ipnet::IpNet;
use serde_json::{Map, Value};

use crate::{
    Document,
    misplaced::suggestion,
    position::join,
    report::Report,
    schema::{Key, Type},
    sources::Sources,
};

pub use item::Item;
use item::describe;

/// One map. Each getter reports errors in its value; [`Table::finish`] then reports every unknown key.
///
/// `None` means that the key is absent, or invalid and already reported. Compare
/// [`Report::fault_count`] before and after where the difference matters.
#[must_use = "call finish(), or unknown keys go unnoticed"]
pub struct Table<'a> {
    path: String,
    map: &'a Map<String, Value>,
    report: &'a Report,
    sources: &'a Sources,
    keys: Type,
    more_keys: Vec<Key>,
    read_keys: BTreeSet<String>,
    refused: BTreeSet<String>,
    faults_before: usize,
}

/// A random key, so that collisions cannot be constructed and secrets cannot be derived.
static FINGERPRINT_KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);

impl<'a> Table<'a> {
    /// A hash of the table's content, including secrets. Within this process, different tables have
    /// different hashes.
    pub fn fingerprint(&self) -> u64 {
        FINGERPRINT_KEY.hash_one(self.map)
    }

    pub(crate) fn new(
        path: String,
        map: &'a Map<String, Value>,
        keys: Type,
        report: &'a Report,
        sources: &'a Sources,
    ) -> Self {
        let faults_before = report.fault_count();
        Self {
            path,
            map,
            report,
            sources,
            keys,
            more_keys: Vec::new(),
            read_keys: BTreeSet::new(),
            refused: BTreeSet::new(),
            faults_before,
        }
    }

    /// The whole document as a table. `path` is the prefix of every key path: empty for the main file, or
    /// for example `users.json: `. A document that is not a map is an error and counts as empty.
    pub fn root(
        document: &'a Document,
        path: &str,
        report: &'a Report,
        sources: &'a Sources,
    ) -> Self {
        let path = path.to_owned();
        let item = Item { path, value: document.value(), value_type: Type::Any, report, sources };
        let empty = || Self::new(item.path.clone(), nothing(), Type::Any, report, sources);
        item.table().unwrap_or_else(empty)
    }

    /// Declares the keys of the table. Without a declaration, a key is known once it has been read.
    pub fn with_keys(self, keys: Type) -> Self {
        Self { keys, ..self }
    }

    /// Declares additional keys.
    pub fn add_keys(&mut self, keys: impl IntoIterator<Item = Key>) {
        self.more_keys.extend(keys);
    }

    fn type_of(&self, name: &str) -> Option<Type> {
        let declared = |keys: &[Key]| {
            keys.iter().chain(&self.more_keys).find(|key| key.is_called(name)).map(|key| key.value)
        };
        match self.keys {
            Type::Table(keys) => declared(keys),
            Type::Map(value) => Some(*value),
            _ => declared(&[]).or(Some(Type::Any)),
        }
    }

    fn declared_type(&mut self, name: &str) -> Type {
        if !matches!(self.keys, Type::Table(_) | Type::Map(_)) {
            self.read_keys.insert(name.to_owned());
        }
        let declared = self.type_of(name);
        debug_assert!(declared.is_some(), "`{name}` is not among the keys of `{}`", self.path);
        declared.unwrap_or(Type::Any)
    }

    fn known_keys(&self) -> Vec<&str> {
        let declared = match self.keys {
            Type::Table(keys) => keys,
            _ => &[],
        };
        let names = |key: &'a Key| [key.name].into_iter().chain(key.aliases.iter().copied());
        let declared = declared.iter().flat_map(names);
        let more = self.more_keys.iter().map(|key| key.name);
        declared.chain(more).chain(self.read_keys.iter().map(String::as_str)).collect()
    }

    /// An empty table at `key`, for an optional section.
    pub fn empty(&self, key: &str) -> Self {
        let keys = self.type_of(key).unwrap_or(Type::Any);
        Self::new(self.path_of(key), nothing(), keys, self.report, self.sources)
    }

    /// The key path of this table.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The key path of `key` in this table.
    pub fn path_of(&self, key: &str) -> String {
        join(&self.path, key)
    }

    /// The report that errors are added to.
    pub fn report(&self) -> &'a Report {
        self.report
    }

    /// The files and the environment.
    pub fn sources(&self) -> &'a Sources {
        self.sources
    }

    /// The raw map.
    pub fn map(&self) -> &'a Map<String, Value> {
        self.map
    }

    /// Reports an error in the value of `key`.
    pub fn fault(&self, key: &str, message: impl Display) {
        self.report.fault(self.path_of(key), message);
    }

    /// Reports a warning about the value of `key`.
    pub fn warn(&self, key: &str, message: impl Display) {
        self.report.warn(self.path_of(key), message);
    }

    /// Reports an error in the table as a whole.
    pub fn fault_here(&self, message: impl Display) {
        self.report.fault(self.path.clone(), message);
    }

    /// Reports a warning about the table as a whole.
    pub fn warn_here(&self, message: impl Display) {
        self.report.warn(self.path.clone(), message);
    }

    /// True if `key` is present. It counts as known from then on.
    pub fn has(&mut self, key: &str) -> bool {
        self.declared_type(key);
        self.map.contains_key(key)
    }

    /// The keys that are present, and neither declared nor read.
    pub fn unknown_keys(&self) -> Vec<&'a str> {
        let is_unknown = |key: &&str| match self.keys {
            _ if self.refused.contains(*key) => false,
            Type::Table(_) | Type::Map(_) => self.type_of(key).is_none(),
            _ => !self.known_keys().contains(key),
        };
        self.map.keys().map(String::as_str).filter(is_unknown).collect()
    }

    /// The value of `key`, of any type. `null` is an error.
    pub fn raw(&mut self, key: &str) -> Option<Item<'a>> {
        let value_type = self.declared_type(key);
        let value = self.map.get(key)?;
        let path = self.path_of(key);
        let item = Item { path, value, value_type, report: self.report, sources: self.sources };
        if value.is_null() {
            item.fault("must not be null: leave the key out instead");
            return None;
        }
        Some(item)
    }

    /// Like [`Table::raw`] for a key with several spellings. More than one of them is an error.
    pub fn raw_of(&mut self, spellings: &[&str]) -> Option<Item<'a>> {
        let present: Vec<&str> =
            spellings.iter().copied().filter(|spelling| self.has(spelling)).collect();
        if let [_, second, ..] = present.as_slice() {
            let all = present.join("` and `");
            self.fault(second, format!("`{all}` mean the same: write one of them"));
        }
        present.first().and_then(|first| self.raw(first))
    }

    /// Text, unchanged.
    pub fn string(&mut self, key: &str) -> Option<String> {
        self.raw(key)?.string().map(str::to_owned)
    }

    /// Text that must be present and not empty.
    pub fn required_string(&mut self, key: &str) -> Option<String> {
        if !self.has(key) {
            self.fault_here(format!("`{key}` is missing"));
            return None;
        }
        self.filled_string(key)
    }

    /// Text that must not be empty if present.
    pub fn filled_string(&mut self, key: &str) -> Option<String> {
        let text = self.string(key)?;
        if text.is_empty() {
            self.fault(key, "must not be empty");
            return None;
        }
        Some(text)
    }

    /// A list that, if present, must contain at least one text, and no empty texts.
    pub fn filled_strings(&mut self, key: &str) -> Option<Vec<String>> {
        let texts = self.strings(key)?;
        if texts.is_empty() || texts.iter().any(String::is_empty) {
            self.fault(key, "must not be empty or contain an empty text");
            return None;
        }
        Some(texts)
    }

    /// The value of the word that the key has; any other word is an error.
    pub fn word<T: Copy>(&mut self, key: &str, words: &[(&str, T)]) -> Option<T> {
        let text = self.string(key)?;
        let found = words.iter().find(|(word, _)| *word == text);
        if found.is_none() {
            let words: Vec<_> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
            let shown = text.escape_debug();
            self.fault(key, format!("`{shown}` is not one of {}", words.join(", ")));
        }
        found.map(|(_, value)| *value)
    }

    /// `true` or `false`.
    pub fn boolean(&mut self, key: &str) -> Option<bool> {
        self.raw(key)?.boolean()
    }

    /// A whole number within `range`.
    pub fn integer(&mut self, key: &str, range: RangeInclusive<i64>) -> Option<i64> {
        let number = self.raw(key)?.integer()?;
        if !range.contains(&number) {
            let (low, high) = range.into_inner();
            self.fault(key, format!("{number} is not between {low} and {high}"));
            return None;
        }
        Some(number)
    }

    /// A number, possibly with a fraction, within `range`.
    pub fn number(&mut self, key: &str, range: RangeInclusive<f64>) -> Option<f64> {
        let item = self.raw(key)?;
        let number = item.value().as_f64();
        match number {
            Some(number) if range.contains(&number) => Some(number),
            Some(number) => {
                let (low, high) = range.into_inner();
                item.fault(format!("{number} is not between {low} and {high}"));
                None
            }
            None => {
                item.fault(format!("must be a number, not {}", describe(item.value())));
                None
            }
        }
    }

    /// A duration such as `"90s"`.
    pub fn duration(&mut self, key: &str) -> Option<Duration> {
        self.raw(key)?.duration()
    }

    /// Text or a list of texts.
    pub fn strings(&mut self, key: &str) -> Option<Vec<String>> {
        self.raw(key)?.strings()
    }

    /// Text that parses as `T`.
    pub fn parse<T: FromStr<Err: Display>>(&mut self, key: &str) -> Option<T> {
        self.raw(key)?.parse()
    }

    /// Text or a list of texts that all parse as `T`.
    pub fn parsed_list<T: FromStr<Err: Display>>(&mut self, key: &str) -> Option<Vec<T>> {
        self.raw(key)?.parsed_list()
    }

    /// A table.
    pub fn table(&mut self, key: &str) -> Option<Table<'a>> {
        self.raw(key)?.table()
    }

    /// A list of tables; empty if absent.
    pub fn tables(&mut self, key: &str) -> Vec<Table<'a>> {
        let Some(item) = self.raw(key) else { return Vec::new() };
        item.items().iter().filter_map(Item::table).collect()
    }

    /// A map of names to tables; empty if absent.
    pub fn map_of_tables(&mut self, key: &str) -> Vec<(&'a str, Table<'a>)> {
        self.table(key).map(|mut table| table.entries()).unwrap_or_default()
    }

    /// All values of this table as tables, with their keys. Every key counts as known.
    pub fn entries(&mut self) -> Vec<(&'a str, Table<'a>)> {
        let map = self.map;
        map.keys().filter_map(|key| Some((key.as_str(), self.raw(key)?.table()?))).collect()
    }

    /// A secret: `{ env = "NAME" }`, `{ file = "PATH" }`, or plain text (causes a warning).
    pub fn secret(&mut self, key: &str) -> Option<Secret> {
        self.raw(key)?.secret()
    }

    /// An nkey seed, written as a secret.
    pub fn seed(&mut self, key: &str) -> Option<Seed> {
        self.raw(key)?.seed()
    }

    /// A file name, resolved relative to the base folder. The file itself is not checked.
    pub fn file_name(&mut self, key: &str) -> Option<PathBuf> {
        let text = self.filled_string(key)?;
        Some(self.sources.resolve(&text))
    }

    /// Like [`Table::file_name`], but warns if others can write the file.
    pub fn file(&mut self, key: &str) -> Option<PathBuf> {
        let path = self.file_name(key)?;
        if let Some(warning) = Sources::writable_by_others(&path) {
            self.warn(key, warning);
        }
        Some(path)
    }

    /// Networks such as `"10.0.0.0/8"`; a single address counts as a network of one. An empty list is
    /// an error, because it would admit no client.
    pub fn networks(&mut self, key: &str) -> Option<Vec<IpNet>> {
        let item = self.raw(key)?;
        let networks: Vec<_> = item.items().iter().map(network).collect();
        if networks.is_empty() {
            item.fault("an empty list admits no client: leave the key out to admit every network");
            return None;
        }
        networks.into_iter().collect()
    }

    /// Connection types. An empty list is an error, because it would admit no client.
    pub fn connection_kinds(&mut self, key: &str) -> Option<ConnectionKinds> {
        let item = self.raw(key)?;
        let kinds: Vec<ConnectionKind> = item.parsed_list()?;
        if kinds.is_empty() {
            item.fault("an empty list admits no client: list nats, websocket, mqtt or leafnode");
            return None;
        }
        Some(kinds.into_iter().collect())
    }

    /// Reports `message`, once, if `key` is present, for keys that exist elsewhere but are not allowed
    /// here.
    pub fn refuse(&mut self, key: &str, message: impl Display) {
        if self.map.contains_key(key) && self.refused.insert(key.to_owned()) {
            self.fault(key, message);
        }
    }

    /// Reports every unknown key. True if no error was reported since the table was opened.
    pub fn finish(self) -> bool {
        let elsewhere = self.report.key_hints(&self.path);
        for key in self.unknown_keys() {
            let known = self.known_keys();
            let near = suggestion(key, known.iter().copied(), elsewhere);
            let hint = match near.is_empty() {
                true => format!(" (known here: {})", known.join(", ")),
                false => near,
            };
            self.fault(key, format!("unknown key{hint}"));
        }
        self.report.fault_count() == self.faults_before
    }
}

impl std::fmt::Debug for Table<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Table({:?})", self.path)
    }
}

fn nothing() -> &'static Map<String, Value> {
    static NOTHING: LazyLock<Map<String, Value>> = LazyLock::new(Map::new);
    &NOTHING
}

fn network(item: &Item<'_>) -> Option<IpNet> {
    let text = item.string()?;
    let address = text.parse::<IpAddr>().map(IpNet::from);
    let network = address.or_else(|_| text.parse()).map(|network: IpNet| network.trunc());
    network
        .map_err(|_| {
            let shown = text.escape_debug();
            item.fault(format!("`{shown}` is not a network: write one such as \"10.0.0.0/8\""));
        })
        .ok()
}
