//! A cursor over one map of a configuration.

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
    item::{Item, describe},
    position::join,
    report::Report,
    schema::{Key, Type},
    sources::Sources,
    suggest::suggestion,
};

/// One map. Each getter reports what is wrong with its value; [`Table::finish`] then reports every
/// unknown key.
///
/// `None` means absent, or faulty and already reported. Compare [`Report::fault_count`] before and
/// after where the difference matters.
#[must_use = "call finish(), or unknown keys go unnoticed"]
pub struct Table<'a> {
    path: String,
    map: &'a Map<String, Value>,
    report: &'a Report,
    sources: &'a Sources,
    keys: Type,
    more_keys: Vec<Key>,
    asked: BTreeSet<String>,
    refused: BTreeSet<String>,
    faults_before: usize,
}

/// Nobody can make up two tables that look alike, or find out a secret by its look.
static FINGERPRINT_KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);

impl<'a> Table<'a> {
    /// A number for all that stands in the table, secrets included: in this process, tables that differ have
    /// different ones.
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
            asked: BTreeSet::new(),
            refused: BTreeSet::new(),
            faults_before,
        }
    }

    /// The whole document as a table. `path` begins every key path: empty for the main file, or
    /// such as `users.json: ` for another one. A document that is no map is a fault, and empty.
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

    /// With the keys of this type. Without them, a key is known once it has been asked for.
    pub fn with_keys(self, keys: Type) -> Self {
        Self { keys, ..self }
    }

    /// Declares keys beside those of its type.
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

    fn ask(&mut self, name: &str) -> Type {
        if !matches!(self.keys, Type::Table(_) | Type::Map(_)) {
            self.asked.insert(name.to_owned());
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
        declared.chain(more).chain(self.asked.iter().map(String::as_str)).collect()
    }

    /// An empty table in the place of `key`, for a section that may be left out.
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

    /// Where faults go.
    pub fn report(&self) -> &'a Report {
        self.report
    }

    /// Files and environment.
    pub fn sources(&self) -> &'a Sources {
        self.sources
    }

    /// The plain map.
    pub fn map(&self) -> &'a Map<String, Value> {
        self.map
    }

    /// Reports that the value of `key` is wrong.
    pub fn fault(&self, key: &str, message: impl Display) {
        self.report.fault(self.path_of(key), message);
    }

    /// Reports that the value of `key` is doubtful.
    pub fn warn(&self, key: &str, message: impl Display) {
        self.report.warn(self.path_of(key), message);
    }

    /// Reports that the table as a whole is wrong.
    pub fn fault_here(&self, message: impl Display) {
        self.report.fault(self.path.clone(), message);
    }

    /// Warns about the table as a whole.
    pub fn warn_here(&self, message: impl Display) {
        self.report.warn(self.path.clone(), message);
    }

    /// True if `key` is there; it counts as known then.
    pub fn has(&mut self, key: &str) -> bool {
        self.ask(key);
        self.map.contains_key(key)
    }

    /// The keys that are present, and neither declared nor asked for.
    pub fn unknown_keys(&self) -> Vec<&'a str> {
        let is_unknown = |key: &&str| match self.keys {
            _ if self.refused.contains(*key) => false,
            Type::Table(_) | Type::Map(_) => self.type_of(key).is_none(),
            _ => !self.known_keys().contains(key),
        };
        self.map.keys().map(String::as_str).filter(is_unknown).collect()
    }

    /// The value of `key`, whatever it is. `null` is a fault.
    pub fn raw(&mut self, key: &str) -> Option<Item<'a>> {
        let value_type = self.ask(key);
        let value = self.map.get(key)?;
        let path = self.path_of(key);
        let item = Item { path, value, value_type, report: self.report, sources: self.sources };
        if value.is_null() {
            item.fault("must not be null: leave the key out instead");
            return None;
        }
        Some(item)
    }

    /// Like [`Table::raw`], under one of two spellings; both at once is a fault.
    pub fn raw_of(&mut self, spellings: &[&str]) -> Option<Item<'a>> {
        let there: Vec<&str> =
            spellings.iter().copied().filter(|spelling| self.has(spelling)).collect();
        if let [_, second, ..] = there.as_slice() {
            let all = there.join("` and `");
            self.fault(second, format!("`{all}` mean the same: write one of them"));
        }
        there.first().and_then(|first| self.raw(first))
    }

    /// A text, as it stands.
    pub fn string(&mut self, key: &str) -> Option<String> {
        self.raw(key)?.string().map(str::to_owned)
    }

    /// A text that must be there and not empty.
    pub fn required_string(&mut self, key: &str) -> Option<String> {
        if !self.has(key) {
            self.fault_here(format!("`{key}` is missing"));
            return None;
        }
        self.filled_string(key)
    }

    /// A text that is not empty, if it is there.
    pub fn filled_string(&mut self, key: &str) -> Option<String> {
        let text = self.string(key)?;
        if text.is_empty() {
            self.fault(key, "must not be empty");
            return None;
        }
        Some(text)
    }

    /// Texts of which none is empty, and of which there is one at least if the list is there.
    pub fn filled_strings(&mut self, key: &str) -> Option<Vec<String>> {
        let texts = self.strings(key)?;
        if texts.is_empty() || texts.iter().any(String::is_empty) {
            self.fault(key, "must not be empty, nor contain an empty text");
            return None;
        }
        Some(texts)
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

    /// A text or a list of texts.
    pub fn strings(&mut self, key: &str) -> Option<Vec<String>> {
        self.raw(key)?.strings()
    }

    /// A text that parses as `T`.
    pub fn parse<T: FromStr<Err: Display>>(&mut self, key: &str) -> Option<T> {
        self.raw(key)?.parse()
    }

    /// A text or a list of texts that all parse as `T`.
    pub fn parsed_list<T: FromStr<Err: Display>>(&mut self, key: &str) -> Option<Vec<T>> {
        self.raw(key)?.parsed_list()
    }

    /// A table.
    pub fn table(&mut self, key: &str) -> Option<Table<'a>> {
        self.raw(key)?.table()
    }

    /// A list of tables; absent is an empty one.
    pub fn tables(&mut self, key: &str) -> Vec<Table<'a>> {
        let Some(item) = self.raw(key) else { return Vec::new() };
        item.items().iter().filter_map(Item::table).collect()
    }

    /// A map of names to tables; absent is an empty one.
    pub fn map_of_tables(&mut self, key: &str) -> Vec<(&'a str, Table<'a>)> {
        self.table(key).map(|mut table| table.entries()).unwrap_or_default()
    }

    /// All values of this table as tables, by their names. Every key counts as known.
    pub fn entries(&mut self) -> Vec<(&'a str, Table<'a>)> {
        let map = self.map;
        map.keys().filter_map(|key| Some((key.as_str(), self.raw(key)?.table()?))).collect()
    }

    /// A secret: `{ env = "NAME" }`, `{ file = "PATH" }`, or a text (warned about).
    pub fn secret(&mut self, key: &str) -> Option<Secret> {
        self.raw(key)?.secret()
    }

    /// An nkey seed, written as a secret.
    pub fn seed(&mut self, key: &str) -> Option<Seed> {
        self.raw(key)?.seed()
    }

    /// A file name, made absolute or relative to the base folder. The file is not looked at: that is
    /// for whoever reads it.
    pub fn file_name(&mut self, key: &str) -> Option<PathBuf> {
        let text = self.filled_string(key)?;
        Some(self.sources.resolve(&text))
    }

    /// The same for a file that is not as private as a seed: if others may write it, that is a
    /// warning.
    pub fn file(&mut self, key: &str) -> Option<PathBuf> {
        let path = self.file_name(key)?;
        if let Some(warning) = Sources::writable_by_others(&path) {
            self.warn(key, warning);
        }
        Some(path)
    }

    /// Networks such as `"10.0.0.0/8"`; a single address counts as a network of one. An empty list
    /// is a fault, because nobody could come from there.
    pub fn networks(&mut self, key: &str) -> Option<Vec<IpNet>> {
        let item = self.raw(key)?;
        let networks: Vec<_> = item.items().iter().map(network).collect();
        if networks.is_empty() {
            item.fault("an empty list admits nobody: leave the key out to admit every network");
            return None;
        }
        networks.into_iter().collect()
    }

    /// Kinds of connection. An empty list is a fault, because nobody could connect.
    pub fn connection_kinds(&mut self, key: &str) -> Option<ConnectionKinds> {
        let item = self.raw(key)?;
        let kinds: Vec<ConnectionKind> = item.parsed_list()?;
        if kinds.is_empty() {
            item.fault("an empty list admits nobody: name nats, websocket, mqtt or leafnode");
            return None;
        }
        Some(kinds.into_iter().collect())
    }

    /// Reports `message`, once, if `key` is there: for keys that others have and this table must
    /// not.
    pub fn refuse(&mut self, key: &str, message: impl Display) {
        if self.map.contains_key(key) && self.refused.insert(key.to_owned()) {
            self.fault(key, message);
        }
    }

    /// Reports every unknown key. True if nothing in this table, and nothing else
    /// since it was opened, was wrong.
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
            item.fault(format!("`{shown}` is no network: write such as \"10.0.0.0/8\""));
        })
        .ok()
}
